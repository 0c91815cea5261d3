"""Mixtures of experts through what their files go through elsewhere: shards, PyTorch's format, zips, other people's types, keys and
gaps, further surgery; and training, where an output must be what the run said it was."""

import signal
import subprocess
import time

import gguf
import pytest
from conftest import BUILD, run_derope
from gguf_file import quantized, without_our_keys
from reference import class_logits, hashes, load_stock, own_logits, save, tiny
from test_families import assert_llama_agrees, made, without_rotation

FAMILIES = ["mixtral", "qwen3_moe", "olmoe", "gpt_oss", "llama4"]


def worst(a, b):
    return (a - b).abs().max()


# ---- containers ----


@pytest.mark.parametrize("how", ["shards", "bin", "zip"])
@pytest.mark.parametrize("case", FAMILIES)
def test_containers(case, how, tmp_path):
    """Experts spread over shards, in PyTorch's format, in a zip."""
    model, source = made(case, tmp_path)
    if how == "zip":
        source = tmp_path / "model.zip"
        run_derope("convert", tmp_path / "model", source)
    else:
        for old in source.glob("*.safetensors"):
            old.unlink()
        model.save_pretrained(source, max_shard_size="200KB" if how == "shards" else "5GB", safe_serialization=how == "shards")
        assert how == "bin" or len(list(source.glob("*.safetensors"))) > 4
    expected = class_logits(model)
    run_derope("convert", source, tmp_path / "x.gguf")
    run_derope("convert", tmp_path / "x.gguf", tmp_path / "back", "--max-shard-size", "300K")
    run_derope("verify", tmp_path / "back")
    assert worst(own_logits(source, tmp_path), expected) < 2e-4
    assert worst(load_stock(tmp_path / "back", tmp_path), expected) < 2e-4
    assert run_derope("diff", source, tmp_path / "x.gguf").stdout.rstrip().endswith("\nequal")


# ---- types ----


