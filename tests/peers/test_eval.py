"""`derope eval` against computations by transformers, on the embedded model: perplexity of the unchanged model and under each
context-extension method, and a grid of needles, in which transformers answers every prompt of the transcript again."""

import json
import math
import re
import subprocess

import pytest
import torch
import transformers
from conftest import ROOT, run_derope

EMBEDDED = ROOT / "examples" / "embedded"
CONTEXT = 256
LENGTHS = (128, 512, 1024)
TRIALS = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with held-out text and the wording of needles, by the example's generator."""
    folder = tmp_path_factory.mktemp("eval")
    subprocess.run(["gcc", "-O2", "-std=gnu11", "-o", folder / "generate", EMBEDDED / "generate.c"], check=True)
    (folder / "text.txt").write_bytes(subprocess.run([folder / "generate", "hay", "1000", "60000"], check=True, capture_output=True).stdout)
    (folder / "wording.json").write_bytes(subprocess.run([folder / "generate", "wording"], check=True, capture_output=True).stdout)
    return folder


def stretched(method, length):
    """The embedded model under transformers' own implementation of a method, with the factor that the length needs."""
    config = transformers.AutoConfig.from_pretrained(EMBEDDED / "model")
    factor = length / CONTEXT
    if factor > 1:
        config.rope_scaling = {"pi": {"rope_type": "linear", "factor": factor}, "yarn": {"rope_type": "yarn", "factor": factor},
                               "dynamic-ntk": {"rope_type": "dynamic", "factor": factor}}.get(method)
        if method == "ntk":
            config.rope_theta *= factor ** (config.head_dim / (config.head_dim - 2))
    return transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED / "model", config=config, dtype=torch.float32)


@torch.no_grad()
def perplexity(model, ids, length):
    windows = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
    nll = [torch.nn.functional.cross_entropy(model(w[None]).logits[0, :-1], w[1:], reduction="none") for w in windows]
    return math.exp(torch.cat(nll).mean())


def test_perplexity_under_each_method(made):
    methods = ["none", "pi", "ntk", "yarn", "dynamic-ntk"]
    results = json.loads(run_derope("eval", EMBEDDED / "model", "--suite", "perplexity", "--text", made / "text.txt", "--tokens", "4096",
                                    "--lengths", ",".join(map(str, LENGTHS)), "--against", ",".join(methods), "--json").stdout)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED / "model")
    ids = tokenizer((made / "text.txt").read_text())["input_ids"][:4096]
    rows = {(r["method"], r["length"]): r["perplexity"] for r in results["perplexity"]}
    assert len(rows) == len(methods) * len(LENGTHS)
    for (method, length), ours in rows.items():
        assert ours == pytest.approx(perplexity(stretched(method, length), ids, length), rel=1e-3), (method, length)
    assert len({round(rows[m, 1024], 3) for m in methods}) == len(methods)  # they are different models


@torch.no_grad()
def answer(model, tokenizer, line):
    """The greedy continuation, as long as the recorded one, and the rank of the right candidate."""
    ids = tokenizer(line["prompt"], return_tensors="pt")["input_ids"]
    row = torch.log_softmax(model(ids).logits[0, -1], -1)
    firsts = [tokenizer(" " + c)["input_ids"] for c in line["candidates"]]
    assert all(len(f) == 1 for f in firsts)  # the embedded tokenizer has a token for every surname
    chances = [row[f[0]].item() for f in firsts]
    said = model.generate(ids, max_new_tokens=len(tokenizer(line["said"])["input_ids"]), do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids))
    return tokenizer.decode(said[0, ids.shape[1]:]), sum(c >= chances[0] for c in chances)


@pytest.mark.parametrize("task", ["needle", "needle-multikey"])
def test_a_grid_of_needles(made, task):
    transcript, lengths, depths = made / f"{task}.jsonl", (128, 512), 3
    results = json.loads(run_derope("eval", EMBEDDED / "model", "--suite", task, "--text", made / "text.txt", "--wording", made / "wording.json",
                                    "--lengths", ",".join(map(str, lengths)), "--depths", depths, "--trials", TRIALS, "--transcript", transcript,
                                    "--json").stdout)
    lines = [json.loads(line) for line in transcript.read_text().splitlines()]
    assert len(lines) == TRIALS * depths * len(lengths)
    model = stretched("none", CONTEXT)
    tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED / "model")
    grid = {}
    for line in lines:
        said, place = answer(model, tokenizer, line)
        assert (said, place) == (line["said"], line["place"]), line["prompt"][-200:]
        question = line["prompt"].rsplit(".", 1)[1]  # " The letter was for NAME", as the fact begins
        assert f"{question} {line['answers'][0]}." in line["prompt"], "the needle is not in its haystack"
        cell = grid.setdefault((line["length"], line["depth"]), [])
        cell.append((bool(re.search(rf"\b{line['answers'][0]}\b", said)), place == 1))
    assert len(grid) == len(lengths) * depths
    for row in results["tasks"]:
        cell = grid[row["length"], row["depth"]]
        assert row["trials"] == len(cell) == TRIALS
        assert row["score"] == pytest.approx(sum(found for found, _ in cell) / TRIALS)
        assert row["first"] == pytest.approx(sum(first for _, first in cell) / TRIALS)
    found = [sum(c[0] for d in range(depths) for c in grid[n, d / 2]) for n in lengths]
    assert found[0] > TRIALS * depths / 2 and found[1] < found[0]  # the grid is not all of one colour
