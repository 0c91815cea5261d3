"""Every quantised type, decoded and encoded, bit for bit against the gguf package and against ggml's own quantiser."""

import subprocess

import numpy as np
import pytest
from conftest import BUILD, run_derope
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

DECODED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16", "IQ1_S", "IQ1_M",
           "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"]
ENCODED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16"]
GGML_ENCODED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]


def tool(action, kind, data):
    return subprocess.run([BUILD / "tests" / "tool_dtype", action, kind], input=data, capture_output=True, check=True).stdout


def same_bits(ours, theirs):
    ours, theirs = ours.view(np.uint32), theirs.view(np.uint32)
    nan = np.isnan(ours.view(np.float32)) & np.isnan(theirs.view(np.float32))
    assert np.array_equal(ours[~nan], theirs[~nan])


@pytest.mark.parametrize("kind", DECODED)
def test_decode(kind):
    qtype = GGMLQuantizationType[kind]
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (4096, GGML_QUANT_SIZES[qtype][1]), dtype=np.uint8)
    with np.errstate(all="ignore"):
        theirs = quants.dequantize(blocks, qtype).astype(np.float32).ravel()
    same_bits(np.frombuffer(tool("decode", kind, blocks.tobytes()), np.float32), theirs)


@pytest.mark.parametrize("kind", ENCODED)
def test_encode(kind):
    qtype = GGMLQuantizationType[kind]
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2048, 64)).astype(np.float32)
    x *= np.exp(rng.uniform(-30, 8, (2048, 1))).astype(np.float32)
    x[0], x[1], x[2, ::2], x[3] = 0, 1, -1, np.round(x[3])
    x[4, 5], x[5] = -x[4].max(), rng.integers(-127, 128, 64) / 2
    theirs = quants.quantize(x, qtype).tobytes()
    assert tool("encode", kind, x.tobytes()) == theirs


@pytest.fixture(scope="module")
def ggml():
    pytest.importorskip("xllamacpp")
    from llama import quantizer

    return quantizer()


def rows_of_every_kind(n=512):
    rng = np.random.default_rng(5)
    normal = rng.standard_normal((1024, n)) * 0.02
    heavy = rng.standard_t(2, (512, n))
    of_all_sizes = rng.standard_normal((512, n)) * np.exp(rng.uniform(-30, 8, (512, 1)))
    uneven = (rng.standard_normal((512, n // 16, 16)) * np.exp(rng.uniform(-8, 8, (512, n // 16, 1)))).reshape(512, n)
    odd = np.zeros((17, n))
    odd[1], odd[2], odd[3], odd[4, ::2], odd[5, ::3] = 1, -1, 0.37, 1, -2
    odd[6], odd[7], odd[8, 17], odd[9, :256], odd[10], odd[11, 300] = np.arange(n), -np.arange(n), 5, 1, 1e-16, 1e4
    odd[12], odd[13] = abs(rng.standard_normal(n)), -abs(rng.standard_normal(n))
    odd[14], odd[15] = np.round(rng.standard_normal(n) * 3), rng.standard_normal(n).astype(np.float16)
    odd[16] = rng.integers(-127, 128, n) / 2
    return np.concatenate([normal, heavy, of_all_sizes, uneven, odd]).astype(np.float32)


@pytest.mark.parametrize("kind", GGML_ENCODED)
def test_encode_as_ggml_does(kind, ggml):
    """Normal, heavy-tailed, tiny, uneven, constant and sparse rows: the very bytes."""
    qtype, x = GGMLQuantizationType[kind], rows_of_every_kind()
    theirs = np.frombuffer(ggml(x, qtype), np.uint8).reshape(len(x), -1)
    ours = np.frombuffer(tool("encode", kind, x.tobytes()), np.uint8).reshape(len(x), -1)
    different = np.flatnonzero((ours != theirs).any(axis=1))
    assert not len(different), f"{len(different)} of {len(x)} rows differ, first {different[0]}"


def test_f16_every_value():
    halves = np.arange(65536, dtype=np.uint16)
    same_bits(np.frombuffer(tool("decode", "f16", halves.tobytes()), np.float32), halves.view(np.float16).astype(np.float32))


def test_f16_rounding():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2**32, 1 << 20, dtype=np.uint32).view(np.float32)
    near = (rng.standard_normal(1 << 20) * np.exp(rng.uniform(-18, 12, 1 << 20))).astype(np.float32)
    x = np.concatenate([x[~np.isnan(x)], near, np.float32([65504, 65519.996, 65520, 2**-24, 2**-25, 2**-25 * 1.0001, -0.0])])
    with np.errstate(over="ignore"):
        theirs = x.astype(np.float16)
    assert np.array_equal(np.frombuffer(tool("encode", "f16", x.tobytes()), np.uint16), theirs.view(np.uint16))


def test_float8():
    torch = pytest.importorskip("torch")
    for kind, dtype in (("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2), ("f8_e8m0", torch.float8_e8m0fnu),
                        ("f8_e4m3fnuz", torch.float8_e4m3fnuz), ("f8_e5m2fnuz", torch.float8_e5m2fnuz)):
        every = torch.arange(256, dtype=torch.uint8)
        same_bits(np.frombuffer(tool("decode", kind, every.numpy().tobytes()), np.float32), every.view(dtype).float().numpy())


@pytest.mark.parametrize("kind", GGML_ENCODED)
def test_llama_cpp_runs(kind, tmp_path):
    """What convert --dtype writes llama.cpp runs, to the logits that we compute from the same file; rows of 320 are in the
    type that llama-quantize falls back to."""
    import torch
    from llama import differences
    from reference import IDS, own_logits, save, tiny

    ids = IDS[:60]
    model = tiny("llama", hidden_size=256, intermediate_size=320, num_attention_heads=4, num_key_value_heads=2)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.mul_(0.5)
    save(model, tmp_path / "in")
    run_derope("convert", tmp_path / "in", tmp_path / "out.gguf", "--dtype", kind.lower())
    run_derope("verify", tmp_path / "out.gguf")
    ours = own_logits(tmp_path / "out.gguf", tmp_path, ids=ids)
    apart = np.concatenate(differences(tmp_path / "out.gguf", ours, ids, (2, 30, 60)))
    # llama.cpp rounds activations to 8 bits before it multiplies
    assert np.median(apart) < 0.012 and apart.max() < 0.06, (np.median(apart), apart.max())
