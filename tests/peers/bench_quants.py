"""Millions of weights encoded a second on one core, ours beside ggml's quantiser: python tests/peers/bench_quants.py"""

import time

import numpy as np
from conftest import run_tool
from gguf.constants import GGMLQuantizationType
from llama import quantizer
from side_by_side import heading, row, turns

TYPES = ("Q8_0", "Q4_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")


def main():
    x = (np.random.default_rng(1).standard_normal((1024, 4096)) * 0.02).astype(np.float32)
    ggml = quantizer()
    heading(f"encoding {x.size / 1e6:.1f} million normal weights on one core", "ggml", "millions a second")
    for kind in TYPES:
        def theirs():
            start = time.perf_counter()
            ggml(x, GGMLQuantizationType[kind])
            return x.size / 1e6 / (time.perf_counter() - start)

        row(kind, *turns(5, lambda: x.size / 1e6 / float(run_tool("dtype", "time", kind, input=x.tobytes())), theirs), rates=True)


main()
