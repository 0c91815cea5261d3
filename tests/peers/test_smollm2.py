"""A real model, SmolLM2-135M-Instruct: recalibrated by the recipes in examples/, and its perplexity beside
llama-perplexity's. The whole is long; four thousand tokens of it run every time."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import PEERS, ROOT, run_derope

HELD_OUT = "dracula.txt"
FULL, PARTIAL = ["--drop-rope"], ["--drop-rope=20-29", "--sliding-window", "512:0-19"]


@pytest.fixture(scope="module")
def books(shared):
    folder = shared / "data" / "books"
    if not folder.is_dir():
        pytest.skip(f"no books at {folder}")
    return folder


def run_recipes(folder, smollm2, books, *sets):
    """Both recipes on all books but one, as examples/smollm2/Makefile does; {(recipe, model): {context: perplexity}}."""
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("out", "*.gguf", "train.txt", "scratch", "model"))
    train = sorted(str(b) for b in books.glob("*.txt") if b.name != HELD_OUT)
    p = run_derope("--quiet", "run", "smollm2.yaml", "smollm2-full.yaml", "--json", "--set", f"source={smollm2}",
                   "--set", f"recalibrate.data=[{','.join(train)}]", "--set", f"evaluate.text={books / HELD_OUT}", *sets, cwd=folder)
    table = {}
    for row in json.loads(p.stdout):
        table[row["recipe"].removesuffix(".yaml"), row["model"]] = {c["context"]: round(c["perplexity"], 3) for c in row["perplexity"]}
    for name in ("partial", "full"):
        for output in (folder / "smollm2" / "out" / name, folder / "smollm2" / "out" / f"{name}.gguf"):
            assert run_derope("verify", output)
    return table


def columns(table, recipe):
    rows = [v for (r, _), v in table.items() if r == recipe]
    assert len(rows) == 3, table
    return rows  # source, untrained, recalibrated


def test_four_thousand_tokens_help_at_once(tmp_path, smollm2, books):
    sets = ["recalibrate.tokens=4k", "evaluate.context=[256]", "evaluate.tokens=2048"]
    table = run_recipes(tmp_path / "examples", smollm2, books, *(x for s in sets for x in ("--set", s)))
    for recipe in ("smollm2", "smollm2-full"):
        source, untrained, after = (row[256] for row in columns(table, recipe))
        assert source < after < 0.95 * untrained


@pytest.mark.long
def test_default_budget(tmp_path, smollm2, books, record):
    table = run_recipes(tmp_path / "examples", smollm2, books)
    partial, full = columns(table, "smollm2"), columns(table, "smollm2-full")
    record("SmolLM2-135M, 100k tokens at T=2048; perplexity of the first 8192 tokens of " + HELD_OUT,
           {"source": partial[0], "partial drop, untrained": partial[1], "partial drop, recalibrated": partial[2],
            "full drop, untrained": full[1], "full drop, recalibrated": full[2]})
    for T in (256, 1024, 4096):
        assert full[2][T] < 0.7 * full[1][T]
        assert partial[2][T] < 0.8 * partial[1][T]
    assert all(partial[2][T] < full[2][T] for T in (256, 1024, 4096))


def llama_perplexity(model, text, context, windows):
    p = subprocess.run([PEERS / "llama-build" / "bin" / "llama-perplexity", "-m", model, "-f", text, "-c", str(context), "--chunks", str(windows),
                        "-t", "2", "-ctk", "f32", "-ctv", "f32"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr[-2000:]
    return float(re.search(r"Final estimate: PPL = ([0-9.]+)", p.stdout + p.stderr)[1])


@pytest.mark.long
@pytest.mark.parametrize("weights, tolerance", [("quantised", 5e-3), ("f32", 1e-3)])
@pytest.mark.parametrize("surgery", ["none", "full", "partial"])
def test_perplexity_is_llama_perplexitys(tmp_path, smollm2, books, record, surgery, weights, tolerance):
    if not (PEERS / "llama-build" / "stamp").is_file():
        pytest.skip(f"no llama-perplexity in {PEERS} (make check-long builds it)")
    flags = {"none": [], "full": FULL, "partial": PARTIAL}[surgery]
    model = tmp_path / "model.gguf"
    run_derope("convert", smollm2, model, *flags, *(["--dtype", "f32"] if weights == "f32" else []))
    text, context, windows = books / HELD_OUT, 512, 16
    ours = json.loads(run_derope("ppl", model, text, "--context", context, "--score", "half", "--tokens", windows * context, "--json").stdout)[0]
    assert ours["windows"] == windows
    theirs = llama_perplexity(model, text, context, windows)
    record(f"llama-perplexity, {context} x {windows}: {surgery}, {weights}", {"derope": round(ours["perplexity"], 4), "llama.cpp": theirs})
    assert abs(ours["perplexity"] / theirs - 1) < tolerance
