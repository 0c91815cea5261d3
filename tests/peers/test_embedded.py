"""What `make demo` shows, held to what it is meant to show. No peer takes part: the figures are our own, and test_eval.py holds
how we compute them against transformers."""

import json
import shutil
import subprocess

import pytest
from conftest import ROOT, run_derope

RECIPES = ["partial", "full", "pi", "ntk", "yarn"]


@pytest.mark.long
def test_demo(tmp_path, record):
    folder = tmp_path / "embedded"
    shutil.copytree(ROOT / "examples" / "embedded", folder, ignore=shutil.ignore_patterns("out", "*.txt"))
    subprocess.run(["make", "-s", "-C", folder, "train.txt", "held-out.txt", "wording.json", f"BUILD={tmp_path}"], check=True)
    table = json.loads(run_derope("--quiet", "run", *(f"{r}.yaml" for r in RECIPES), "--json", cwd=folder).stdout)
    rows = {}
    for r in table:
        name = r["model"] if r["model"].startswith("source") else f"{r['recipe'].removesuffix('.yaml')}: {r['model']}"
        rows[name] = {c["context"]: {"perplexity": round(c["perplexity"], 3), "needle": round(n["score"], 3)}
                      for c, n in zip(r["perplexity"], r["tasks"]["needle"])}
    record("the embedded model's demo, by context", rows)
    source, partial = rows["source"], rows["partial: after recalibration"]
    assert source[256]["needle"] > 0.97 and source[2048]["needle"] < 0.1
    assert partial[256]["perplexity"] < 1.03 * source[256]["perplexity"]
    assert partial[256]["needle"] >= source[256]["needle"] - 0.02
    falling = [partial[n]["perplexity"] for n in (256, 512, 1024, 2048)]
    assert falling == sorted(falling, reverse=True)  # it goes on getting better with length
    assert min(c["needle"] for c in rows["partial: after surgery, untrained"].values()) > 0.85
    assert source[2048]["perplexity"] > 2 * partial[2048]["perplexity"]
    for baseline in ("pi", "ntk", "yarn"):
        for name in (f"source under {baseline}", f"{baseline}: after recalibration"):
            assert rows[name][2048]["needle"] < partial[2048]["needle"]
            assert rows[name][2048]["perplexity"] > partial[2048]["perplexity"]
    for output in RECIPES:
        run_derope("verify", folder / "out" / output)
        run_derope("verify", folder / "out" / f"{output}.gguf")
