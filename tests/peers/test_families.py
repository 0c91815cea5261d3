"""Every family as transformers builds it, with windows, biases, sinks and rotation per layer: our logits against its
own, from the HF folder and from a GGUF."""

import json

import matrix
import numpy
import pytest
import torch
import transformers
from conftest import ROOT, run_derope
from gguf_file import without_our_keys
from llama import compare_llama
from reference import IDS, SIZES, apart, check_claim_here, claims, class_logits, hashes, load_here, load_stock, own_logits, save, tiny
from safetensors.torch import load_file

TYPES = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]

CASES = {
    "llama": ("llama", {"tie_word_embeddings": True, "head_dim": 24}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, one head each": ("llama", {"num_key_value_heads": 4}),
    "mistral": ("mistral", {}),
    "mistral, no window": ("mistral", {"sliding_window": None, "head_dim": None}),
    "qwen2": ("qwen2", {}),
    "qwen2, windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2, "tie_word_embeddings": False}),
    "qwen2, types": ("qwen2", {"use_sliding_window": True, "sliding_window": 12, "layer_types": TYPES}),
    "smollm3": ("smollm3", {}),
    "smollm3, windows": ("smollm3", {"use_sliding_window": True, "sliding_window": 12, "no_rope_layer_interval": 2}),
    "smollm3, lists": ("smollm3", {"use_sliding_window": True, "sliding_window": 12, "layer_types": TYPES, "no_rope_layers": [0, 1, 0, 1],
                                   "attention_bias": True, "mlp_bias": True}),
    "qwen3": ("qwen3", {}),
    "qwen3, windows": ("qwen3", {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2, "attention_bias": False}),
    "gemma": ("gemma", {}),
    "gemma, gelu": ("gemma", {"hidden_act": "gelu", "attention_bias": True}),
    "gemma2": ("gemma2", {}),
    "gemma2, no caps": ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None, "layer_types": TYPES}),
    "gemma3": ("gemma3", {}),
    "gemma3, scaled": ("gemma3", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}, "layer_types": TYPES, "final_logit_softcapping": 5.0}),
    "olmo2": ("olmo2", {}),
    "olmo2, biases": ("olmo2", {"attention_bias": True, "num_key_value_heads": 4}),
    "cohere2": ("cohere2", {}),
    "cohere2, types": ("cohere2", {"layer_types": TYPES, "attention_bias": True}),
    "exaone4": ("exaone4", {}),
    "exaone4, no window": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 4}),
    "phi3": ("phi3", {}),
    "phi3, partial": ("phi3", {"partial_rotary_factor": 0.5, "sliding_window": None, "tie_word_embeddings": True}),
    "qwen3, plain": ("qwen3", {"attention_bias": False, "tie_word_embeddings": True}),
    "gpt_neox, sequential, biases": ("gpt_neox", {"use_parallel_residual": False, "rotary_pct": 1.0}),
    "phi3, no window": ("phi3", {"sliding_window": None}),
    "phi3, longrope": ("phi3", {"sliding_window": None, "original_max_position_embeddings": 64, "rope_scaling": {
        "type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}}),
    "phi3, longrope, short text": ("phi3", {"sliding_window": None, "max_position_embeddings": 1200, "original_max_position_embeddings": 600, "partial_rotary_factor": 0.5,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0 + i / 8 for i in range(4)], "long_factor": [1.5 + i for i in range(4)]}}),
    "stablelm": ("stablelm", {}),
    "stablelm, parallel": ("stablelm", {"use_parallel_residual": True, "use_qkv_bias": False}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_neox, sequential": ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False, "rotary_pct": 1.0}),
    "phi": ("phi", {}),
    "falcon": ("falcon", {}),
    "falcon, one norm": ("falcon", {"num_ln_in_parallel_attn": 1, "bias": True}),
    "falcon, multi-query": ("falcon", {"new_decoder_architecture": False, "tie_word_embeddings": True}),
    "falcon, heads": ("falcon", {"num_kv_heads": None, "new_decoder_architecture": False, "multi_query": False, "bias": True}),
    "falcon, sequential": ("falcon", {"new_decoder_architecture": False, "parallel_attn": False}),
    "mixtral": ("mixtral", {}),
    "mixtral, windows": ("mixtral", {"sliding_window": 12, "num_experts_per_tok": 3}),
    "qwen3_moe": ("qwen3_moe", {}),
    "qwen3_moe, some layers": ("qwen3_moe", {"norm_topk_prob": False, "mlp_only_layers": [1]}),
    "qwen3_moe, biases": ("qwen3_moe", {"attention_bias": True, "decoder_sparse_step": 2}),
    "olmoe": ("olmoe", {}),
    "olmoe, shared heads": ("olmoe", {"num_key_value_heads": 2}),
    "olmoe, among chosen": ("olmoe", {"norm_topk_prob": True, "attention_bias": True}),
    "llama4": ("llama4", {}),
    "llama4, chunks": ("llama4", {"attention_chunk_size": 24, "floor_scale": 16, "attn_scale": 0.5, "use_qk_norm": False, "num_experts_per_tok": 2}),
    "llama4, lists": ("llama4", {"attention_chunk_size": 20, "no_rope_layers": [0, 1, 1, 0], "moe_layers": [0, 1], "attn_temperature_tuning": False}),
    "llama4, bands": ("llama4", {"interleave_moe_layer_step": 1, "rope_scaling": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                                                                              "high_freq_factor": 1.0, "original_max_position_embeddings": 64}}),
    "llama4, plain": ("llama4", {"use_qk_norm": False, "attn_temperature_tuning": False}),
    "gpt_oss": ("gpt_oss", {}),
    "gpt_oss, types": ("gpt_oss", {"layer_types": TYPES, "rope_scaling": None, "num_experts_per_tok": 1}),
    "granite": ("granite", {}),
    "granite, biases": ("granite", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
}

GRANITE_SWA = """
import json, sys, torch, transformers
torch.manual_seed(7)
config = transformers.GraniteSWAConfig(**json.loads(sys.argv[1]))
model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
with torch.no_grad():
    for p in model.parameters():
        p.add_(0.2 * torch.randn_like(p)) if p.ndim == 1 else p.mul_(4)
    torch.save(model(torch.tensor([json.loads(sys.argv[2])])).logits[0], sys.argv[4])
model.save_pretrained(sys.argv[3])
print("true")
"""
SWA_CASES = {
    "defaults": {},
    "lists": {"layer_rope_theta": [0, 5000.0, 300.0, 0], "layer_types": TYPES, "tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True, "layer_rope_theta": [1000.0, 0, 0, 0]},
}


# ggml looks GELU up in a table of halves.
GELU = ("gemma", "gemma2", "gemma3", "gpt_neox", "phi", "falcon")


def made(case, tmp_path):
    """(model, its folder)"""
    family, changes = CASES[case]
    model = tiny(family, **changes)
    folder = save(model, tmp_path / "model")
    if (family, changes.get("hidden_act")) == ("gemma", "gelu"):  # which transformers 5 takes for the form with tanh
        for layer in model.model.layers:
            layer.mlp.act_fn = transformers.activations.ACT2FN["gelu_pytorch_tanh"]
    return model, folder


def assert_llama_agrees(path, expected, case):
    compare_llama(path, expected, IDS, 1e-2 if CASES[case][0] in GELU else 1e-4, (2, 40, 100))


@pytest.mark.parametrize("case", CASES)
def test_logits(case, tmp_path, record_property):
    record_property("matrix", [CASES[case][0], "logits", "equal"])
    model, folder = made(case, tmp_path)
    assert apart(own_logits(folder, tmp_path), class_logits(model)) < 1e-4


# What llama.cpp's architecture of the family cannot say, and why we refuse to write it.
REFUSED = {
    "mistral": "has no windows per layer",
    "qwen3": "has no bias after attention",
    "qwen3, windows": "has no windows per layer",
    "olmo2, biases": "has no bias after attention",
    "gpt_neox, sequential": "needs biases in attention",
    "gemma, gelu": "has no bias after attention",
    "gemma2, no caps": "always has soft caps",
    "cohere2, types": "has no biases",
    "exaone4": "in models of 64 layers",
    "mixtral, windows": "has no windows per layer",
    "qwen3_moe, some layers": "requires experts in every layer",
    "qwen3_moe, biases": "has no bias after attention",
    "olmoe, among chosen": "has no bias after attention",
    "llama4, chunks": "requires chunks of 8192 tokens",
    "llama4, plain": "norms queries and keys in all but every fourth layer",
    "llama4, lists": "requires experts in every nth layer",
    "phi3": "ignores Phi-3's window",
    "falcon, one norm": "has no biases",
    "falcon, heads": "has no biases",
    "falcon, sequential": "side by side",
}


def weights(folder):
    return {name: t for f in folder.glob("*.safetensors") for name, t in load_file(f).items()}


def assert_equal_but_for_rounding(folder, expected, family):
    """The same bytes, but for what a GGUF of Gemma has to round: its norms are w + 1 there, and queries have the softmax
    scale in them that llama.cpp has no key for (Gemma 2: their projection, Gemma 3: their norm)."""
    changed = {name for name, h in hashes(folder).items() if h != hashes(expected)[name]}
    assert hashes(folder).keys() == hashes(expected).keys()
    if not family.startswith("gemma"):
        assert not changed
        return
    ours, theirs = weights(folder), weights(expected)
    for name in changed:
        w, error = theirs[name].double(), (ours[name].double() - theirs[name].double()).abs()
        if family == "gemma2" and name.endswith("q_proj.weight"):
            assert (error <= w.abs() * 2**-22).all(), name
        else:
            assert "norm" in name
            folded = family == "gemma3" and name.endswith("q_norm.weight")
            ulp = torch.from_numpy(numpy.spacing((w + 1).abs().float().numpy())).double()
            assert (error <= ulp * (2 if folded else 1)).all(), name


@pytest.mark.parametrize("case", CASES)
def test_gguf(case, tmp_path, record_property):
    """Through GGUF: our logits and llama.cpp's, and the way back."""
    family = CASES[case][0]
    record_property("matrix", [family, "GGUF", "refused" if case in REFUSED else "equal"])
    (model, source), gguf = made(case, tmp_path), tmp_path / "x.gguf"
    if case in REFUSED:
        refused = run_derope("convert", source, gguf, ok=False)
        assert refused.returncode == 1 and REFUSED[case] in refused.stderr and not gguf.exists(), refused.stderr
        return
    expected = class_logits(model)
    run_derope("convert", source, gguf)
    assert apart(own_logits(gguf, tmp_path), expected) < 1e-4
    assert_llama_agrees(gguf, expected, case)
    run_derope("convert", gguf, tmp_path / "back")
    if case == "olmoe, shared heads":  # which llama.cpp has as many of as there are queries
        assert apart(own_logits(tmp_path / "back", tmp_path), expected) < 1e-4
        return
    run_derope("convert", source, tmp_path / "direct")
    assert (tmp_path / "back" / "config.json").read_bytes() == (tmp_path / "direct" / "config.json").read_bytes()
    assert_equal_but_for_rounding(tmp_path / "back", tmp_path / "direct", family)


@pytest.mark.parametrize("case", SWA_CASES)
def test_granite_swa(case, tf5, tmp_path):
    config = {**SIZES, "attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0,
              "sliding_window": 12, **SWA_CASES[case]}
    tf5(GRANITE_SWA, json.dumps(config), json.dumps(IDS), tmp_path / "model", tmp_path / "logits.pt")
    expected = torch.load(tmp_path / "logits.pt")
    assert apart(own_logits(tmp_path / "model", tmp_path), expected) < 1e-4


@pytest.mark.parametrize("case", [c for c in CASES if c not in REFUSED])
def test_hf_from_a_plain_gguf(case, tmp_path):
    """config.json and tensors rebuilt from a GGUF's own keys: transformers loads them and gives the same logits."""
    model, source = made(case, tmp_path)
    expected = class_logits(model)
    run_derope("convert", source, tmp_path / "x.gguf")
    without_our_keys(tmp_path / "x.gguf", tmp_path / "plain.gguf")
    run_derope("convert", tmp_path / "plain.gguf", tmp_path / "back")
    assert apart(load_here(tmp_path / "back"), expected) < 1e-4
    assert apart(own_logits(tmp_path / "plain.gguf", tmp_path), expected) < 1e-4


def without_rotation(model, layers):
    """Logits with the rotation of `layers` replaced by the identity."""
    decoder = next(m for m in model.modules() if isinstance(getattr(m, "layers", None) or getattr(m, "h", None), torch.nn.ModuleList))
    hooks = []

    def still(module, args, kwargs):
        for k, v in kwargs.items():
            if k.startswith("position_embeddings") and v is not None:
                kwargs[k] = torch.ones_like(v) if torch.is_tensor(v) else (torch.ones_like(v[0]), torch.zeros_like(v[1]))
        return args, kwargs

    for i, layer in enumerate(getattr(decoder, "layers", None) or decoder.h):
        if i in layers:
            hooks.append(layer.register_forward_pre_hook(still, with_kwargs=True))
    out = class_logits(model)
    for h in hooks:
        h.remove()
    return out


# Dropped everywhere and in the upper half, (HF, GGUF): None where some stock architecture carries it, else what the refusal
# says of the family's own.
LLAMA_BLOCK = ("llama", "mistral", "qwen2", "smollm3", "granite", "phi3", "mixtral")
OWN_ROTATION = {"gemma2": "rotates in every layer",
                "cohere2": "rotates in layers with a window and in no others", "exaone4": "rotates in layers with a window only",
                "gpt_oss": "rotates in every layer", "olmoe": "rotates in all layers or in none",
                "llama4": "norms queries and keys in layers that rotate only"}

# Gemma 3's layers without a window are scaled apart from those with one, so a factor stops them
GLOBAL = {"gemma3": (1, 3), "gemma3, scaled": (0, 3)}

ALL = {case: (None, REFUSED.get(case)) for case in CASES}
SOME = {case: (None, None) if family in LLAMA_BLOCK else
        (OWN_ROTATION.get(family, "has no keys for rotation or windows per layer"), "stops the rotation of all layers or of none")
        for case, (family, _) in CASES.items()}
ALL["gemma3"] = ALL["gemma3, scaled"] = 2 * ("does not scale the rotation of layers with a window",)
for name in ("qwen2, windows", "qwen2, types", "smollm3, windows", "smollm3, lists"):
    ALL[name] = (None, "has no windows per layer")
SOME["gemma3"] = SOME["gemma3, scaled"] = (None, None)
for name in ("olmo2", "olmo2, biases"):
    SOME[name] = (SOME[name][0], "stops the rotation of all layers without a window or of none")
SOME["mixtral, windows"] = (None, "needs a layer without a window")
SOME["mistral"] = (None, "has no windows per layer")
SOME["phi3"] = (None, "ignores Phi-3's window")
SOME["phi3, partial"] = SOME["phi3, longrope, short text"] = 2 * ("rotates in every layer",)
SOME["phi3, longrope"] = (None, "rotates in every layer")
SOME["llama4, plain"] = (None, "stops the rotation of all layers or of none")
SOME["llama4, lists"] = ("norms and scales queries in all layers that rotate alike", "stops the rotation of all layers or of none")
SOME["llama4, chunks"] = ("norms and scales queries in all layers that rotate alike", "stops the rotation of all layers or of none")


def check_dropped(case, layers, what, tmp_path, record_property):
    model, source = made(case, tmp_path)
    refusals = (ALL if layers == range(4) else SOME)[case]
    expected = None if all(refusals) else without_rotation(model, layers)
    for out, refusal, kind in zip((tmp_path / "out", tmp_path / "out.gguf"), refusals, ("HF", "GGUF")):
        done = run_derope("convert", source, out, "--drop-rope=" + ",".join(map(str, layers)), ok=False)
        carrier = "refused"
        if out.exists():
            carrier = json.loads(run_derope("verify", out, "--json").stdout)["carrier"]
        record_property("matrix", [CASES[case][0], f"{what}: {kind}", carrier])
        if refusal:
            assert done.returncode == 1 and refusal in done.stderr and not out.exists(), done.stderr
            continue
        assert done.returncode == 0, done.stderr
        assert apart(own_logits(out, tmp_path), expected) < 1e-4
        if out.suffix:
            assert claims(out)["llama.cpp of October 2026"]
            assert_llama_agrees(out, expected, case)
            continue
        assert claims(out)["transformers 5.23"]
        check_claim_here(out, expected, 1e-4)
        theirs = load_stock(out, tmp_path)
        assert apart(theirs, expected) < 1e-4


@pytest.mark.parametrize("case", ALL)
def test_dropped_everywhere(case, tmp_path, record_property):
    check_dropped(case, range(4), "dropped", tmp_path, record_property)


@pytest.mark.parametrize("case", SOME)
def test_dropped_in_some_layers(case, tmp_path, record_property):
    check_dropped(case, GLOBAL.get(case, (2, 3)), "some layers", tmp_path, record_property)


RECALIBRATED = ["phi3, no window", "gpt_neox", "gemma2", "gemma3", "cohere2", "falcon", "olmo2", "phi", "exaone4", "qwen3, plain", "stablelm",
                "mixtral", "qwen3_moe, some layers", "olmoe", "gpt_oss", "llama4"]


@pytest.mark.parametrize("case", RECALIBRATED)
def test_recalibrated(case, tmp_path):
    """Trained weights go back to where they came from: fused, interleaved, less one."""
    model, source = made(case, tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog ran to the river because it was there and then " * 200)
    run_derope("--quiet", "recal", source, tmp_path / "out", "--data", tmp_path / "text.txt", "--tokens", 1000, "--context", 50, "--batch", 2, "--lr", "1e-3")
    theirs, before = load_here(tmp_path / "out"), class_logits(model)
    assert apart(own_logits(tmp_path / "out", tmp_path), theirs) < 1e-4
    assert (theirs - before).abs().max() > 0.1


def test_readme_says_what_was_found():
    """The table of families is that of families.json, which `make families` writes, and it has every family that is built in."""
    data = json.loads(matrix.RESULTS.read_text())
    assert matrix.put(matrix.README.read_text(), "families", matrix.table(data)) == matrix.README.read_text()
    families = [family for family, _ in CASES.values()]
    assert data.keys() == set(families)
    for family in data:
        assert len(data[family]["logits"]) == len(data[family]["GGUF"]) == families.count(family), family
        assert data[family]["gradients"] and data[family]["dropped: HF"] and data[family]["some layers: GGUF"], family
