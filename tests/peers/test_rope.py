"""What we read from a config.json, and the frequencies we compute from it, against transformers 4.56 and 5."""

import json
import subprocess
import sys

import pytest
from conftest import run_tool

SIZES = dict(vocab_size=320, hidden_size=256, intermediate_size=96, num_hidden_layers=8, num_attention_heads=8,
             num_key_value_heads=4, max_position_embeddings=512)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)

ROPES = {
    "plain": dict(rope_theta=5000.0),
    "family default": {},
    "linear": dict(rope_theta=5000.0, rope_scaling=dict(rope_type="linear", factor=4.0)),
    "the older key": dict(rope_theta=5000.0, rope_scaling=dict(type="linear", factor=3.0)),
    "dynamic": dict(rope_scaling=dict(rope_type="dynamic", factor=2.0)),
    "yarn": dict(rope_scaling=dict(rope_type="yarn", factor=4.0)),
    "yarn, original context": dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128)),
    "yarn, ramp": dict(rope_theta=1e6, rope_scaling=dict(rope_type="yarn", factor=16.0, beta_fast=20, beta_slow=2, truncate=False)),
    "yarn, attention factor": dict(rope_scaling=dict(rope_type="yarn", factor=4.0, attention_factor=0.7)),
    "yarn, mscale": dict(rope_scaling=dict(rope_type="yarn", factor=8.0, mscale=0.8, mscale_all_dim=1.2)),
    "yarn, mscale alone": dict(rope_scaling=dict(rope_type="yarn", factor=8.0, mscale=0.8)),
    "llama3": dict(rope_theta=500000.0, rope_scaling=dict(rope_type="llama3", **LLAMA3)),
    "head_dim": dict(head_dim=48, rope_scaling=dict(rope_type="llama3", **LLAMA3)),
}

# the families whose reading transformers 4 and 5 share; what is left out takes the family's default
FAMILIES = {
    "llama": dict(num_key_value_heads=None),
    "mistral": dict(),
    "mistral, no window": dict(model_type="mistral", sliding_window=None),
    "qwen2": dict(use_sliding_window=True, sliding_window=64, max_window_layers=5),
    "qwen2, window unused": dict(model_type="qwen2", sliding_window=64, max_window_layers=5),
    "qwen2, types": dict(model_type="qwen2", use_sliding_window=True, sliding_window=64,
                         layer_types=["sliding_attention", "full_attention"] * 4),
    "smollm3": dict(),
    "smollm3, interval": dict(model_type="smollm3", no_rope_layer_interval=3),
    "smollm3, windows": dict(model_type="smollm3", use_sliding_window=True, sliding_window=32),
    "smollm3, lists": dict(model_type="smollm3", no_rope_layers=[1, 0, 0, 1, 1, 1, 0, 1], use_sliding_window=True, sliding_window=32,
                           layer_types=["full_attention", "sliding_attention"] * 4),
    "granite": dict(),
}
# keys and a family that only transformers 5 knows
TF5 = {
    "rope_parameters": dict(model_type="llama", rope_parameters=dict(rope_type="yarn", rope_theta=7000.0, factor=2.0)),
    "both keys": dict(model_type="llama", rope_theta=3000.0, rope_scaling=dict(rope_type="linear", factor=2.0),
                      rope_parameters=dict(rope_type="yarn", rope_theta=7000.0, factor=4.0)),
    "base twice": dict(model_type="llama", rope_theta=3000.0, rope_parameters=dict(rope_type="default", rope_theta=7000.0)),
    "base outside": dict(model_type="llama", rope_theta=3000.0, rope_parameters=dict(rope_type="linear", factor=2.0)),
    "original outside": dict(model_type="llama", original_max_position_embeddings=64,
                             rope_parameters=dict(rope_type="yarn", factor=4.0)),
    "granite_swa": dict(model_type="granite_swa"),
    "granite_swa, lists": dict(model_type="granite_swa", layer_rope_theta=[0, 100.0, 0, 200.0, 0, 0, 300.0, 0], sliding_window=20,
                               layer_types=["full_attention", "sliding_attention"] * 4),
}

