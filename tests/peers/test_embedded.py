"""What `make demo` shows, held to what it is meant to show. No peer takes part: the figures are our own, and
test_perplexity.py holds how we compute them against transformers."""

import json
import shutil
import subprocess

import pytest
from conftest import ROOT, run_derope


@pytest.mark.long
def test_demo(tmp_path, record):
    folder = tmp_path / "embedded"
    shutil.copytree(ROOT / "examples" / "embedded", folder, ignore=shutil.ignore_patterns("out", "*.txt"))
    subprocess.run(["make", "-s", "-C", folder, "train.txt", "held-out.txt", f"BUILD={tmp_path}"], check=True)
    table = json.loads(run_derope("--quiet", "run", "partial.yaml", "full.yaml", "--json", cwd=folder).stdout)
    rows = {(r["recipe"].removesuffix(".yaml"), r["model"]): {c["context"]: round(c["perplexity"], 3) for c in r["perplexity"]} for r in table}
    record("the embedded model's demo, perplexity by context", {f"{recipe}: {model}": row for (recipe, model), row in rows.items()})
    source = next(row for (_, model), row in rows.items() if model == "source")
    partial = next(row for (recipe, model), row in rows.items() if recipe == "partial" and model.endswith("recalibration"))
    assert partial[256] < 1.05 * source[256]
    assert max(partial.values()) < 1.05 * partial[256]
    assert source[2048] > 2 * partial[2048]
    for output in ("partial", "partial.gguf", "full", "full.gguf"):
        run_derope("verify", folder / "out" / output)
