"""What a family's models go through one after the other: dropped and converted on, read from GGUFs that somebody else wrote,
scaled, their windows taken away, and what has to be refused on the way."""

import gguf
import pytest
from conftest import run_derope
from gguf_file import quantized, without_our_keys
from reference import IDS, class_logits, load_here, load_stock, load_tf5, own_logits, save, tiny
from test_families import CASES, assert_llama_agrees, made, without_rotation

# one case of each family whose GGUF can be dropped
FAMILIES = ["llama", "mistral, no window", "qwen2", "smollm3", "granite", "qwen3, plain", "gemma", "gemma2", "olmo2", "cohere2",
            "exaone4, no window", "phi3, no window", "stablelm", "gpt_neox", "phi", "falcon", "falcon, multi-query"]
LINEAR = FAMILIES[5:]  # whose angles are divided by 1e30
HERE = [case for case in FAMILIES if case != "granite"]  # transformers 4 has no class for a Granite without rotation


@pytest.mark.parametrize("case", FAMILIES)
def test_dropped_gguf_converts_on(case, tmp_path):
    """GGUF, folder, GGUF, folder: every one of them is the dropped model."""
    model, source = made(case, tmp_path)
    expected, before = without_rotation(model, range(4)), source
    for i, name in enumerate(("a.gguf", "b", "c.gguf", "d")):
        run_derope("convert", before, tmp_path / name, *(["--drop-rope"] if i == 0 else []))
        before = tmp_path / name
        assert (own_logits(before, tmp_path) - expected).abs().max() < 5e-4, name
    assert_llama_agrees(tmp_path / "c.gguf", expected, case)
    if case in HERE:
        assert (load_here(tmp_path / "d") - expected).abs().max() < 5e-4


@pytest.mark.parametrize("case", HERE)
def test_plain_gguf_is_dropped(case, tmp_path):
    model, source = made(case, tmp_path)
    run_derope("convert", source, tmp_path / "x.gguf")
    plain = without_our_keys(tmp_path / "x.gguf", tmp_path / "plain.gguf")
    run_derope("convert", plain, tmp_path / "out", "--drop-rope")
    expected = without_rotation(model, range(4))
    assert (load_here(tmp_path / "out") - expected).abs().max() < 5e-4
    assert (own_logits(tmp_path / "out", tmp_path) - expected).abs().max() < 5e-4


@pytest.mark.parametrize("flags", [[], ["--scale-attention", "1.5"]], ids=["as it is", "scaled"])
@pytest.mark.parametrize("case", [*HERE, "gemma3"])
def test_softmax_scale_comes_back(case, flags, tmp_path):
    """llama.cpp's architectures have a softmax scale of their own, and queries take what differs from it: Gemma 2 and 3 here
    have a query_pre_attn_scalar other than head_dim. On the way back the configuration says it again."""
    model, source = made(case, tmp_path)
    run_derope("convert", source, tmp_path / "direct", *flags)
    run_derope("convert", source, tmp_path / "x.gguf", *flags)
    run_derope("convert", tmp_path / "x.gguf", tmp_path / "back")
    plain = without_our_keys(tmp_path / "x.gguf", tmp_path / "plain.gguf")
    run_derope("convert", plain, tmp_path / "from plain")
    expected = load_here(tmp_path / "direct")
    assert ((expected - class_logits(model)).abs().max() > 0.01) == bool(flags)
    assert_llama_agrees(tmp_path / "x.gguf", expected, case)
    for out in ("direct", "x.gguf", "back", "from plain"):
        assert (own_logits(tmp_path / out, tmp_path) - expected).abs().max() < 5e-4, out
    for out in ("back", "from plain"):
        assert (load_here(tmp_path / out) - expected).abs().max() < 5e-4, out


# ---- scalings ----

