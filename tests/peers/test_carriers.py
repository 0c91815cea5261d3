"""Carriers beyond the common cases: scalings, softmax scale through both formats, sources saved by transformers 5,
Granite SWA, GGUFs that say it all in their own keys, quantised outputs."""

import json

import pytest
import torch
import transformers
from conftest import run_derope
from gguf_file import without_our_keys
from llama import compare_llama
from reference import IDS, byte_tokenizer, check_claim_here, claims, load_here, logits, own_logits, save, tiny
from safetensors.torch import load_file, save_file

LOAD_MANY = """
import json, sys, torch, transformers
torch.set_num_threads(2)
out = {}
for folder in json.loads(sys.argv[1]):
    m = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad(): out[folder] = m(torch.tensor([json.loads(sys.argv[2])])).logits[0]
torch.save(out, sys.argv[3])
print(json.dumps(transformers.__version__))
"""


def with_config(model, **changes):
    """The same weights under a changed configuration."""
    config = transformers.AutoConfig.for_model(**{**model.config.to_dict(), **changes})
    other = type(model)(config).eval()
    other.load_state_dict(model.state_dict())
    return other


def yarn(model, **changes):
    return with_config(model, rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, **changes)


# flags, and the logits they should give
CASES = {
    "dropped-scaled": (["--drop-rope", "--scale-attention", "1.25"], lambda m: logits(m, IDS, range(4), scale=1.25)),
    "upper-scaled": (["--drop-rope=2-3", "--scale-attention", "0.8"], lambda m: logits(m, IDS, (2, 3), scale=0.8)),
    "yarn-upper-window": (["--drop-rope=2-3", "--sliding-window", "20:0-1", "--rope-scaling", "yarn:4"],
                          lambda m: logits(yarn(m), IDS, (2, 3), {0: 20, 1: 20})),
    "by granite_swa": (["--drop-rope=2-3", "--sliding-window", "20:0-1", "--carrier", "granite_swa"],
                       lambda m: logits(m, IDS, (2, 3), {0: 20, 1: 20})),
    "linear": (["--drop-rope", "--carrier", "linear-1e30"], lambda m: logits(m, IDS, range(4))),
    "every": (["--drop-rope=every:2"], lambda m: logits(m, IDS, (1, 3))),
}


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_cases(family, tf5, tmp_path):
    model = tiny(family, head_dim=16) if family == "llama" else tiny(family)
    source = save(model, tmp_path / "source")
    folders, expected = [], {}
    for name, (flags, reference) in CASES.items():
        run_derope("convert", source, tmp_path / name, *flags)
        run_derope("convert", source, tmp_path / f"{name}.gguf", *flags)
        run_derope("convert", tmp_path / f"{name}.gguf", tmp_path / f"{name}-back")
        run_derope("convert", without_our_keys(tmp_path / f"{name}.gguf", tmp_path / f"{name}-plain.gguf"), tmp_path / f"{name}-plain")
        want = reference(model)
        compare_llama(tmp_path / f"{name}.gguf", want, IDS, 1e-2, (2, 40, 100))
        for folder in (tmp_path / name, tmp_path / f"{name}-back", tmp_path / f"{name}-plain"):
            if claims(folder)["transformers 4.56"]:
                difference = (load_here(folder) - want).abs().max()
                assert difference < 2e-3, (folder.name, difference)
            else:
                assert json.loads((folder / "config.json").read_text())["model_type"] == "granite_swa"
                check_claim_here(folder, want, 0)
            assert claims(folder)["transformers 5.23"]
            folders.append(str(folder))
            expected[str(folder)] = want
            run_derope("verify", folder)
        run_derope("verify", tmp_path / f"{name}.gguf")
    tf5(LOAD_MANY, json.dumps(folders), json.dumps(IDS), tmp_path / "logits.pt")
    for folder, x in torch.load(tmp_path / "logits.pt").items():
        assert (x - expected[folder]).abs().max() < 2e-3, folder