# prints what transformers makes of a config.json, as tool_rope does
MEANING = """
import json, sys
from types import SimpleNamespace
import torch, transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

def rope(c, n):
    p = getattr(c, "rope_parameters", None)
    theta = p["rope_theta"] if p else c.rope_theta
    kind = (p or getattr(c, "rope_scaling", None) or {}).get("rope_type", "default")
    if kind == "default":
        dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        return (1.0 / theta ** (torch.arange(0, dim, 2).float() / dim)).tolist(), 1.0
    f, a = ROPE_INIT_FUNCTIONS[kind](c, "cpu", seq_len=n)
    return f.tolist(), a

def meaning(folder, n):
    c = transformers.AutoConfig.from_pretrained(folder)
    layers = c.num_hidden_layers
    thetas = getattr(c, "layer_rope_theta", None)
    types = getattr(c, "layer_types", None) if c.model_type != "mistral" else None
    window = getattr(c, "sliding_window", None) if c.model_type != "llama" else None
    types = types or (["sliding_attention"] * layers if c.model_type == "mistral" else ["full_attention"] * layers)
    turning = [bool(t) for t in thetas] if thetas else [bool(r) for r in getattr(c, "no_rope_layers", None) or [1] * layers]
    ropes = []
    for i in range(layers):
        if thetas and thetas[i]: c.rope_parameters = {**c.rope_parameters, "rope_theta": thetas[i]}
        ropes.append(rope(c, n) if turning[i] else ([], 1.0))
    return {"rope": ropes, "kv_heads": c.num_key_value_heads, "eps": c.rms_norm_eps, "context": c.max_position_embeddings,
            "tied": c.tie_word_embeddings, "windows": [window if t == "sliding_attention" else None for t in types],
            "biases": [bool(getattr(c, "attention_bias", False)), bool(getattr(c, "mlp_bias", False))]}

print(json.dumps([meaning(f, int(n)) for f, n in json.loads(sys.argv[1])]))
"""


def run_here(script, *args):
    p = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr[-4000:]
    return json.loads(p.stdout.strip().splitlines()[-1])


def written(folder, config, n):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return [str(folder), n]


def compare(folder, n, theirs):
    ours = json.loads(run_tool("rope", f"{folder}/config.json", n))
    spec, layers = ours["spec"], ours["spec"]["layers"]
    assert [layer["window"] for layer in layers] == theirs["windows"]
    assert {layer["kv_heads"] for layer in layers} == {theirs["kv_heads"]}
    assert (spec["context"], spec["tied_head"], spec["norm_eps"]) == (theirs["context"], theirs["tied"], theirs["eps"])
    assert [layers[0]["o_bias"], layers[0]["mlp_bias"]] == theirs["biases"]
    for layer, mine, (inv_freq, factor) in zip(layers, ours["rope"], theirs["rope"], strict=True):
        assert (layer["position"] == "nope") == (not inv_freq)
        assert mine["inv_freq"] == pytest.approx(inv_freq, rel=2e-6, abs=0)
        assert mine["factor"] == pytest.approx(factor, rel=1e-12)


def cases():
    for name, rope in ROPES.items():
        for n in (100, 512, 3000):
            yield f"{name} {n}", {**SIZES, "model_type": "llama", **rope}, n
    for name, changes in FAMILIES.items():
        yield name, {**SIZES, "model_type": name, **changes}, 100
    bare = {k: v for k, v in SIZES.items() if k not in ("num_key_value_heads", "max_position_embeddings")}
    for family in ("llama", "mistral", "smollm3", "granite"):
        yield f"{family} bare", {**bare, "model_type": family}, 100
    for family in ("llama", "smollm3", "granite"):
        yield f"{family} biases", {**SIZES, "model_type": family, "attention_bias": True, "mlp_bias": True}, 100


def check(run, named, tmp_path):
    places = [written(tmp_path / str(i), config, n) for i, (_, config, n) in enumerate(named)]
    for (name, _, n), (folder, _), theirs in zip(named, places, run(MEANING, json.dumps(places)), strict=True):
        try:
            compare(folder, n, theirs)
        except AssertionError as e:
            raise AssertionError(f"{name}: {e}") from e


def test_transformers_4(tmp_path):
    check(run_here, list(cases()), tmp_path)


def test_transformers_5(tf5, tmp_path):
    only = [(name, {**SIZES, **config}, 700) for name, config in TF5.items()]
    check(tf5, list(cases()) + only, tmp_path)