LONGROPE = {"type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
BANDS = ("llama", "mistral, no window", "granite", "exaone4, no window")  # llama.cpp reads rope_freqs there


@pytest.mark.parametrize("how", ["linear", "yarn", "llama3", "dynamic"])
@pytest.mark.parametrize("case", [*FAMILIES, "gemma3"])
def test_scalings(case, how, tmp_path):
    """--rope-scaling onto every family: what comes out runs as it says, in transformers and llama.cpp, or is refused by name."""
    family, source = CASES[case][0], made(case, tmp_path)[1]
    flags = ["--rope-scaling", f"{how}:2"]
    gguf_lacks = {"dynamic": "has no dynamic NTK scaling", "llama3": "has no Llama 3 frequency bands"}.get(how)
    if how == "llama3" and case in BANDS:
        gguf_lacks = None
    hf_lacks = None
    if family == "gemma3":
        hf_lacks = "scales the rotation of layers without a window only"
        gguf_lacks = gguf_lacks or hf_lacks
    for out, lacks in ((tmp_path / "out", hf_lacks), (tmp_path / "out.gguf", gguf_lacks)):
        done = run_derope("convert", source, out, *flags, ok=False)
        if lacks:
            assert done.returncode == 1 and f"own: {lacks}" in done.stderr and not out.exists(), done.stderr
            continue
        assert done.returncode == 0, done.stderr
        ours = own_logits(out, tmp_path)
        assert (ours - own_logits(source, tmp_path, *flags)).abs().max() < 1e-3
        if out.suffix:
            assert_llama_agrees(out, ours, case)
            continue
        assert (load_stock(out, tmp_path) - ours).abs().max() < 1e-3  # olmo3, for what OLMo 2's class does not take


# the classes of OLMo 2 and Phi-3 take no such thing
@pytest.mark.parametrize("case", [c for c in FAMILIES if c not in BANDS and CASES[c][0] not in ("olmo2", "phi3")])
def test_bands_of_a_config(case, tmp_path):
    """Llama 3's bands stated by the source itself."""
    family, changes = CASES[case]
    source = save(tiny(family, **changes, rope_scaling=LLAMA3), tmp_path / "model")
    done = run_derope("convert", source, tmp_path / "out.gguf", ok=False)
    assert done.returncode == 1 and "own: has no Llama 3 frequency bands" in done.stderr and not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("stated", [{"original_max_position_embeddings": 64}, {}], ids=["two contexts", "a factor"])
def test_longrope_in_other_families(stated, tf5, tmp_path):
    """Classes of Llama's block take LongRoPE, llama.cpp's architectures of it do not."""
    model = tiny("llama", rope_scaling={**LONGROPE, "rope_type": "longrope", "factor": 2.0 if stated else 4.0}, **stated)
    source = save(model, tmp_path / "model")
    assert (own_logits(source, tmp_path) - class_logits(model)).abs().max() < 5e-4
    run_derope("convert", source, tmp_path / "out", "--drop-rope=2-3")
    expected = without_rotation(model, (2, 3))
    assert (load_here(tmp_path / "out") - expected).abs().max() < 5e-4
    assert (load_tf5(tf5, tmp_path / "out", IDS, tmp_path) - expected).abs().max() < 5e-4
    for out, flags in ((tmp_path / "a.gguf", []), (tmp_path / "b.gguf", ["--drop-rope=2-3"])):
        done = run_derope("convert", source, out, *flags, ok=False)
        assert done.returncode == 1 and "granite_swa: has no LongRoPE" in done.stderr and not out.exists(), done.stderr


def test_longrope_saved_by_transformers5(tf5, tmp_path):
    """Its original context among the parameters of the rotation, where transformers 4 does not look."""
    scaling = {**LONGROPE, "rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64}
    source = save(tiny("llama", rope_scaling=scaling), tmp_path / "model")
    assert (own_logits(source, tmp_path) - load_tf5(tf5, source, IDS, tmp_path)).abs().max() < 5e-4


@pytest.mark.parametrize("out", ["out", "out.gguf"])
def test_longrope_keeps_its_context(out, tmp_path):
    model = tiny("phi3", sliding_window=None, original_max_position_embeddings=64, rope_scaling=LONGROPE)
    source = save(model, tmp_path / "model")
    done = run_derope("convert", source, tmp_path / out, "--set-context", 512, ok=False)
    assert done.returncode == 2 and not (tmp_path / out).exists()
    assert "set_context: layer 0 has LongRoPE scaling, which counts from the stated context of 128" in done.stderr


@pytest.mark.parametrize("how", ["linear", "yarn"])
def test_scaled_phi3_converts_on(how, tmp_path):
    """Its folder is another carrier's than its GGUF, and each reads back."""
    _, source = made("phi3, no window", tmp_path)
    expected = own_logits(source, tmp_path, "--rope-scaling", f"{how}:2")
    run_derope("convert", source, tmp_path / "a.gguf", "--rope-scaling", f"{how}:2")
    run_derope("convert", tmp_path / "a.gguf", tmp_path / "b")
    run_derope("convert", tmp_path / "b", tmp_path / "c.gguf")
    for out in ("a.gguf", "b", "c.gguf"):
        assert (own_logits(tmp_path / out, tmp_path) - expected).abs().max() < 5e-4, out
    assert (load_here(tmp_path / "b") - expected).abs().max() < 5e-4


# ---- windows ----

WINDOWED = {
    "gemma2": ("gemma2", {}, ["--sliding-window", "0:all"]),
    "gemma2, others": ("gemma2", {}, ["--sliding-window", "8:all"]),
    "gemma3, one base": ("gemma3", {"rope_theta": 10000.0, "rope_local_base_freq": 10000.0}, ["--sliding-window", "0:all"]),
    "cohere2, dropped": ("cohere2", {}, ["--sliding-window", "0:all", "--drop-rope"]),
    "phi3": ("phi3", {}, ["--sliding-window", "0:all"]),
    "mistral": ("mistral", {}, ["--sliding-window", "0:all"]),
}


@pytest.mark.parametrize("case", WINDOWED)
def test_windows_taken_away(case, tmp_path):
    """Classes that insist on a window's size get one, and no layer that has it."""
    family, changes, flags = WINDOWED[case]
    source = save(tiny(family, **changes), tmp_path / "model")
    run_derope("convert", source, tmp_path / "out", *flags)
    expected = own_logits(source, tmp_path, *flags)
    assert (expected - own_logits(source, tmp_path)).abs().max() > 0.01
    assert (load_here(tmp_path / "out") - expected).abs().max() < 5e-4


@pytest.mark.parametrize("family,why", [("gemma3", "supports only one rope base for all layers"), ("cohere2", "rotates in layers with a window and in no others")])
def test_windows_that_rotation_goes_with(family, why, tmp_path):
    done = run_derope("convert", save(tiny(family), tmp_path / "model"), tmp_path / "out", "--sliding-window", "0:all", ok=False)
    assert done.returncode == 1 and f"own: {why}" in done.stderr and not (tmp_path / "out").exists(), done.stderr


# ---- types whose elements lie in blocks ----


@pytest.mark.parametrize("family,changes,bias", [("llama", {"attention_bias": True}, "attn_q.bias"), ("gpt_neox", {"hidden_size": 128}, "attn_qkv.bias")])
def test_biases_in_blocks(family, changes, bias, tmp_path):
    """Rows that have to be moved one by one cannot be where 32 of them share a block."""
    source = save(tiny(family, **changes), tmp_path / "model")
    run_derope("convert", source, tmp_path / "x.gguf")
    q8 = gguf.GGMLQuantizationType.Q8_0
    plain = without_our_keys(tmp_path / "x.gguf", tmp_path / "q8.gguf", lambda t: quantized(t, q8) if t.name.endswith(bias) else None)
    (tmp_path / "ids").write_text("1 2 3")
    for command in (["convert", plain, tmp_path / "out"], ["convert", plain, tmp_path / "out.gguf"],
                    ["logits", plain, "--ids", tmp_path / "ids", "--out", tmp_path / "x.f32"]):
        done = run_derope(*command, ok=False)
        assert done.returncode == 3, (done.returncode, done.stderr)
        assert f"q8.gguf: tensor 'blk.0.{bias}': elements of q8_0 cannot be permuted one by one" in done.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.gguf").exists()
