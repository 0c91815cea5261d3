"""Megabytes a second on one core, ours beside HF tokenizers: python tests/peers/bench_tokenizer.py [NAME...]"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from conftest import ROOT, run_tool
from side_by_side import heading, row, turns
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers_made import MADE, from_gguf

SHARED = Path(os.environ.get("DEROPE_SHARED", ROOT.parent / "shared"))


def megabytes_a_second(size, f):
    start = time.perf_counter()
    f()
    return size / (time.perf_counter() - start)


def unigram(books):
    """Of T5's kind, without its normaliser."""
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    lines = (books / "dracula.txt").read_text(encoding="utf-8").splitlines()
    t.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=8000, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    return t


def main():
    books = SHARED / "data" / "books"
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "text.txt"
        text = "".join((books / b).read_text(encoding="utf-8") for b in ("jane-eyre.txt", "middlemarch.txt", "war-and-peace.txt"))
        sample.write_text(text, encoding="utf-8")
        size = sample.stat().st_size / 1e6
        models = {name: None for name in ("gpt2", "llama3", "qwen2", "smollm", "o200k", "falcon", "deepseek llm", "legacy", "metaspace first", "gemma", "unigram")}
        if os.environ.get("DEROPE_SMOLLM2"):
            models["SmolLM2"] = os.environ["DEROPE_SMOLLM2"]
        heading(f"tokenising {size:.1f} MB of novels on one core", "HF tokenizers", "MB/s")
        for name in models if len(sys.argv) < 2 else sys.argv[1:]:
            path = models[name]
            t = from_gguf(path) if path else unigram(books) if name == "unigram" else MADE[name]([books / "dracula.txt"])
            if not path:
                path = Path(folder) / name
                path.mkdir()
                t.save(str(path / "tokenizer.json"))
            lines = text.splitlines(keepends=True)  # HF is fastest on short texts: it gets those

            def ours():
                return size / float(run_tool("tokenizer", "bench", path, sample).split()[0])

            row(name, *turns(3, ours, lambda: megabytes_a_second(size, lambda: [t.encode(x) for x in lines])), digits=1, rates=True)


if __name__ == "__main__":
    main()
