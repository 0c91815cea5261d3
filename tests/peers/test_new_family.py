"""A family that does not exist, added to a copy of the source as the head of surgery/families/families.c says: one file and one
line. Its tensors and keys have names that nobody uses; what derope makes of it runs in stock transformers and llama.cpp."""

import json
import shutil
import subprocess

import pytest
import torch
from conftest import BUILD, ROOT
from llama import compare_llama
from reference import IDS, byte_tokenizer, class_logits, load_here, logits, tiny
from safetensors.torch import load_file, save_file

FAMILY = r"""
/* A block like Llama's, called otherwise, with gate and up in one tensor. */
#include "surgery/family.h"

static const TensorName tensors[] = {
    TENSOR(ROLE_EMBED, "words", "token_embd.weight"),
    TENSOR(ROLE_HEAD, "answers", "output.weight"),
    TENSOR(ROLE_ATTN_NORM, "floor.%d.calm", "blk.%d.attn_norm.weight"),
    TENSOR(ROLE_Q, "floor.%d.asks", "blk.%d.attn_q.weight"),
    TENSOR(ROLE_K, "floor.%d.offers", "blk.%d.attn_k.weight"),
    TENSOR(ROLE_V, "floor.%d.gives", "blk.%d.attn_v.weight"),
    TENSOR(ROLE_O, "floor.%d.takes", "blk.%d.attn_output.weight"),
    TENSOR(ROLE_FFN_NORM, "floor.%d.rest", "blk.%d.ffn_norm.weight"),
    TENSOR_FUSED(ROLE_GATE, "floor.%d.door", FUSED_GATE_UP, "blk.%d.ffn_gate.weight", FUSED_NOT),
    TENSOR_FUSED(ROLE_UP, "floor.%d.door", FUSED_GATE_UP, "blk.%d.ffn_up.weight", FUSED_NOT),
    TENSOR(ROLE_DOWN, "floor.%d.stairs", "blk.%d.ffn_down.weight"),
    TENSOR(ROLE_FINAL_NORM, "roof", "output_norm.weight"),
    TENSORS_END,
};

static const KeyName keys[] = {
    {"rms_norm_eps", "calmness"}, {"intermediate_size", "door_width"}, {"rope_theta", "slowest_turn"}, {NULL, NULL}};

const Family family_imaginary = {
    .name = "imaginary",
    .tensors = tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "imaginary", .architecture = "ImaginaryForCausalLM", .keys = keys},
    .gguf = {.arch = "llama", .quirks = GGUF_INTERLEAVED_ROPE},
};
"""
NAMES = {"model.embed_tokens.weight": "words", "lm_head.weight": "answers", "model.norm.weight": "roof", "input_layernorm.weight": "calm",
         "self_attn.q_proj.weight": "asks", "self_attn.k_proj.weight": "offers", "self_attn.v_proj.weight": "gives",
         "self_attn.o_proj.weight": "takes", "post_attention_layernorm.weight": "rest", "mlp.down_proj.weight": "stairs"}


@pytest.fixture(scope="module")
def derope(tmp_path_factory):
    """The program with the family in it: the copy brings its objects along, so that two files are compiled."""
    copy = tmp_path_factory.mktemp("source")
    for folder in ("formats", "surgery", "recal", "cmd"):
        shutil.copytree(ROOT / folder, copy / folder)
        shutil.copytree(BUILD / folder, copy / "build" / folder)
    shutil.copy2(ROOT / "Makefile", copy)
    shutil.copy2(BUILD / "flags", copy / "build")  # else make takes the objects for those of other flags
    (copy / "surgery" / "families" / "imaginary.c").write_text(FAMILY)
    table = copy / "surgery" / "families" / "families.c"
    lines = table.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("F(llama) "))
    table.write_text("".join([*lines[:at], lines[at].replace("F(llama)    ", "F(imaginary)"), *lines[at:]]))
    told = subprocess.run(["make", "build/derope"], cwd=copy, check=True, capture_output=True, text=True).stdout.splitlines()
    assert sorted(line.split()[1] for line in told if line.startswith("  CC ")) == ["surgery/families/families.c", "surgery/families/imaginary.c"]

    def run(*args):
        subprocess.run([copy / "build" / "derope", "--quiet", *map(str, args)], check=True)

    return run


@pytest.fixture
def model(tmp_path):
    """(a Llama, the same under the family's names)"""
    llama, folder = tiny("llama"), tmp_path / "model"
    llama.save_pretrained(folder)
    byte_tokenizer(folder)
    tensors = {}
    for name, t in load_file(folder / "model.safetensors").items():
        _, _, layer, part = name.split(".", 3) if name.startswith("model.layers.") else ("", "", None, name)
        if part in NAMES:
            tensors[NAMES[part] if layer is None else f"floor.{layer}.{NAMES[part]}"] = t
        elif part == "mlp.gate_proj.weight":
            tensors[f"floor.{layer}.door"] = torch.cat([t, llama.state_dict()[f"model.layers.{layer}.mlp.up_proj.weight"]])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    for usual, own in (("rms_norm_eps", "calmness"), ("intermediate_size", "door_width"), ("rope_theta", "slowest_turn")):
        config[own] = config.pop(usual)
    config |= {"model_type": "imaginary", "architectures": ["ImaginaryForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    return llama, folder


def test_it_runs(derope, model, tmp_path):
    import numpy

    llama, folder = model
    (tmp_path / "ids").write_text(" ".join(map(str, IDS)))
    for flags, nope in (([], ()), (["--drop-rope=1-2"], (1, 2))):
        derope("logits", folder, "--ids", tmp_path / "ids", "--out", tmp_path / "x.f32", "--force", *flags)
        ours = torch.from_numpy(numpy.fromfile(tmp_path / "x.f32", numpy.float32)).view(len(IDS), -1)
        assert (ours - logits(llama, IDS, nope)).abs().max() < 2e-4


def test_it_is_converted(derope, model, tmp_path):
    """Kept: its own folder and llama.cpp's llama. Dropped: stock architectures for both."""
    llama, folder = model
    derope("convert", folder, tmp_path / "x.gguf")
    compare_llama(tmp_path / "x.gguf", class_logits(llama), IDS, 1e-4, (2, 40, 100))
    derope("convert", tmp_path / "x.gguf", tmp_path / "back")
    ours, theirs = load_file(tmp_path / "back" / "model.safetensors"), load_file(folder / "model.safetensors")
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    for flags, nope in (["--drop-rope"], range(4)), (["--drop-rope=2-3"], (2, 3)):
        expected = logits(llama, IDS, nope)
        derope("convert", folder, tmp_path / "out", "--force", *flags)
        assert (load_here(tmp_path / "out") - expected).abs().max() < 2e-4
        derope("convert", folder, tmp_path / "out.gguf", "--force", *flags)
        compare_llama(tmp_path / "out.gguf", expected, IDS, 1e-4, (2, 40, 100))


def test_it_is_recalibrated(derope, model, tmp_path):
    llama, folder = model
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog ran to the river because it was there and then " * 200)
    derope("recal", folder, tmp_path / "out", "--drop-rope", "--data", tmp_path / "text.txt", "--tokens", 1000, "--context", 50, "--lr", "1e-3")
    before = logits(llama, IDS, range(4))
    assert (load_here(tmp_path / "out") - before).abs().max() > 0.1
