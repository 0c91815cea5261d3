"""The inputs of faults.py: a Llama of two layers in every container, texts, a recipe. Written without any library."""
import gzip
import json
import pickle
import random
import struct
import sys
import types
import zipfile

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40,
    "max_position_embeddings": 64, "rope_theta": 5000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu",
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}
RECIPE = """source: llama
surgery:
  - drop_rope: {layers: 1}
  - sliding_window: {size: 8, layers: 0}
recalibrate: {data: text.txt, tokens: TOKENS, context: 16, batch: 1, objective: distill}
evaluate: {text: text.txt, context: 16, tokens: 32}
outputs:
  - {path: ../out/x}
  - {path: ../out/x.gguf, dtype: q8_0}
"""


def tensors():
    """{name: (shape, bytes in bf16)} of the model; the values are random and the same each time."""
    c, values = CONFIG, random.Random(1)
    width, inner, head = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], width), "model.norm.weight": (width,)}
    for i in range(c["num_hidden_layers"]):
        shapes.update({f"model.layers.{i}.{name}.weight": shape for name, shape in {
            "input_layernorm": (width,), "post_attention_layernorm": (width,), "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (head, width), "self_attn.v_proj": (head, width), "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}.items()})
    out = {}
    for name, shape in sorted(shapes.items()):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = (values.gauss(1 if "norm" in name else 0, 0.2) for _ in range(n))
        out[name] = (shape, b"".join(struct.pack("<f", x)[2:] for x in numbers))
    return out


def write_safetensors(path):
    header, data = {}, b""
    for name, (shape, content) in tensors().items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_torch(path):
    """As torch.save writes a state dict: data.pkl, which calls torch's functions by name, and one entry for each
    storage. The modules are stand-ins, because pickle looks the functions up before it writes their names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    sys.modules.update({"torch": torch, "torch._utils": utils})
    torch.BFloat16Storage = type("BFloat16Storage", (), {"__module__": "torch"})

    def _rebuild_tensor_v2(*_):
        pass
    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2

    class Storage:
        def __init__(self, key, n):
            self.key, self.n = key, n

    class Tensor:
        def __init__(self, key, shape):
            self.storage, self.shape = Storage(key, shape[0] * (shape[1] if len(shape) > 1 else 1)), shape

        def __reduce__(self):
            strides = (self.shape[1], 1) if len(self.shape) > 1 else (1,)
            return utils._rebuild_tensor_v2, (self.storage, 0, self.shape, strides, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.BFloat16Storage, value.key, "cpu", value.n) if isinstance(value, Storage) else None

    with zipfile.ZipFile(path, "w") as z, z.open("archive/data.pkl", "w") as f:
        parts = tensors()
        Pickler(f, 2).dump({name: Tensor(str(i), shape) for i, (name, (shape, _)) in enumerate(parts.items())})
        f.close()
        for i, (_, content) in enumerate(parts.values()):
            z.writestr(f"archive/data/{i}", content)
        z.writestr("archive/version", "3\n")
    del sys.modules["torch"], sys.modules["torch._utils"]


def tokenizer():
    """A byte-level tokenizer of lower-case letters, a full stop, space, newline and four merges."""
    texts = ["?", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", ".", "\u0120", "\u010a", "th", "the", "an", "in"]
    special = [{"id": i, "content": texts[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for i in (1, 2)]
    return {"added_tokens": special, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
            "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "unk_token": "?", "vocab": {t: i for i, t in enumerate(texts)},
                      "merges": ["t h", "th e", "a n", "i n"]}}


def zstd(content):
    """A frame of zstd with one block that is stored as it is (RFC 8878): at most 255 bytes."""
    block = len(content) << 3 | 1
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(content)]) + block.to_bytes(3, "little") + content


def side_files(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages[0]['content'] }}"}))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    (folder / "LICENSE").write_text("Anyone may use it.\n")


def make(folder, derope):
    """Fills `folder`. derope(arguments) runs the binary there, undisturbed, for the containers that it writes."""
    folder.mkdir()
    side_files(folder / "llama")
    write_safetensors(folder / "llama/model.safetensors")
    side_files(folder / "torch")
    write_torch(folder / "torch/pytorch_model.bin")
    words = random.Random(2)
    text = "".join(words.choice(["the ", "an ", "inn ", "thin ", "sea ", "was ", "there. ", "and\n"]) for _ in range(120))
    (folder / "text.txt").write_text(text)
    (folder / "ids.txt").write_text("30 5 6 7 33")
    (folder / "packed").mkdir()
    (folder / "packed/a.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "packed/b.jsonl").write_text(json.dumps({"text": text}) + "\n")
    (folder / "packed/c.txt.zst").write_bytes(zstd(text[:200].encode()))
    (folder / "recipe.yaml").write_text(RECIPE.replace("TOKENS", "64"))
    (folder / "longer.yaml").write_text(RECIPE.replace("TOKENS", "4k"))
    for arguments in ("llama llama.gguf", "llama llama.zip", "llama shards --max-shard-size 32k",
                      "llama dropped --drop-rope=1", "llama dropped.gguf --drop-rope=1", "llama dropped.zip --drop-rope=1"):
        derope(f"convert {arguments} --quiet")
