"""What our outputs are held against: transformers' own small models, Llama-shaped blocks with the rotation of chosen layers
replaced by the identity and chosen layers limited to a window; and how both sides give their logits."""

import json

import numpy
import pytest
import torch
import transformers
from conftest import run_derope, run_tf5

IDS = [(7 * i * i + 3 * i + 11) % 320 for i in range(100)]

SIZES = dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)


GEMMA = dict(pad_token_id=0, rms_norm_eps=1e-5)


def tiny(family, **changes):
    """A small random model of the family, none of its parameters at its initial value."""
    config_class, model_class, extra = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {"rope_theta": 5000.0}),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {"head_dim": 24, "sliding_window": 16}),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {"tie_word_embeddings": True}),
        "smollm3": (transformers.SmolLM3Config, transformers.SmolLM3ForCausalLM, {"pad_token_id": 0}),
        "granite": (transformers.GraniteConfig, transformers.GraniteForCausalLM,
                    {"attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "logits_scaling": 2.0}),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {"head_dim": 24, "attention_bias": True}),
        "gemma": (transformers.GemmaConfig, transformers.GemmaForCausalLM, {"head_dim": 24, "tie_word_embeddings": True, **GEMMA}),
        "gemma2": (transformers.Gemma2Config, transformers.Gemma2ForCausalLM,
                   {"head_dim": 24, "sliding_window": 12, "query_pre_attn_scalar": 30, "attn_logit_softcapping": 2.0,
                    "final_logit_softcapping": 3.0, "tie_word_embeddings": True, **GEMMA}),
        "gemma3": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM,
                   {"head_dim": 24, "sliding_window": 12, "query_pre_attn_scalar": 30, "sliding_window_pattern": 2,
                    "rope_theta": 5000.0, "rope_local_base_freq": 300.0, "tie_word_embeddings": True, **GEMMA}),
        "olmo2": (transformers.Olmo2Config, transformers.Olmo2ForCausalLM, {"pad_token_id": 0}),
        "cohere2": (transformers.Cohere2Config, transformers.Cohere2ForCausalLM,
                    {"sliding_window": 12, "logit_scale": 0.25, "tie_word_embeddings": True, "pad_token_id": 0}),
        "exaone4": (transformers.Exaone4Config, transformers.Exaone4ForCausalLM, {"sliding_window": 12, "sliding_window_pattern": 2}),
        "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM, {"sliding_window": 30, "pad_token_id": 0}),
        "stablelm": (transformers.StableLmConfig, transformers.StableLmForCausalLM, {"use_qkv_bias": True, "partial_rotary_factor": 0.5}),
        "gpt_neox": (transformers.GPTNeoXConfig, transformers.GPTNeoXForCausalLM, {"rotary_pct": 0.5, "num_key_value_heads": 4}),
        "phi": (transformers.PhiConfig, transformers.PhiForCausalLM, {}),
        "falcon": (transformers.FalconConfig, transformers.FalconForCausalLM,
                   {"num_kv_heads": 2, "new_decoder_architecture": True, "ffn_hidden_size": 96}),
        "mixtral": (transformers.MixtralConfig, transformers.MixtralForCausalLM, {"num_local_experts": 4, "head_dim": 24}),
        "qwen3_moe": (transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM,
                      {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "norm_topk_prob": True, "head_dim": 24}),
        "olmoe": (transformers.OlmoeConfig, transformers.OlmoeForCausalLM, {"num_experts": 6, "num_experts_per_tok": 3, "num_key_value_heads": 4, "pad_token_id": 0}),
        "llama4": (transformers.Llama4TextConfig, transformers.Llama4ForCausalLM,
                   {"num_local_experts": 4, "head_dim": 16, "intermediate_size_mlp": 80, "interleave_moe_layer_step": 2, "attention_bias": False}),
        "gpt_oss": (transformers.GptOssConfig, transformers.GptOssForCausalLM,
                    {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 24, "sliding_window": 12, "pad_token_id": 0, "rope_scaling": {
                        "rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": True, "original_max_position_embeddings": 32}}),
    }[family]
    torch.manual_seed(7)
    model = model_class(config_class(**{**SIZES, **extra, **changes})).eval()
    model.config._attn_implementation = "eager"
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1 or name.endswith("bias"):
                p.add_(0.2 * torch.randn_like(p))
            else:
                p.mul_(4)
    return model


