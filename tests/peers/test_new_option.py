"""A hyper-parameter and an objective that do not exist, added to a copy of the source as recal/train_options.h and recal/objectives.h
say: a field and its line in the table, and a line in the list of objectives. Everything else has to find them there."""

import json
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import BUILD, ROOT
from reference import byte_tokenizer, tiny

FIELD = "    double zeal; /* a hyper-parameter that changes nothing */\n"
LINE = """    {.name = "zeal_of_steps",
     .type = OPTION_REAL,
     .fallback = "0.25",
     .most = 2,
     .offset = offsetof(TrainOptions, zeal),
     .help = "how eagerly a step is made"},
"""
OBJECTIVE = '    {.name = "sameness", .help = "an objective under another name", .loss = next_token},\n'
HELP = "how eagerly a step is made (0 to 2; default 0.25)"


def insert(path, before, text):
    """Puts `text` before the only line that contains `before`."""
    lines = path.read_text().splitlines(keepends=True)
    at = [i for i, line in enumerate(lines) if before in line]
    assert len(at) == 1, f"{path}: {before} stands on {len(at)} lines"
    path.write_text("".join([*lines[: at[0]], text, *lines[at[0] :]]))


@pytest.fixture(scope="module")
def derope(tmp_path_factory):
    """The program with both in it. The copy brings its objects along, so that few files are compiled again."""
    copy = tmp_path_factory.mktemp("source")
    for folder in ("formats", "surgery", "recal", "cmd"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copytree(BUILD, copy / "build", ignore=shutil.ignore_patterns("tests", "derope"))
    shutil.copy2(ROOT / "Makefile", copy)
    insert(copy / "recal" / "train_options.h", "double clip;", FIELD)
    insert(copy / "recal" / "train_options.c", '{.name = "seed"', LINE)
    insert(copy / "recal" / "objectives.c", '{.name = "distill"', OBJECTIVE)
    subprocess.run(["make", "build/derope"], cwd=copy, check=True, capture_output=True)
    return copy / "build" / "derope"


@pytest.fixture
def folder(tmp_path):
    """A model and a text in the folder that commands run in."""
    tiny("llama").save_pretrained(tmp_path / "model")
    byte_tokenizer(tmp_path / "model")
    (tmp_path / "text.txt").write_text("The sea was calm and the night was long. " * 200)
    return tmp_path


@pytest.fixture
def run(derope, folder):
    def run(*args):
        return subprocess.run([derope, "--quiet", *args], cwd=folder, capture_output=True, text=True)

    return run


def words(text):
    return re.sub(r"\s+", " ", text)


RECAL = ("recal", "model", "out", "--data", "text.txt", "--context", "16")


def test_it_is_a_flag(run):
    assert run(*RECAL, "--tokens", "256", "--zeal-of-steps", "1.5").returncode == 0
    wrong = run(*RECAL, "--tokens", "256", "--force", "--zeal-of-steps", "3")
    assert (wrong.returncode, wrong.stderr) == (2, "derope recal: --zeal-of-steps: 3 is out of range; expected 0 to 2\n")
    near = run(*RECAL, "--zeal-of-step", "1")
    assert "did you mean '--zeal-of-steps'?" in near.stderr


def test_it_is_a_recipe_key(run, folder):
    recipe = "source: model\nrecalibrate: {data: text.txt, tokens: 256, context: 16, KEY}\noutputs: {path: recipe-out}\n"
    for key, status, said in (
        ("zeal_of_steps: 0.5", 0, ""),
        ("zeal_of_steps: 2.5", 4, "r.yaml:2:72: recalibrate.zeal_of_steps: expected 0 to 2, found '2.5'"),
        ("zeal_of_stops: 0.5", 4, "unknown key in recalibrate: 'zeal_of_stops'; did you mean 'zeal_of_steps'?"),
        ("objective: samenes", 4, "unknown recalibrate.objective 'samenes'; did you mean 'sameness'?"),
    ):
        (folder / "r.yaml").write_text(recipe.replace("KEY", key))
        done = run("plan", "r.yaml")
        assert done.returncode == status and said in done.stderr, done.stderr
    (folder / "r.yaml").write_text(recipe.replace("KEY", "batch: 4"))
    assert run("plan", "r.yaml", "--set", "recalibrate.zeal_of_steps=0.5").returncode == 0


def test_it_is_in_every_text(run):
    assert "--zeal-of-steps X " + HELP in words(run("help", "recal").stdout)
    assert "zeal_of_steps " + HELP in words(run("help", "recipe").stdout)
    page = run("help", "--man").stdout
    assert r"\fB\-\-zeal\-of\-steps\fR \fIX\fR" in page and ".B zeal_of_steps" in page
    for shell in ("bash", "zsh", "fish"):
        script = run("help", "--completion", shell).stdout
        assert "zeal-of-steps" in script and "sameness" in script


def test_it_is_part_of_the_resume_key(derope, run, folder):
    """A state that was made with another value is refused, one with the same value goes on."""
    long = (*RECAL, "--tokens", "2M", "--batch", "1")

    def interrupted(*more):
        child = subprocess.Popen([derope, "--quiet", *long, *more], cwd=folder, stderr=subprocess.PIPE, text=True)
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        said = child.communicate()[1]
        assert child.returncode == 5, said
        return int(re.search(r"interrupted after (\d+) tokens", said)[1])

    first = interrupted("--zeal-of-steps", "0.5")
    other = run(*long, "--resume", "--zeal-of-steps", "0.75")
    assert other.returncode == 3 and "was made with other options, data or model" in other.stderr
    assert run(*long, "--resume").returncode == 3  # The default is another value, too.
    assert interrupted("--resume", "--zeal-of-steps", "5e-1") > first


def test_an_objective_is_a_line(run, folder):
    assert "sameness (an objective under another name)" in words(run("help", "recal").stdout)
    for name in ("sameness", "next-token"):
        done = run(*RECAL, "--tokens", "256", "--force", "--json", "--objective", name)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)["recalibration"]
        assert told["objective"] == name
        loss = told["last_loss"] if name == "sameness" else loss
        assert told["last_loss"] == loss
    wrong = run(*RECAL, "--objective", "samenes")
    assert "is not next-token, sameness or distill; did you mean 'sameness'?" in wrong.stderr
