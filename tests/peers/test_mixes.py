"""--dtype q4_k_m and the other names of llama-quantize: the type of every tensor, its bytes and general.file_type, against
what llama-quantize makes of the same model in F32."""

import gguf
import numpy as np
import pytest
from conftest import run_derope
from quantize import FILE_TYPES, quantizer

NAMES = [n for n in FILE_TYPES if n != "q2_k_s"]  # which needs an importance matrix, and derope reads none
# Models with many layers or experts take the mixes that treat layers differently; the smaller ones take every name.
UNEVEN = ["q2_k", "q3_k_m", "q4_k_m", "q5_k_s"]


@pytest.fixture(scope="module")
def quantize():
    pytest.importorskip("xllamacpp")
    return quantizer()


def write(path, layers, heads=4, kv=2, experts=0, tied=False, arch="llama", hidden=256, ffn=256, head_dim=8, fused=False):
    """A GGUF of random weights in F32."""
    rng = np.random.default_rng(layers * 131 + heads * 7 + kv + experts)
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(layers)
    w.add_context_length(128)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(ffn)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_rope_dimension_count(head_dim)
    w.add_vocab_size(32)
    (w.add_layer_norm_eps if arch == "falcon" else w.add_layer_norm_rms_eps)(1e-5)
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(2)
    if arch == "qwen3moe":
        w.add_expert_feed_forward_length(ffn)

    def add(name, *shape):
        w.add_tensor(name, (rng.standard_normal(shape) * 0.05).astype(np.float32))

    add("token_embd.weight", 32, hidden)
    add("output_norm.weight", hidden)
    if not tied:
        add("output.weight", 32, hidden)
    for i in range(layers):
        b = f"blk.{i}."
        add(b + "attn_norm.weight", hidden)
        if fused:
            add(b + "attn_qkv.weight", (heads + 2 * kv) * head_dim, hidden)
        else:
            add(b + "attn_q.weight", heads * head_dim, hidden)
            add(b + "attn_k.weight", kv * head_dim, hidden)
            add(b + "attn_v.weight", kv * head_dim, hidden)
        if arch in ("qwen3", "qwen3moe"):
            add(b + "attn_q_norm.weight", head_dim)
            add(b + "attn_k_norm.weight", head_dim)
        if arch == "qwen2":
            for r, n in (("q", heads), ("k", kv), ("v", kv)):
                add(b + f"attn_{r}.bias", n * head_dim)
        add(b + "attn_output.weight", hidden, heads * head_dim)
        if arch == "falcon":
            add(b + "attn_norm.bias", hidden)
            add(b + "ffn_up.weight", ffn, hidden)
            add(b + "ffn_down.weight", hidden, ffn)
            continue
        add(b + "ffn_norm.weight", hidden)
        if experts:
            add(b + "ffn_gate_inp.weight", experts, hidden)
            for r, shape in (("gate", (ffn, hidden)), ("up", (ffn, hidden)), ("down", (hidden, ffn))):
                add(b + f"ffn_{r}_exps.weight", experts, *shape)
        else:
            for r, shape in (("gate", (2 * ffn if fused else ffn, hidden)), ("up", (2 * ffn if fused else ffn, hidden)), ("down", (hidden, ffn))):
                if not (fused and r == "gate"):
                    add(b + f"ffn_{r}.weight", *shape)
    if arch == "falcon":
        add("output_norm.bias", hidden)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def assert_same(ours, theirs):
    """Names, types and bytes of every tensor, and the file type."""
    a, b = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    x, y = ({t.name: t for t in r.tensors} for r in (a, b))
    assert x.keys() == y.keys()
    types = [(n, x[n].tensor_type.name, y[n].tensor_type.name) for n in x if x[n].tensor_type != y[n].tensor_type]
    assert not types, types
    bytes_ = [n for n in x if x[n].data.tobytes() != y[n].data.tobytes()]
    assert not bytes_, bytes_
    for key in ("general.file_type", "general.quantization_version"):
        assert a.fields[key].contents() == b.fields[key].contents(), key


MODELS = {
    "4 layers": dict(layers=4),
    "tied": dict(layers=5, tied=True),
    "no shared heads": dict(layers=8, heads=2, kv=2),
    "heads shared by four": dict(layers=9, heads=8, kv=2),
    "heads shared by eight, tied": dict(layers=17, heads=8, kv=1, tied=True, ffn=512),
    "32 layers": dict(layers=32, heads=4, kv=1),
    "4 experts": dict(layers=8, experts=4, heads=8, kv=2),
    "rows of 288, whole blocks of 32 alone": dict(layers=4, hidden=288, ffn=320, head_dim=32),
    "rows of 288, tied": dict(layers=4, hidden=288, ffn=512, tied=True),
    "rows of 272 and 48, no whole blocks": dict(layers=4, hidden=272, ffn=48, head_dim=12),
    "qwen2": dict(layers=6, arch="qwen2", tied=True),
    "qwen3": dict(layers=7, arch="qwen3", kv=1),
    "qwen3moe": dict(layers=4, arch="qwen3moe", experts=6),
    "falcon": dict(layers=32, arch="falcon", heads=4, kv=1, fused=True, tied=True),
    "phi3": dict(layers=16, arch="phi3", fused=True),
}


@pytest.mark.parametrize("model", MODELS)
def test_types_and_bytes(model, quantize, tmp_path):
    source = write(tmp_path / "f32.gguf", **MODELS[model])
    large = MODELS[model]["layers"] > 9 or "experts" in MODELS[model]
    for name in UNEVEN if large else NAMES:
        quantize(source, tmp_path / "theirs.gguf", name)
        run_derope("convert", source, tmp_path / "ours.gguf", "--dtype", name, "--force")
        try:
            assert_same(tmp_path / "ours.gguf", tmp_path / "theirs.gguf")
        except AssertionError as e:
            raise AssertionError(f"{model} as {name}: {e}") from None
