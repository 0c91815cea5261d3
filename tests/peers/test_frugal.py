"""Converting a 2 GB sharded checkpoint, and half a gigabyte of every family whose tensors are taken apart, permuted or added to:
memory bounded, time near a plain copy. Reading 32k tokens: memory bounded."""

import json
import os
import shutil
import subprocess
import time

import numpy as np
import pytest
import torch
import transformers
from conftest import BUILD
from reference import byte_tokenizer

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


def make_checkpoint(folder, config=CONFIG, every=tuple(shapes()), n=5):
    """A checkpoint of random bytes in `n` shards, in a new folder; returns its size in bytes."""
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, 32 << 20, dtype=np.uint8).tobytes()
    weight_map = {}
    for i in range(n):
        name = f"model-{i + 1:05}-of-{n:05}.safetensors"
        write_shard(folder / name, every[i::n], noise)
        weight_map |= {t: name for t, _ in every[i::n]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))
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


SIZES = dict(vocab_size=16384, hidden_size=2048, intermediate_size=5632, num_hidden_layers=5, num_attention_heads=32, num_key_value_heads=8,
             max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0, dtype="bfloat16")
FAMILIES = {
    "llama": {},  # rows of q and k in another order in a GGUF
    "phi3": {"sliding_window": None},  # q, k and v in one tensor, gate and up in another
    "gpt_neox": {"intermediate_size": 8192, "num_attention_heads": 16, "num_key_value_heads": 16},  # the heads of q, k and v in turn
    "falcon": {"ffn_hidden_size": 8192, "num_kv_heads": 8, "new_decoder_architecture": True},  # the same, grouped
    "gemma": {"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128},  # norms one more in a GGUF
    "mixtral": {"hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 2816, "num_hidden_layers": 3},  # 8 tensors in one
    "gpt_oss": {"hidden_size": 1440, "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 1440, "num_local_experts": 9,
                "num_hidden_layers": 4},  # experts in columns, gate and up in turn
}
SLOWER = {"gpt_oss": 3}  # every element of an unpacked GPT-OSS's experts moves


@pytest.mark.parametrize("family", FAMILIES)
def test_half_a_gb_of_a_family(family, tmp_path, record):
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]})
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with torch.device("meta"):
        model = kind(config)
    config.architectures = [kind.__name__]
    every = [(name, list(p.shape)) for name, p in model.named_parameters()]  # a tied head is not among them
    source, out, gguf = tmp_path / "in", tmp_path / "out", tmp_path / "in.gguf"
    size = make_checkpoint(source, json.loads(config.to_json_string(use_diff=False)), every, 2)
    byte_tokenizer(source)
    assert 4.5e8 < size < 7e8
    derope = [BUILD / "derope", "--quiet", "convert"]
    ways = {"cp -r and sync": ["sh", "-c", f"cp -r {source} {out} && sync"], "folder --drop-rope": [*derope, source, out, "--drop-rope"],
            "folder to GGUF": [*derope, source, out.with_suffix(".gguf")], "GGUF to folder": [*derope, gguf, out],
            "GGUF --drop-rope": [*derope, gguf, out.with_suffix(".gguf"), "--drop-rope"]}
    measured([*derope, source, gguf])
    seconds, peaks = {way: [] for way in ways}, []
    for _ in range(5):
        for way, command in ways.items():
            os.sync()
            t, peak = measured(command)
            seconds[way].append(round(t, 2))
            peaks.append(peak)
            shutil.rmtree(out, ignore_errors=True)
            out.with_suffix(".gguf").unlink(missing_ok=True)
    record(f"{size / 1e9:.2f} GB of {family}, seconds", {**seconds, "peak RssAnon, MB": round(max(peaks), 1)})
    shutil.rmtree(tmp_path)
    assert max(peaks) < 64
    for way in ways:
        assert min(seconds[way]) < SLOWER.get(family, 1.3) * min(seconds["cp -r and sync"]), way


def test_reading_32k_tokens(smollm2, shared, record):
    text = shared / "data" / "books" / "dracula.txt"
    if not text.is_file():
        pytest.skip(f"no {text}")
    seconds, peak = measured([BUILD / "derope", "--quiet", "ppl", smollm2, text, "--context", "32768", "--tokens", "32768"])
    record("perplexity of one window of 32768 tokens, SmolLM2-135M", {"seconds": round(seconds, 1), "peak RssAnon, MB": round(peak, 1)})
    assert peak < 2700