@pytest.mark.parametrize("dtype", ["bf16", "f16", "q8_0", "q4_k"])
@pytest.mark.parametrize("case", FAMILIES)
def test_types(case, dtype, tmp_path):
    """Written in another type: the same values in transformers and here. Routers and biases stay as they are in blocks
    and F32 in every GGUF, as llama.cpp's converter and quantiser have them."""
    _, source = made(case, tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf", "--dtype", dtype)
    run_derope("convert", tmp_path / "x.gguf", tmp_path / "back")
    expected = own_logits(tmp_path / "x.gguf", tmp_path)
    assert worst(load_stock(tmp_path / "back", tmp_path), expected) < 5e-4
    for t in gguf.GGUFReader(tmp_path / "x.gguf").tensors:
        if t.name.endswith("bias") or "ffn_gate_inp" in t.name or "norm" in t.name:
            assert t.tensor_type == gguf.GGMLQuantizationType.F32, t.name
        elif "exps" in t.name and t.shape[0] % 32 == 0:
            assert t.tensor_type != gguf.GGMLQuantizationType.F32, t.name


@pytest.mark.parametrize("case", ["gpt_oss", "llama4, bands"])
def test_halves_of_other_types(case, tmp_path):
    """HF has gate and up in one tensor; in a GGUF they may be of two types."""
    _, source = made(case, tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf")
    kinds = {"ffn_gate_exps.weight": gguf.GGMLQuantizationType.Q8_0, "ffn_up_exps.weight": gguf.GGMLQuantizationType.Q4_0,
             "ffn_down_exps.weight": gguf.GGMLQuantizationType.Q5_0}
    plain = without_our_keys(tmp_path / "x.gguf", tmp_path / "plain.gguf",
                             lambda t: next((quantized(t, kind) for name, kind in kinds.items() if t.name.endswith(name)), None))
    run_derope("convert", plain, tmp_path / "out")
    assert worst(load_stock(tmp_path / "out", tmp_path), own_logits(plain, tmp_path)) < 5e-4


# ---- keys and gaps ----


def rewritten(path, out, drop=(), **keys):
    """The same GGUF without some tensors and with other keys (None: without), ours left out."""
    plain = without_our_keys(path, out.with_suffix(".plain"))
    r = gguf.GGUFReader(plain)
    arch = r.fields["general.architecture"].contents()
    w = gguf.GGUFWriter(out, arch)
    for f in r.fields.values():
        key = f.name.removeprefix(f"{arch}.")
        if f.name.startswith("GGUF.") or f.name == "general.architecture" or key in keys:
            continue
        w.add_key_value(f.name, f.contents(), f.types[0], f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for key, value in keys.items():
        if isinstance(value, list):
            w.add_array(f"{arch}.{key}", value)
        elif value is not None:
            w.add_uint32(f"{arch}.{key}", value)
    for t in r.tensors:
        if not t.name.endswith(tuple(drop)):
            w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return out


@pytest.mark.parametrize("case,keys,drop,code,message", [
    ("mixtral", {"expert_used_count": 0}, (), 3, "key 'llama.expert_used_count': 0 is not between 1 and 4"),
    ("mixtral", {"expert_used_count": 5}, (), 3, "key 'llama.expert_used_count': 5 is not between 1 and 4"),
    ("mixtral", {"expert_used_count": None}, (), 3, "key 'llama.expert_used_count': expected a whole number, found nothing"),
    ("mixtral", {"expert_used_count": [2, 2, 2, 1]}, (), 3, "key 'llama.expert_used_count': expected a whole number, found a list of different numbers"),
    ("mixtral", {"expert_count": 4}, ("2.ffn_up_exps.weight",), 3, "tensor 'blk.2.ffn_up_exps.weight' is missing"),
    ("mixtral", {"expert_count": 3}, (), 3, "tensor 'blk.0.ffn_gate_inp.weight': shape [4, 64], the configuration says [3, 64]"),
    ("qwen3_moe", {"expert_count": 0}, (), 3, "key 'qwen3moe.expert_count': 0 is not between 1 and 4096"),
    ("qwen3_moe", {"expert_count": None}, (), 3, "key 'qwen3moe.expert_count': expected a whole number, found nothing"),
    ("qwen3_moe", {"expert_feed_forward_length": 48}, (), 3, "tensor 'blk.0.ffn_gate_exps.weight': shape [6, 40, 64], the configuration says [6, 48, 64]"),
    ("gpt_oss", {}, ("ffn_gate_exps.bias",), 3, "tensor 'blk.0.ffn_gate_exps.bias' is missing, but other biases of the MLP are there"),
    ("gpt_oss", {}, ("exps.bias",), 1, "own: requires biases in attention, router and experts"),
    ("gpt_oss", {}, ("ffn_gate_inp.bias",), 1, "own: requires biases in attention, router and experts"),
    ("llama4", {"interleave_moe_layer_step": 1}, (), 3, "tensor 'blk.0.ffn_gate_inp.weight' is missing"),
])
def test_damaged_gguf(case, keys, drop, code, message, tmp_path):
    _, source = made(case, tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf")
    damaged = rewritten(tmp_path / "x.gguf", tmp_path / "damaged.gguf", drop, **keys)
    for out in ("out", "out.gguf"):
        done = run_derope("convert", damaged, tmp_path / out, ok=False)
        assert done.returncode == code and message in done.stderr and not (tmp_path / out).exists(), done.stderr


def test_lists_of_equals(tmp_path):
    """What others write per layer."""
    model, source = made("qwen3_moe", tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf")
    listed = rewritten(tmp_path / "x.gguf", tmp_path / "listed.gguf", expert_feed_forward_length=[40] * 4, expert_used_count=[3] * 4)
    assert worst(own_logits(listed, tmp_path), class_logits(model)) < 2e-4


def test_used_experts_changed_in_a_gguf(tmp_path):
    """Somebody lets a token pass another number of experts: llama.cpp runs that, so it holds, whatever the configuration within says."""
    _, source = made("mixtral", tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf")
    r = gguf.GGUFReader(tmp_path / "x.gguf", "r+")
    r.fields["llama.expert_used_count"].parts[-1][0] = 3
    r.data.flush()
    del r
    expected = class_logits(tiny("mixtral", num_experts_per_tok=3))
    done = run_derope("convert", tmp_path / "x.gguf", tmp_path / "back")
    assert "the GGUF's keys say otherwise than its derope.config" in done.stderr
    assert worst(own_logits(tmp_path / "x.gguf", tmp_path), expected) < 2e-4
    assert worst(load_stock(tmp_path / "back", tmp_path), expected) < 2e-4
    assert_llama_agrees(tmp_path / "x.gguf", expected, "mixtral")


# ---- further surgery ----


# What is refused, by case and flags: as a folder, as a GGUF, or both.
NEITHER = ("out", "out.gguf")
UNSAID = {
    **{(case, "--sliding-window 16:all"): NEITHER for case in ("qwen3_moe", "olmoe", "llama4")},
    **{(case, "--drop-rope=1-2"): NEITHER for case in ("qwen3_moe", "olmoe", "gpt_oss", "llama4")},
    **{(case, "--sliding-window 16:all"): ("out.gguf",) for case in ("mixtral", "gpt_oss")},
    ("llama4", "--scale-attention 1.5"): NEITHER,
    ("llama4", "--drop-rope --scale-attention 0.7"): NEITHER,
    ("llama4", "--rope-scaling linear:2"): ("out",),
    ("llama4", "--rope-scaling yarn:4"): ("out",),
    ("llama4", "--sliding-window 0:all"): ("out.gguf",),
}


@pytest.mark.parametrize("flags", [["--scale-attention", "1.5"], ["--rope-scaling", "linear:2"], ["--rope-scaling", "yarn:4"], ["--sliding-window", "0:all"],
                                   ["--sliding-window", "16:all"], ["--drop-rope"], ["--drop-rope=1-2"], ["--drop-rope", "--scale-attention", "0.7"]],
                         ids=" ".join)
@pytest.mark.parametrize("case", FAMILIES)
def test_surgery(case, flags, tmp_path):
    """Every output runs as it was meant, in transformers and in llama.cpp, or is refused; and what was written goes through a GGUF."""
    _, source = made(case, tmp_path)
    expected = own_logits(source, tmp_path, *flags)
    for out in (tmp_path / "out", tmp_path / "out.gguf"):
        done = run_derope("convert", source, out, *flags, ok=False)
        assert bool(done.returncode) == (out.name in UNSAID.get((case, " ".join(flags)), ())), done.stderr
        if done.returncode:
            assert done.returncode == 1 and "no stock architecture of" in done.stderr and not out.exists(), done.stderr
            continue
        assert worst(own_logits(out, tmp_path), expected) < 5e-4
        if out.suffix:
            assert_llama_agrees(out, expected, case)
            if run_derope("convert", out, tmp_path / "back", ok=False).returncode == 0:
                assert worst(load_stock(tmp_path / "back", tmp_path), expected) < 5e-4
            else:  # transformers has no such thing, whichever way it comes
                assert run_derope("convert", source, tmp_path / "direct", *flags, ok=False).returncode == 1
        else:
            assert worst(load_stock(out, tmp_path), expected) < 5e-4
        run_derope("verify", out)


@pytest.mark.parametrize("case", FAMILIES)
def test_dropped_then_scaled(case, tmp_path):
    model, source = made(case, tmp_path)
    expected = without_rotation(model, range(4)) if case != "llama4" else own_logits(source, tmp_path, "--drop-rope")
    run_derope("convert", source, tmp_path / "a", "--drop-rope")
    assert worst(load_stock(tmp_path / "a", tmp_path), expected) < 5e-4
    if case == "llama4":  # whose norms of queries have no weight that could take it
        done = run_derope("convert", tmp_path / "a", tmp_path / "b", "--scale-attention", "1.5", ok=False)
        assert done.returncode == 1 and "own: has no key for the softmax scale, and norms queries without a weight" in done.stderr
        return
    wanted = own_logits(tmp_path / "a", tmp_path, "--scale-attention", "1.5")
    assert worst(wanted, expected) > 1e-3
    run_derope("convert", tmp_path / "a", tmp_path / "b", "--scale-attention", "1.5")
    assert worst(load_stock(tmp_path / "b", tmp_path), wanted) < 5e-4


# ---- training ----


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog ran to the river because it was there and then " * 400)
    return tmp_path / "text.txt"


def trained(source, out, text, *flags, **kw):
    return run_derope("--quiet", "recal", source, out, "--data", text, "--tokens", "2k", "--context", 50, "--batch", 4, "--lr", "1e-3", *flags, **kw)


@pytest.mark.parametrize("case", FAMILIES)
def test_trained_from_scratch(case, tmp_path, text):
    """From random weights: transformers loads what comes out, and runs it as we do; so does llama.cpp its GGUF."""
    _, source = made(case, tmp_path)
    for old in source.glob("*.safetensors"):
        old.unlink()
    trained(source, tmp_path / "out", text, "--from-scratch")
    trained(source, tmp_path / "out.gguf", text, "--from-scratch")
    expected = own_logits(tmp_path / "out", tmp_path)
    assert worst(load_stock(tmp_path / "out", tmp_path), expected) < 5e-4
    assert worst(own_logits(tmp_path / "out.gguf", tmp_path), expected) == 0
    assert_llama_agrees(tmp_path / "out.gguf", expected, case)


@pytest.mark.parametrize("case", FAMILIES)
def test_trained_by_a_teacher_and_resumed(case, tmp_path, text):
    """Distilled from itself with its rotation on; stopped and gone on with, to the same bytes."""
    _, source = made(case, tmp_path)
    flags = ("--drop-rope", "--objective", "distill", "--tokens", "20k")
    trained(source, tmp_path / "whole", text, *flags)
    command = [BUILD / "derope", "--quiet", "recal", source, tmp_path / "out", "--data", text, "--context", "50", "--batch", "4", "--lr", "1e-3", *flags]
    p = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE)
    time.sleep(0.3)
    p.send_signal(signal.SIGINT)
    p.communicate()
    assert p.returncode == 5
    trained(source, tmp_path / "out", text, *flags, "--resume")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert worst(load_stock(tmp_path / "out", tmp_path), own_logits(tmp_path / "out", tmp_path)) < 5e-4