def window_mask(n, window):
    i = torch.arange(n)
    visible = (i[:, None] >= i[None]) & ((i[:, None] - i[None] < window) if window else True)
    return torch.zeros(n, n).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None]


@torch.no_grad()
def logits(model, ids, nope=(), windows=None, scale=1.0):
    """(n, vocab) logits of `model` with layers `nope` unrotated and `windows` {layer: size} applied."""
    n = len(ids)
    windows = windows or {}
    base = model.model
    hidden = base.embed_tokens(torch.tensor([ids]))
    hidden = hidden * getattr(model.config, "embedding_multiplier", 1.0)
    cos, sin = base.rotary_emb(hidden, torch.arange(n)[None])
    own_nope = [not r for r in getattr(model.config, "no_rope_layers", None) or [1] * len(base.layers)]
    for i, layer in enumerate(base.layers):
        attention = layer.self_attn
        kept = attention.scaling
        attention.scaling = kept * scale
        identity = i in nope or own_nope[i]
        rotation = (torch.ones_like(cos), torch.zeros_like(sin)) if identity else (cos, sin)
        hidden = layer(hidden, attention_mask=window_mask(n, windows.get(i, 0)), position_embeddings=rotation)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        attention.scaling = kept
    out = model.lm_head(base.norm(hidden))[0]
    return out / getattr(model.config, "logits_scaling", 1.0)


@torch.no_grad()
def class_logits(model, ids=IDS):
    """(n, vocab) logits by the model's own forward pass."""
    return model(torch.tensor([ids])).logits[0]


def load_here(folder, ids=IDS):
    """Logits of a folder in transformers 4.56."""
    return class_logits(transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval(), ids)


LOAD = """
import json, sys, torch, transformers
torch.set_num_threads(2)
m = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad(): x = m(torch.tensor([json.loads(sys.argv[2])])).logits[0]
torch.save(x, sys.argv[3])
print(json.dumps({"class": type(m).__name__, "version": transformers.__version__}))
"""


def load_tf5(tf5, folder, ids, tmp):
    """The same in transformers 5."""
    tf5(LOAD, folder, json.dumps(ids), tmp / "logits.pt")
    return torch.load(tmp / "logits.pt")


def load_stock(folder, tmp, ids=IDS):
    """The same in whichever of the two has the class, the older if both do."""
    here = json.loads((folder / "config.json").read_text())["model_type"] in transformers.CONFIG_MAPPING
    return load_here(folder, ids) if here else load_tf5(run_tf5, folder, ids, tmp)


def claims(out):
    """{runtime: whether it runs an output as intended} by `derope verify`."""
    return {r["runtime"]: r["runs"] for r in json.loads(run_derope("verify", out, "--json").stdout)["runtimes"]}


def check_claim_here(folder, expected, tolerance):
    """What `derope verify` says of transformers 4.56 is true: it computes the same logits, or it does not know the class."""
    if claims(folder)["transformers 4.56"]:
        assert apart(load_here(folder), expected) < tolerance
    else:
        with pytest.raises(ValueError, match="does not recognize this architecture"):
            load_here(folder)


def own_logits(model, tmp_path, *flags, ids=IDS):
    """Logits by `derope logits`."""
    (tmp_path / "ids").write_text(" ".join(map(str, ids)))
    run_derope("logits", model, "--ids", tmp_path / "ids", "--out", tmp_path / "x.f32", "--force", *flags)
    return torch.from_numpy(numpy.fromfile(tmp_path / "x.f32", numpy.float32)).view(len(ids), -1)


def save(model, folder):
    """The model with a tokenizer beside it; returns the folder."""
    model.save_pretrained(folder)
    byte_tokenizer(folder)
    return folder


def hashes(folder):
    """{tensor: (type, hash)} by the manifest of an output."""
    manifest = json.loads((folder / "derope.json").read_text())
    return {t["name"]: (t["dtype"], t["xxh3_128"]) for t in manifest["tensors"]}


def byte_tokenizer(folder, vocab=320):
    """A byte-level BPE tokenizer of `vocab` tokens, trained on nothing much."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    text = ["the cat sat on the mat and the dog ran to the river because it was there and then"] * 9
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(text, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return fast


def apart(ours, expected):
    """The largest difference, relative to the largest expected value."""
    return ((ours - expected).abs().max() / expected.abs().max()).item()
