"""Megabytes a second on one core, ours beside HF tokenizers: python bench_tokenizer.py (paths as conftest.py has them)."""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from conftest import ROOT, run_tool
from tokenizers_made import MADE, from_gguf

SHARED = Path(os.environ.get("DEROPE_SHARED", ROOT.parent / "shared"))


def best(f, times=3):
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    books = SHARED / "data" / "books"
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "text.txt"
        text = "".join((books / b).read_text(encoding="utf-8") for b in ("jane-eyre.txt", "middlemarch.txt", "war-and-peace.txt"))
        sample.write_text(text, encoding="utf-8")
        size = sample.stat().st_size / 1e6
        models = {name: None for name in ("gpt2", "llama3", "qwen2", "smollm", "legacy", "metaspace first")}
        if os.environ.get("DEROPE_SMOLLM2"):
            models["SmolLM2"] = os.environ["DEROPE_SMOLLM2"]
        print(f"{size:.1f} MB of novels        ours     HF    ratio   (MB/s, one core, best of 3)")
        for name in models if len(sys.argv) < 2 else sys.argv[1:]:
            path = models[name]
            t = from_gguf(path) if path else MADE[name]([books / "dracula.txt"])
            if not path:
                path = Path(folder) / name
                path.mkdir()
                t.save(str(path / "tokenizer.json"))
            ours = float(run_tool("tokenizer", "bench", path, sample).split()[0])
            lines = text.splitlines(keepends=True)  # HF is fastest on short texts: give it those
            theirs = min(best(lambda: t.encode(text), 1), best(lambda: [t.encode(x) for x in lines], 1))
            print(f"{name:20} {size / ours:10.1f} {size / theirs:6.1f} {theirs / ours:8.1f}")


if __name__ == "__main__":
    main()
