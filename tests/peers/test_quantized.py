"""Checkpoints with a quantization_config: fp8 in blocks, by row and whole, mxfp4. What we read against the arithmetic
in torch and transformers' own unpacking; what we write against both and llama.cpp."""

import json
from functools import partial

import gguf
import numpy as np
import pytest
import reference
import torch
import transformers
from conftest import run_derope
from llama import compare_llama
from reference import byte_tokenizer, logits, tiny
from safetensors.torch import load_file, save_file

IDS = reference.IDS[:60]
own_logits = partial(reference.own_logits, ids=IDS)
SIZES = dict(hidden_size=192, intermediate_size=320, num_attention_heads=4, num_key_value_heads=2)


def by_block(w, rows, cols):
    """w in fp8, its factors (one a block of rows x cols), and what the two stand for."""
    a, b = -(-w.shape[0] // rows), -(-w.shape[1] // cols)
    padded = torch.zeros(a * rows, b * cols)
    padded[: w.shape[0], : w.shape[1]] = w
    scale = padded.view(a, rows, b, cols).abs().amax((1, 3)).clamp(min=1e-12) / 448
    spread = scale.repeat_interleave(rows, 0)[: w.shape[0]].repeat_interleave(cols, 1)[:, : w.shape[1]]
    q = (w / spread).to(torch.float8_e4m3fn)
    return q, scale, q.float() * spread


def fp8(w, kind):
    if kind == "block":
        return by_block(w, 128, 128)
    if kind == "row":
        return by_block(w, 1, w.shape[1])
    q, scale, plain = by_block(w, *w.shape)
    return q, scale.reshape(() if kind == "whole" else (1,)), plain


CONFIGS = {
    "block": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    "whole": {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
    "row": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {}},
    "tensor": {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {}},
}


def make(folder, config, pack):
    """A tiny Llama whose layers' matrices `pack` replaced; and a model of what they stand for."""
    model = tiny("llama", **SIZES)
    state, packed = dict(model.state_dict()), {}
    state.pop("lm_head.weight") if model.config.tie_word_embeddings else None
    for name, w in state.items():
        if w.ndim == 2 and "layers" in name:
            new, plain = pack(name, w)
            packed |= new
            w.copy_(plain)
        else:
            packed[name] = w.to(torch.bfloat16)
            w.copy_(packed[name].float())
    model.load_state_dict(state, strict=False)
    model.config.torch_dtype = torch.bfloat16
    model.config.save_pretrained(folder)
    text = json.loads((folder / "config.json").read_text()) | {"quantization_config": config}
    (folder / "config.json").write_text(json.dumps(text, indent=2))
    save_file({k: v.contiguous() for k, v in packed.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    byte_tokenizer(folder)
    return model, packed


def make_fp8(folder, kind):
    ending = "_scale_inv" if CONFIGS[kind]["quant_method"] == "fp8" else "_scale"

    def pack(name, w):
        q, scale, plain = fp8(w, kind)
        more = {name.replace(".weight", ".input_scale"): torch.ones(1)} if kind in ("whole", "tensor") else {}
        return {name: q, name + ending: scale} | more, plain

    return make(folder, CONFIGS[kind], pack)


def mxfp4(w):
    """Packed as GPT-OSS's checkpoints are: blocks of 32 along the rows, a power of two for each."""
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    x = w.reshape(*w.shape[:-1], -1, 32)
    exponent = torch.floor(torch.log2(x.abs().amax(-1).clamp(min=1e-30))) - 2
    code = ((x / 2 ** exponent[..., None])[..., None] - values).abs().argmin(-1)
    blocks = (code[..., 0::2] | code[..., 1::2] << 4).to(torch.uint8)
    return blocks, (exponent + 127).to(torch.uint8)


def unpacked(blocks, scales):
    """By transformers; it gives [experts, in, out]."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    return convert_moe_packed_tensors(blocks[None], scales[None], dtype=torch.float32)[0].T.contiguous()


def make_mxfp4(folder):
    def pack(name, w):
        blocks, scales = mxfp4(w)
        return {name + "_blocks": blocks, name + "_scales": scales}, unpacked(blocks, scales)

    return make(folder, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, pack)


def layers_of(model):
    return {k: v for k, v in model.state_dict().items() if "layers" in k and v.ndim == 2}


@pytest.mark.parametrize("kind", [*CONFIGS, "mxfp4"])
def test_packed_weights_read_as_plain(kind, tmp_path):
    """Logits of the packed checkpoint are those of the plain model; in f32 the weights are the very products."""
    model, _ = make_mxfp4(tmp_path / "in") if kind == "mxfp4" else make_fp8(tmp_path / "in", kind)
    expected = logits(model, IDS)
    assert (own_logits(tmp_path / "in", tmp_path) - expected).abs().max() < 1e-3 * expected.abs().max()
    p = run_derope("convert", tmp_path / "in", tmp_path / "plain", "--dtype", "f32")
    if kind in ("whole", "tensor"):
        assert "28 scales of activations are left out" in p.stderr
    plain, config = load_file(tmp_path / "plain" / "model.safetensors"), json.loads((tmp_path / "plain" / "config.json").read_text())
    for name, w in layers_of(model).items():
        assert torch.equal(plain[name], w), name
    assert "quantization_config" not in config and config["dtype"] == "float32"
    assert not [n for n in plain if "scale" in n or "_blocks" in n]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()
    with torch.no_grad():
        assert (loaded(torch.tensor([IDS])).logits[0] - expected).abs().max() < 1e-3 * expected.abs().max()
    run_derope("verify", tmp_path / "plain")


@pytest.mark.parametrize("kind", ["block", "tensor", "mxfp4"])
def test_packed_weights_are_carried_or_written_plain(kind, tmp_path):
    """A change of the configuration alone carries the packed bytes; one that reaches a weight writes all in bf16."""
    model, packed = make_mxfp4(tmp_path / "in") if kind == "mxfp4" else make_fp8(tmp_path / "in", kind)
    run_derope("convert", tmp_path / "in", tmp_path / "dropped", "--drop-rope")
    same = load_file(tmp_path / "dropped" / "model.safetensors")
    config = json.loads((tmp_path / "dropped" / "config.json").read_text())
    assert sorted(same) == sorted(packed) and config["model_type"] == "smollm3"
    assert all(same[k].dtype == v.dtype and torch.equal(same[k].view(torch.uint8), v.view(torch.uint8)) for k, v in packed.items() if v.ndim)
    assert config["quantization_config"]["quant_method"] in ("fp8", "compressed-tensors", "mxfp4")
    expected = logits(model, IDS, range(4))
    assert (own_logits(tmp_path / "dropped", tmp_path) - expected).abs().max() < 1e-3 * expected.abs().max()
    run_derope("verify", tmp_path / "dropped")

    run_derope("convert", tmp_path / "in", tmp_path / "scaled", "--scale-attention", "1.5")
    plain, config = load_file(tmp_path / "scaled" / "model.safetensors"), json.loads((tmp_path / "scaled" / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    for name, w in layers_of(model).items():
        want = w * 1.5 if "q_proj" in name else w
        assert torch.equal(plain[name], want.to(torch.bfloat16)), name


def test_fp8_gguf(tmp_path):
    model, _ = make_fp8(tmp_path / "in", "block")
    run_derope("convert", tmp_path / "in", tmp_path / "out.gguf")
    run_derope("verify", tmp_path / "out.gguf")
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    up = tensors["blk.0.ffn_up.weight"]
    assert up.tensor_type.name == "BF16" and tensors["token_embd.weight"].tensor_type.name == "BF16"
    want = layers_of(model)["model.layers.0.mlp.up_proj.weight"].to(torch.bfloat16)
    assert up.data.tobytes() == want.view(torch.uint8).numpy().tobytes()
    run_derope("convert", tmp_path / "in", tmp_path / "f32.gguf", "--dtype", "f32")
    compare_llama(tmp_path / "f32.gguf", logits(model, IDS), IDS, 1e-4, (2, 30, 60))
    run_derope("convert", tmp_path / "out.gguf", tmp_path / "back")
    assert "quantization_config" not in json.loads((tmp_path / "back" / "config.json").read_text())
    assert torch.equal(load_file(tmp_path / "back" / "model.safetensors")["model.layers.1.mlp.up_proj.weight"],
                       layers_of(model)["model.layers.1.mlp.up_proj.weight"].to(torch.bfloat16))


def test_mxfp4_keeps_its_codes_in_a_gguf(tmp_path):
    """Codes and scales go into ggml's blocks as they are."""
    model, _ = make_mxfp4(tmp_path / "in")
    run_derope("convert", tmp_path / "in", tmp_path / "out.gguf")
    run_derope("verify", tmp_path / "out.gguf")
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    names = {"ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_v": "self_attn.v_proj"}
    for theirs, name in names.items():
        t = tensors[f"blk.2.{theirs}.weight"]
        assert t.tensor_type.name == "MXFP4"
        w = gguf.quants.dequantize(t.data, t.tensor_type)
        assert np.array_equal(w, layers_of(model)[f"model.layers.2.{name}.weight"].numpy())
    compare_llama(tmp_path / "out.gguf", own_logits(tmp_path / "out.gguf", tmp_path), IDS, 0.2, (2, 30, 60))
    run_derope("convert", tmp_path / "out.gguf", tmp_path / "back", "--dtype", "bf16")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert all(torch.equal(back[k].float(), w) for k, w in layers_of(model).items())


def make_gpt_oss(folder):
    """As OpenAI publishes it: experts in mxfp4, everything else in bf16; and the model that transformers makes of it."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    model = tiny("gpt_oss")
    model.config._attn_implementation = "eager"
    state, packed = model.state_dict(), {}
    for name, w in state.items():
        if name.endswith(("gate_up_proj", "down_proj")):  # [experts, in, out]
            packed[name + "_blocks"], packed[name + "_scales"] = mxfp4(w.transpose(1, 2))
            w.copy_(convert_moe_packed_tensors(packed[name + "_blocks"], packed[name + "_scales"], dtype=torch.float32))
        else:
            packed[name] = w.to(torch.bfloat16)
            w.copy_(packed[name].float())
    model.config.torch_dtype = torch.bfloat16
    model.config.save_pretrained(folder)
    text = json.loads((folder / "config.json").read_text())
    text["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(text, indent=2))
    save_file({k: v.contiguous() for k, v in packed.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    byte_tokenizer(folder)
    return model, packed


def test_gpt_oss_as_published(tmp_path):
    """Read as transformers unpacks it; carried where only the configuration changes; the same codes in a GGUF, and back."""
    model, packed = make_gpt_oss(tmp_path / "in")
    with torch.no_grad():
        expected = model(torch.tensor([IDS])).logits[0]
    assert (own_logits(tmp_path / "in", tmp_path) - expected).abs().max() < 2e-4
    run_derope("convert", tmp_path / "in", tmp_path / "dropped", "--drop-rope")
    same = load_file(tmp_path / "dropped" / "model.safetensors")
    assert sorted(same) == sorted(packed) and all(torch.equal(same[k], v) for k, v in packed.items())
    assert "quantization_config" in json.loads((tmp_path / "dropped" / "config.json").read_text())

    run_derope("convert", tmp_path / "in", tmp_path / "out.gguf")
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "out.gguf").tensors}
    experts = model.model.layers[1].mlp.experts
    gate_up = experts.gate_up_proj.detach().transpose(1, 2)
    for name, want in {"gate": gate_up[:, ::2], "up": gate_up[:, 1::2], "down": experts.down_proj.detach().transpose(1, 2)}.items():
        t = tensors[f"blk.1.ffn_{name}_exps.weight"]
        assert t.tensor_type.name == "MXFP4"
        assert np.array_equal(gguf.quants.dequantize(t.data, t.tensor_type), want.numpy())
    assert (own_logits(tmp_path / "out.gguf", tmp_path) - expected).abs().max() < 2e-4
    compare_llama(tmp_path / "out.gguf", expected, IDS, 0.05, (2, 30, 60))  # llama.cpp rounds what MXFP4 is multiplied by

    for name, source in {"plain": "in", "back": "out.gguf"}.items():
        run_derope("convert", tmp_path / source, tmp_path / name, "--dtype", "f32")
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32, attn_implementation="eager").eval()
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
