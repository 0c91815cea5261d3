"""Converting a 2 GB sharded checkpoint: memory bounded, time near a plain copy. Reading 32k tokens: memory bounded."""

import json
import os
import shutil
import subprocess
import time

import numpy as np
import pytest
from conftest import BUILD

pytestmark = pytest.mark.long

CONFIG = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=2048, intermediate_size=5632, num_hidden_layers=18,
              num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=49152, max_position_embeddings=2048, rms_norm_eps=1e-5,
              rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)


def shapes():
    c = CONFIG
    d, f, kv = c["hidden_size"], c["intermediate_size"], c["num_key_value_heads"] * c["head_dim"]
    yield "model.embed_tokens.weight", (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for name, shape in (("self_attn.q_proj", (d, d)), ("self_attn.k_proj", (kv, d)), ("self_attn.v_proj", (kv, d)), ("self_attn.o_proj", (d, d)),
                            ("mlp.gate_proj", (f, d)), ("mlp.up_proj", (f, d)), ("mlp.down_proj", (d, f)),
                            ("input_layernorm", (d,)), ("post_attention_layernorm", (d,))):
            yield p + name + ".weight", shape
    yield "model.norm.weight", (d,)
    yield "lm_head.weight", (c["vocab_size"], d)


def write_shard(path, tensors, noise):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        while at:
            at -= f.write(noise[: min(at, len(noise))])


def make_checkpoint(folder):
    """A sharded checkpoint of random bytes, 2 GB, in a new folder; returns its size in bytes."""
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, 32 << 20, dtype=np.uint8).tobytes()
    every = list(shapes())
    shards = [every[i::5] for i in range(5)]
    weight_map = {}
    for i, tensors in enumerate(shards):
        name = f"model-{i + 1:05}-of-00005.safetensors"
        write_shard(folder / name, tensors, noise)
        weight_map |= {t: name for t, _ in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    os.sync()
    return sum(f.stat().st_size for f in folder.iterdir())


def measured(command):
    """(seconds, peak RssAnon in MB) of a command that succeeds."""
    start, peak = time.monotonic(), 0
    p = subprocess.Popen([str(c) for c in command])
    while p.poll() is None:
        try:
            with open(f"/proc/{p.pid}/status") as f:
                peak = max([peak] + [int(line.split()[1]) for line in f if line.startswith("RssAnon")])
        except ProcessLookupError:
            pass
        time.sleep(0.002)
    assert p.returncode == 0
    return time.monotonic() - start, peak / 1000


def test_drop_rope_of_2_gb(tmp_path, record):
    checkpoint = tmp_path / "in"
    size = make_checkpoint(checkpoint)
    assert size > 2e9
    copies, ours, peaks = [], [], []
    for i in range(3):
        copy, out = checkpoint.parent / f"copy{i}", checkpoint.parent / f"out{i}"
        copies.append(measured(["sh", "-c", f"cp -r {checkpoint} {copy} && sync"])[0])
        shutil.rmtree(copy)
        os.sync()
        seconds, peak = measured([BUILD / "derope", "--quiet", "convert", checkpoint, out, "--drop-rope", "--max-shard-size", "500M"])
        ours.append(seconds), peaks.append(peak)
        if i < 2:
            shutil.rmtree(out)
        os.sync()
    record(f"{size / 1e9:.2f} GB of shards, seconds", {"cp -r and sync": [round(s, 2) for s in copies], "convert --drop-rope": [round(s, 2) for s in ours],
                                                       "peak RssAnon, MB": round(max(peaks), 1)})
    assert max(peaks) < 64
    assert min(ours) < 1.3 * min(copies)
    status = {t["status"] for t in json.loads((out / "derope.json").read_text())["tensors"]}
    assert status <= {"untouched", "permuted", "new"}
    shutil.rmtree(tmp_path)


def test_reading_32k_tokens(smollm2, shared, record):
    text = shared / "data" / "books" / "dracula.txt"
    if not text.is_file():
        pytest.skip(f"no {text}")
    seconds, peak = measured([BUILD / "derope", "--quiet", "ppl", smollm2, text, "--context", "32768", "--tokens", "32768"])
    record("perplexity of one window of 32768 tokens, SmolLM2-135M", {"seconds": round(seconds, 1), "peak RssAnon, MB": round(peak, 1)})
    assert peak < 4000
