"""Every quantised type, decoded and encoded, bit for bit against the gguf package."""

import subprocess

import numpy as np
import pytest
from conftest import BUILD
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

DECODED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16", "IQ1_S", "IQ1_M",
           "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"]
ENCODED = ["Q8_0", "Q4_0", "Q4_1", "BF16"]


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
