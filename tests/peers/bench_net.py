"""Tokens per second side by side: ours and PyTorch's, fp32, on the same model, in turns so that both meet the same
machine. SmolLM2-135M's shape with random weights (speed does not depend on them), 4 sequences of 512 tokens
unless told otherwise.

  python tests/peers/bench_net.py [REPEATS] [SEQUENCES]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from conftest import run_tool
from side_by_side import heading, row, turns

T = 512
THREADS = torch.get_num_threads()


def rate(f, tokens):
    start = time.perf_counter()
    f()
    return tokens / (time.perf_counter() - start)


def torch_rates(model, teacher, B):
    ids = torch.randint(0, 49152, (B, T))

    def forward():
        with torch.no_grad():
            model(ids[:1])

    def training():
        model(ids, labels=ids).loss.backward()
        model.zero_grad(set_to_none=False)

    def distillation():
        with torch.no_grad():
            target = torch.log_softmax(teacher(ids).logits, -1)
        ours = torch.log_softmax(model(ids).logits, -1)
        torch.nn.functional.kl_div(ours, target, log_target=True, reduction="batchmean").backward()
        model.zero_grad(set_to_none=False)

    return {"forward": rate(forward, T), "training": rate(training, B * T), "distillation": rate(distillation, B * T)}


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    B = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    config = transformers.LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                                      num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config)
    with tempfile.TemporaryDirectory() as folder:
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        ours, theirs = turns(repeats, lambda: json.loads(run_tool("bench_net", Path(folder), B, T, 1)), lambda: torch_rates(model, model, B))
    heading(f"SmolLM2-135M, fp32, {THREADS} threads, {B} x {T} tokens", "PyTorch " + torch.__version__.split("+")[0], "tokens/s")
    for k in theirs:
        row(k, ours[k], theirs[k], rates=True)


if __name__ == "__main__":
    main()
