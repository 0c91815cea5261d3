"""Tokens per second of reading a long text side by side: ours, llama.cpp (F32 and BF16) and PyTorch (fp32 and bf16), on
SmolLM2-135M with the same threads, each in turn. Prefill: a cache filled, the last token's logits. Perplexity: the logits of
the second half as well.

  python tests/peers/bench_prefill.py [REPEATS] [LENGTH...]
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from conftest import PEERS, ROOT, machine, run_derope, run_tool
from side_by_side import spread

SHARED = Path(os.environ.get("DEROPE_SHARED", ROOT.parent / "shared"))
THREADS = torch.get_num_threads()
LLAMA = PEERS / "llama-native" / "bin"


def ours(model, T):
    return json.loads(run_tool("bench_prefill", model, T, THREADS))


def llama(model, T):
    """Prefill by llama-bench, the better of its two attentions; perplexity by llama-perplexity's own clock."""
    best = 0
    for flash in "01":
        p = subprocess.run([LLAMA / "llama-bench", "-m", model, "-p", str(T), "-n", "0", "-t", str(THREADS), "-r", "1", "--no-warmup", "-fa", flash, "-o", "json"],
                           capture_output=True, text=True, check=True)
        best = max(best, json.loads(p.stdout)[0]["avg_ts"])
    p = subprocess.run([LLAMA / "llama-perplexity", "-m", model, "-f", SHARED / "data" / "books" / "war-and-peace.txt", "-c", str(T), "-b", str(T),
                        "--chunks", "1", "-t", str(THREADS), "-ctk", "f32", "-ctv", "f32", "-fa", "off"], capture_output=True, text=True, check=True)
    seconds = float(re.search(r"([0-9.]+) seconds per pass", p.stderr + p.stdout)[1])
    return {"prefill": best, "perplexity": T / seconds}


def pytorch(model, T):
    """NaN where its attention, which makes all scores of a layer at once, does not fit in memory."""
    scores = 3 * 4 * model.config.num_attention_heads * T * T
    if scores > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        return {"prefill": math.nan, "perplexity": math.nan}
    ids = torch.arange(T)[None] ** 2 * 7 % model.config.vocab_size
    times = {}
    with torch.no_grad():
        for name, keep in ("prefill", 1), ("perplexity", T // 2):
            start = time.perf_counter()
            model(ids, use_cache=True, logits_to_keep=keep)
            times[name] = T / (time.perf_counter() - start)
    return times


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    lengths = [int(a) for a in sys.argv[2:]] or [2048, 16384]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = os.environ.get("DEROPE_SMOLLM2", PEERS / "smollm2.gguf")
        for dtype in "f32", "bf16":
            run_derope("convert", source, folder / f"{dtype}.gguf", "--dtype", dtype)
        run_derope("convert", source, folder / "hf", "--dtype", "f32")
        nets = {d: transformers.AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=d, attn_implementation="sdpa")
                for d in (torch.float32, torch.bfloat16)}
        sides = {
            "derope fp32": lambda T: ours(folder / "f32.gguf", T),
            "llama.cpp F32": lambda T: llama(folder / "f32.gguf", T),
            "llama.cpp BF16": lambda T: llama(folder / "bf16.gguf", T),
            "PyTorch fp32": lambda T: pytorch(nets[torch.float32], T),
            "PyTorch bf16": lambda T: pytorch(nets[torch.bfloat16], T),
        }
        print(f"SmolLM2-135M, {THREADS} threads, {machine()}; tokens/s: median (min - max)")
        for T in lengths:
            runs = []
            for _ in range(repeats):
                runs.append({})
                for side, f in sides.items():
                    runs[-1][side] = f(T)
                    print(f"  {T} tokens, {side}: " + ", ".join(f"{k} {v:.0f}" for k, v in runs[-1][side].items()), flush=True)
            for what in "prefill", "perplexity":
                print(f"\n{what} of {T} tokens")
                for side in sides:
                    rates = [r[side][what] for r in runs]
                    ratios = [r["derope fp32"][what] / r[side][what] for r in runs]
                    print(f"  {side:16}{spread(rates, 0):>24}    derope fp32 is {spread(ratios, 2)} times as fast", flush=True)


if __name__ == "__main__":
    main()