def test_llama3_bands(tf5, tmp_path):
    bands = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    model = tiny("llama", rope_scaling=bands)
    source = save(model, tmp_path / "source")
    run_derope("convert", source, tmp_path / "upper", "--drop-rope=2-3")
    want = logits(model, IDS, (2, 3))
    assert (load_here(tmp_path / "upper") - want).abs().max() < 2e-3
    tf5(LOAD_MANY, json.dumps([str(tmp_path / "upper")]), json.dumps(IDS), tmp_path / "logits.pt")
    assert (torch.load(tmp_path / "logits.pt")[str(tmp_path / "upper")] - want).abs().max() < 2e-3


def test_saved_by_transformers5(tmp_path):
    """rope_parameters, which 4.56 does not read: what we write with another rotation, both read."""
    model = tiny("llama")
    source = tmp_path / "source"
    model.save_pretrained(source)
    config = json.loads((source / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
    config.pop("rope_scaling")
    (source / "config.json").write_text(json.dumps(config))
    run_derope("convert", source, tmp_path / "upper", "--drop-rope=2-3")
    assert (load_here(tmp_path / "upper") - logits(model, IDS, (2, 3))).abs().max() < 2e-3
    run_derope("convert", source, tmp_path / "plain")
    assert (tmp_path / "plain" / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert claims(tmp_path / "plain") == {"transformers 4.56": False, "transformers 5.23": True, "llama.cpp of October 2026": False}


def normed(model, which):
    """DroPE's norms over all queries and all keys: those of `which` at work, both among the tensors."""
    torch.manual_seed(5)
    tensors = {}
    for i, layer in enumerate(model.model.layers):
        for side in "qk":
            proj = getattr(layer.self_attn, f"{side}_proj")
            norm = torch.nn.RMSNorm(proj.out_features, model.config.rms_norm_eps)
            torch.nn.init.normal_(norm.weight, 1.0, 0.3)
            tensors[f"model.layers.{i}.self_attn.{side}_norm.weight"] = norm.weight.detach()
            if side in which:
                proj.register_forward_hook(lambda module, args, out, norm=norm: norm(out))
    return tensors


@pytest.mark.parametrize("kind", ["nope", "qk_norm_nope", "q_norm_nope", "k_norm_nope"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_dropes_own_checkpoints(family, kind, tf5, tmp_path):
    """llama_drope and qwen2_drope load with remote code only; what we make of them needs none."""
    model = tiny(family)
    source = save(model, tmp_path / "source")
    norms = kind.removesuffix("nope").removesuffix("_norm_")
    if norms:
        tensors = load_file(source / "model.safetensors") | normed(model, norms)
        save_file(tensors, source / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": f"{family}_drope", "architectures": ["DroPEForCausalLM"], "attention_type": kind, "softmax_scale": 0.3,
               "auto_map": {"AutoModelForCausalLM": "modeling_drope.DroPEForCausalLM"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "modeling_drope.py").write_text("raise SystemExit")
    want = logits(model, IDS, range(4), scale=0.3 * 4)
    assert (own_logits(source, tmp_path) - want).abs().max() < 2e-4
    if norms in ("q", "k"):  # no stock architecture has the norm of one side
        for out in tmp_path / "out", tmp_path / "out.gguf":
            p = run_derope("convert", source, out, ok=False)
            assert p.returncode == 1 and "olmoe: requires norms over all queries and over all keys" in p.stderr
        return
    run_derope("convert", source, tmp_path / "out")
    assert (load_here(tmp_path / "out") - want).abs().max() < 2e-3
    tf5(LOAD_MANY, json.dumps([str(tmp_path / "out")]), json.dumps(IDS), tmp_path / "logits.pt")
    assert (torch.load(tmp_path / "logits.pt")[str(tmp_path / "out")] - want).abs().max() < 2e-3
    run_derope("convert", source, tmp_path / "out.gguf")
    compare_llama(tmp_path / "out.gguf", want, IDS, 1e-2, (2, 40, 100))
    run_derope("convert", tmp_path / "out.gguf", tmp_path / "back")
    assert (load_here(tmp_path / "back") - want).abs().max() < 2e-3


MAKE_SWA = """
import json, sys, torch, transformers
torch.manual_seed(3)
config = transformers.GraniteSWAConfig(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    sliding_window=24, layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    layer_rope_theta=[5000.0, 0, 5000.0, 5000.0],
    attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0, attn_implementation="eager")
m = transformers.GraniteSWAForCausalLM(config).eval()
with torch.no_grad():
    for p in m.parameters():
        p.add_(0.2 * torch.randn_like(p)) if p.ndim == 1 else p.mul_(4)
m.save_pretrained(sys.argv[1])
ids, out = torch.tensor([json.loads(sys.argv[2])]), {}
with torch.no_grad():
    out["plain"] = m(ids).logits[0]
    config.layer_rope_theta = [5000.0, 0, 0, 0]
    dropped = transformers.GraniteSWAForCausalLM(config).eval()
    dropped.load_state_dict(m.state_dict())
    out["dropped"] = dropped(ids).logits[0]
torch.save(out, sys.argv[3])
print(json.dumps(1))
"""


def test_granite_swa(tf5, tmp_path):
    source = tmp_path / "source"
    tf5(MAKE_SWA, source, json.dumps(IDS), tmp_path / "expected.pt")
    byte_tokenizer(source)
    expected = torch.load(tmp_path / "expected.pt")
    for name, flags in {"plain": [], "dropped": ["--drop-rope=2-3"]}.items():
        run_derope("convert", source, tmp_path / name, *flags)
        run_derope("convert", source, tmp_path / f"{name}.gguf", *flags)
        compare_llama(tmp_path / f"{name}.gguf", expected[name], IDS, 1e-2, (2, 40, 100))
        run_derope("convert", without_our_keys(tmp_path / f"{name}.gguf", tmp_path / f"{name}-p.gguf"), tmp_path / f"{name}-plain")
        folders = [str(tmp_path / name), str(tmp_path / f"{name}-plain")]
        tf5(LOAD_MANY, json.dumps(folders), json.dumps(IDS), tmp_path / "logits.pt")
        for folder, x in torch.load(tmp_path / "logits.pt").items():
            assert (x - expected[name]).abs().max() < 2e-3, folder
    run_derope("convert", tmp_path / "plain.gguf", tmp_path / "back")
    assert json.loads(run_derope("diff", source, tmp_path / "back", "--json").stdout)["equal"]


@pytest.mark.parametrize("dtype,tolerance", [("f16", 1e-2), ("bf16", 0.1), ("q8_0", 0.1)])
def test_other_types(dtype, tolerance, tmp_path):
    """Narrower weights load, and stay near; a drop on an already quantised GGUF re-encodes nothing."""
    model = tiny("llama")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.5)
    source = save(model, tmp_path / "source")
    run_derope("convert", source, tmp_path / "x.gguf", "--dtype", dtype)
    compare_llama(tmp_path / "x.gguf", logits(model, IDS), IDS, tolerance, (2, 40))
    run_derope("convert", tmp_path / "x.gguf", tmp_path / "y.gguf", "--drop-rope")
    compare_llama(tmp_path / "y.gguf", logits(model, IDS, range(4)), IDS, tolerance, (2, 40))
    tensors = json.loads(run_derope("diff", tmp_path / "x.gguf", tmp_path / "y.gguf", "--json").stdout)["tensors"]
    assert {t["status"] for t in tensors} == {"equal"}


MAKE = """
import json, sys, torch, transformers
torch.manual_seed(3)
config = getattr(transformers, sys.argv[1] + "Config")(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    sliding_window=24, attn_implementation="eager", **json.loads(sys.argv[2]))
m = getattr(transformers, sys.argv[1] + "ForCausalLM")(config).eval()
with torch.no_grad():
    for p in m.parameters():
        p.add_(0.2 * torch.randn_like(p)) if p.ndim == 1 else p.mul_(4)
    m.save_pretrained(sys.argv[3])
    torch.save(m(torch.tensor([json.loads(sys.argv[4])])).logits[0], sys.argv[5])
print(json.dumps(1))
"""
TYPES = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
PLAIN = {"rope_type": "default", "rope_theta": 5000.0}
# What transformers 5 alone has.
MADE = {
    "Olmo3": {"rope_parameters": {"full_attention": {**PLAIN, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
                                  "sliding_attention": PLAIN}},
    "Ministral": {"layer_types": TYPES, "head_dim": 24, "rope_parameters": PLAIN},
    "GraniteMoeSWA": {"layer_types": TYPES, "layer_rope_theta": [5000.0, 0, 5000.0, 5000.0], "num_local_experts": 4, "tie_word_embeddings": True,
                      "attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0},
}


def everywhere(folder, gguf, expected, tf5, tmp_path):
    """A folder in transformers 5, its GGUF in llama.cpp, both here, and the way back from the GGUF, with our keys and without.
    transformers 4.56 does not have the class, and `verify` says so."""
    run_derope("convert", gguf, tmp_path / "back")
    assert claims(tmp_path / "back") == {"transformers 4.56": False, "transformers 5.23": True, "llama.cpp of October 2026": False}
    check_claim_here(tmp_path / "back", expected, 0)
    assert claims(gguf) == {"transformers 4.56": False, "transformers 5.23": False, "llama.cpp of October 2026": True}
    run_derope("convert", without_our_keys(gguf, tmp_path / "plain.gguf"), tmp_path / "plain")
    folders = [str(f) for f in (folder, tmp_path / "back", tmp_path / "plain")]
    tf5(LOAD_MANY, json.dumps(folders), json.dumps(IDS), tmp_path / "logits.pt")
    for path, x in torch.load(tmp_path / "logits.pt").items():
        assert (x - expected).abs().max() < 5e-4, path
    for path in (folder, gguf, tmp_path / "back"):
        assert (own_logits(path, tmp_path) - expected).abs().max() < 5e-4, path
    run_derope("verify", gguf)
    compare_llama(gguf, expected, IDS, 1e-4, (2, 40, 100))


@pytest.mark.parametrize("kind", MADE)
def test_made_by_transformers5(kind, tf5, tmp_path):
    source = tmp_path / "source"
    tf5(MAKE, kind, json.dumps(MADE[kind]), source, json.dumps(IDS), tmp_path / "expected.pt")
    byte_tokenizer(source)
    run_derope("convert", source, tmp_path / "out.gguf")
    everywhere(source, tmp_path / "out.gguf", torch.load(tmp_path / "expected.pt"), tf5, tmp_path)


def test_olmo2_loses_its_rotation_above_windows(tf5, tmp_path):
    """OLMo 2 has no windows; OLMo 3, the same block, has, and its scaling leaves their rotation alone."""
    model = tiny("olmo2")
    source = save(model, tmp_path / "source")
    flags = ["--drop-rope=2-3", "--sliding-window", "20:0-1"]
    run_derope("convert", source, tmp_path / "out", *flags)
    run_derope("convert", source, tmp_path / "out.gguf", *flags)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "olmo3"
    everywhere(tmp_path / "out", tmp_path / "out.gguf", logits(model, IDS, (2, 3), {0: 20, 1: 20}), tf5, tmp_path)
    for out in ("x", "x.gguf"):
        refused = run_derope("convert", source, tmp_path / out, "--drop-rope=2-3", ok=False)
        assert refused.returncode == 1 and "stops the rotation of all layers without a window or of none" in refused.stderr
