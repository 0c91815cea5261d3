"""`derope logits` against transformers in fp32 over 512 tokens of real models: SmolLM2-135M from its GGUF (its
quantised weights decoded by the gguf package) and as safetensors, and stories260K, as they are, with the rotation
dropped everywhere, and dropped in some layers with windows in others."""

import struct

import numpy as np
import pytest
import torch
import transformers
from conftest import run_derope
from reference import logits

torch.set_num_threads(2)
N, TOLERANCE = 512, 2e-3


def llama(vocab, width, ffn, layers, heads, kv_heads, context, base, eps):
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=width, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=context, rope_theta=base, rms_norm_eps=eps,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    return transformers.LlamaForCausalLM(config).eval()


def half_split(w, heads):
    """Rows of q or k whose rotated pairs lie side by side, in the order that has them half a head apart."""
    return w.reshape(heads, -1, 2, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)


def from_gguf(path):
    import gguf

    reader = gguf.GGUFReader(path)
    key = lambda suffix: reader.get_field(f"llama.{suffix}").contents()
    heads, kv_heads = key("attention.head_count"), key("attention.head_count_kv")
    model = llama(len(reader.get_field("tokenizer.ggml.tokens").data), key("embedding_length"), key("feed_forward_length"),
                  key("block_count"), heads, kv_heads, key("context_length"), key("rope.freq_base"),
                  key("attention.layer_norm_rms_epsilon"))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    parts = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = {}
    for t in reader.tensors:
        name = t.name.removesuffix(".weight")
        w = torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy())
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            name = f"model.layers.{layer}.{parts[part]}"
            if part in ("attn_q", "attn_k"):
                w = half_split(w, heads if part == "attn_q" else kv_heads)
        else:
            name = names[name]
        state[f"{name}.weight"] = w
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state)
    return model


def from_llama2c(path):
    """The version 0 file of llama2.c: seven int32, then fp32 weights kind by kind, all layers of a kind together."""
    data = path.read_bytes()
    width, ffn, layers, heads, kv_heads, vocab, context = struct.unpack("7i", data[:28])
    assert vocab > 0  # a negative one would mean a head of its own
    weights = np.frombuffer(data[28:], np.float32)
    at = 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return torch.from_numpy(weights[at - n : at].reshape(shape).copy())

    kv = width // heads * kv_heads
    state = {"model.embed_tokens.weight": take(vocab, width)}
    kinds = [("input_layernorm", (width,)), ("self_attn.q_proj", (width, width)), ("self_attn.k_proj", (kv, width)),
             ("self_attn.v_proj", (kv, width)), ("self_attn.o_proj", (width, width)),
             ("post_attention_layernorm", (width,)), ("mlp.gate_proj", (ffn, width)), ("mlp.down_proj", (width, ffn)),
             ("mlp.up_proj", (ffn, width))]
    for kind, shape in kinds:
        for i, w in enumerate(take(layers, *shape)):
            if kind.endswith(("q_proj", "k_proj")):
                w = half_split(w, heads if kind.endswith("q_proj") else kv_heads)
            state[f"model.layers.{i}.{kind}.weight"] = w
    state["model.norm.weight"] = take(width)
    take(2, context, width // heads // 2)  # cos and sin, tabulated
    assert at == len(weights)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = llama(vocab, width, ffn, layers, heads, kv_heads, context, 10000.0, 1e-5)
    model.load_state_dict(state)
    return model


@pytest.fixture(scope="module")
def smol(smollm2, shared, tmp_path_factory):
    """(model, its GGUF, its safetensors folder, ids of the beginning of a novel)."""
    tmp = tmp_path_factory.mktemp("smollm2")
    model = from_gguf(smollm2)
    model.save_pretrained(tmp / "model")
    run_derope("convert", smollm2, tmp / "converted")
    text = (shared / "data/books/middlemarch.txt").read_text()[2000:8000]
    ids = transformers.AutoTokenizer.from_pretrained(tmp / "converted")(text).input_ids
    return model, smollm2, tmp / "model", ids[:N]


@pytest.fixture(scope="module")
def stories(shared, tmp_path_factory):
    path = shared / "models/stories260k/stories260K.bin"
    if not path.is_file():
        pytest.skip(f"no stories260K at {path}")
    model, folder = from_llama2c(path), tmp_path_factory.mktemp("stories260k") / "model"
    model.save_pretrained(folder)
    torch.manual_seed(1)  # its own stories, so that what is compared is a model at work
    start = torch.tensor([[1]])
    ids = model.generate(start, attention_mask=torch.ones_like(start), pad_token_id=0, max_length=N, min_length=N, do_sample=True,
                         temperature=0.8)[0].tolist()
    with torch.no_grad():
        assert model(torch.tensor([ids]), labels=torch.tensor([ids])).loss < 2.5  # chance: 6.2
    return model, folder, ids


def check(model, source, ids, flags, nope, windows, tmp_path):
    assert len(ids) == N
    (tmp_path / "ids").write_text(" ".join(map(str, ids)))
    run_derope("logits", source, "--ids", tmp_path / "ids", "--out", tmp_path / "out.f32", *flags)
    ours = torch.from_numpy(np.fromfile(tmp_path / "out.f32", np.float32).reshape(N, -1))
    (tmp_path / "out.f32").unlink()
    theirs = logits(model, ids, nope, windows)
    assert ours.shape == theirs.shape
    worst = (ours - theirs).abs().max().item()
    print(f"largest difference {worst:.2e}, largest logit {theirs.abs().max():.1f}")
    assert worst < TOLERANCE


SMOL = {
    "as it is": ([], (), {}),
    "dropped": (["--drop-rope"], range(30), {}),
    "mixed": (["--drop-rope=20-29", "--sliding-window", "100:0-19"], range(20, 30), {i: 100 for i in range(20)}),
}


@pytest.mark.parametrize("surgery", SMOL)
@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_smollm2(smol, kind, surgery, tmp_path):
    model, gguf_file, folder, ids = smol
    check(model, gguf_file if kind == "gguf" else folder, ids, *SMOL[surgery], tmp_path)


STORIES = {
    "as it is": ([], (), {}),
    "dropped": (["--drop-rope=all"], range(5), {}),
    "mixed": (["--drop-rope=3-4", "--sliding-window", "64:0-2"], (3, 4), {0: 64, 1: 64, 2: 64}),
    "every second": (["--drop-rope=every:2", "--sliding-window", "16:0,2"], (1, 3), {0: 16, 2: 16}),
}


@pytest.mark.parametrize("surgery", STORIES)
def test_stories260k(stories, surgery, tmp_path):
    model, folder, ids = stories
    check(model, folder, ids, *STORIES[surgery], tmp_path)
