"""Every parameter's gradient against PyTorch's autograd, and whole AdamW steps against torch.optim.AdamW."""

import json
import re

import numpy as np
import pytest
import torch
import transformers
from conftest import run_derope, run_tool
from reference import save, tiny, window_mask
from test_families import CASES, made

torch.set_num_threads(2)

MODELS = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-bias": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("qwen2", {}),
    "qwen2-untied": ("qwen2", {"tie_word_embeddings": False}),
    "granite": ("granite", {}),
}
B, T = 2, 70


def forward(model, ids, nope=(), windows=None):
    """Like reference.logits for a batch, with gradients."""
    base, windows = model.model, windows or {}
    hidden = base.embed_tokens(ids) * getattr(model.config, "embedding_multiplier", 1.0)
    cos, sin = base.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
    for i, layer in enumerate(base.layers):
        rotation = (torch.ones_like(cos), torch.zeros_like(sin)) if i in nope else (cos, sin)
        hidden = layer(hidden, attention_mask=window_mask(ids.shape[1], windows.get(i, 0)).to(hidden.dtype), position_embeddings=rotation)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    return model.lm_head(base.norm(hidden)) / getattr(model.config, "logits_scaling", 1.0)


def read(path):
    out, data = {}, path.read_bytes()
    while data:
        name, _, data = data.partition(b"\n")
        n = int.from_bytes(data[:8], "little")
        values = torch.from_numpy(np.frombuffer(data[8 : 8 + 4 * n], np.float32).copy())
        name = name.decode()  # q, k and v of one tensor come one after the other
        out[name] = torch.cat([out[name], values]) if name in out else values
        data = data[8 + 4 * n :]
    return out


@pytest.mark.parametrize("objective", ["next-token", "distill"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients(name, objective, tmp_path, record_property):
    family, changes = MODELS[name]
    record_property("matrix", [family, "gradients", "equal"])
    model = tiny(family, **changes).to(torch.float64)
    torch.manual_seed(3)
    tokens = torch.randint(0, 320, (B, T + 1))
    nope, windows = (2, 3), {0: 12, 1: 12}
    logits = forward(model, tokens[:, :-1], nope, windows)
    teacher = "-"
    if objective == "distill":
        teacher = save(tiny(family, **changes), tmp_path / "teacher")
        with torch.no_grad():
            target = torch.log_softmax(forward(model, tokens[:, :-1]), -1)
        loss = (target.exp() * (target - torch.log_softmax(logits, -1))).sum(-1).mean()
    else:
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 320), tokens[:, 1:].reshape(-1))
    loss.backward()
    np.concatenate([[B, T], tokens.numpy().ravel()]).astype(np.int32).tofile(tmp_path / "ids")
    folder = save(tiny(family, **changes), tmp_path / "model")
    run_tool("gradients", folder, tmp_path / "ids", tmp_path / "out", teacher, "2-3", "0-1", "12")
    ours = read(tmp_path / "out")
    assert abs(ours.pop("loss").item() - loss.item()) < 1e-5 * max(1, loss.item())
    theirs = {k: p.grad for k, p in model.named_parameters()}
    assert set(ours) == set(theirs)
    for k, g in theirs.items():
        error = (ours[k].double() - g.ravel()).norm() / (g.norm() + 1e-12)
        # a key bias shifts all scores of a query alike: its true gradient is 0, and rounding has nothing to be relative to
        assert error < 1e-4 or (ours[k].double() - g.ravel()).norm() < 1e-6, f"{k}: relative error {error}"


# The other dense families, as they are: their own forward pass, every option of test_families once.
OTHERS = [case for case, (family, _) in CASES.items() if family not in ("llama", "qwen2", "granite")]


def in_our_order(name, g, model):
    """q, then k, then v, where the heads of the three alternate; halves where rows are interleaved; rows where there
    are columns."""
    c = model.config
    if c.model_type == "gpt_oss" and ".experts." in name:
        g = g if name.endswith("bias") else g.transpose(1, 2)
        return torch.cat([g[:, ::2].ravel(), g[:, 1::2].ravel()]) if "gate_up" in name else g
    if c.model_type == "llama4_text" and ".experts." in name:
        return torch.cat([half.ravel() for half in g.transpose(1, 2).chunk(2, 1)]) if "gate_up" in name else g.transpose(1, 2)
    if c.model_type in ("cohere2", "llama4_text") and ("q_proj" in name or "k_proj" in name):
        return g.reshape(-1, c.head_dim // 2, 2, *g.shape[1:]).transpose(1, 2).reshape(g.shape)
    if "query_key_value" not in name:
        return g
    heads = c.num_attention_heads
    kv = heads
    if c.model_type == "falcon":
        kv = c.num_kv_heads if c.new_decoder_architecture else 1 if c.multi_query else heads
    parts = g.reshape(kv, heads // kv + 2, c.hidden_size // heads, -1)
    return torch.cat([p.reshape(-1) for p in (parts[:, :-2], parts[:, -2], parts[:, -1])])


@pytest.mark.parametrize("case", OTHERS)
def test_gradients_of_other_families(case, tmp_path, record_property):
    record_property("matrix", [CASES[case][0], "gradients", "equal"])
    model, folder = made(case, tmp_path)
    model = model.to(torch.float64)
    torch.manual_seed(3)
    tokens = torch.randint(3, 320, (B, T + 1))
    torch.nn.functional.cross_entropy(model(tokens[:, :-1]).logits.reshape(-1, 320), tokens[:, 1:].reshape(-1)).backward()
    np.concatenate([[B, T], tokens.numpy().ravel()]).astype(np.int32).tofile(tmp_path / "ids")
    run_tool("gradients", folder, tmp_path / "ids", tmp_path / "out", "-")
    ours = read(tmp_path / "out")
    ours.pop("loss")
    theirs = {}
    for k, p in model.named_parameters():  # those of all experts as one
        name, g = re.sub(r"experts[.]\d+", "experts.*", k), in_our_order(k, p.grad, model).ravel()
        theirs[name] = torch.cat([theirs[name], g]) if name in theirs else g
    assert set(ours) == set(theirs)
    for k, g in theirs.items():
        error = (ours[k].double() - g).norm()
        assert error < 1e-4 * (g.norm() + 1e-12) or error < 1e-6, f"{k}: relative error {error / g.norm()}"


@pytest.mark.parametrize("objective", ["next-token", "distill"])
def test_adamw_steps(objective, tmp_path):
    """20 steps of `derope recal` on a text exactly 20 batches long, one pass: each window is seen once."""
    model, steps, batch, context = tiny("llama"), 20, 1, 24
    folder = save(tiny("llama"), tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words = "the cat sat on the mat and the dog ran to the river because it was there and then".split()
    rng = np.random.default_rng(5)
    text = " ".join(rng.choice(words, 2000))
    ids = tokenizer(text, add_special_tokens=False).input_ids[: context + 1]
    (tmp_path / "one.txt").write_text(tokenizer.decode(ids))
    assert tokenizer((tmp_path / "one.txt").read_text(), add_special_tokens=False).input_ids == ids
    lr = 1e-3
    flags = ["--lr", lr, "--min-lr-ratio", 1, "--warmup", 1, "--batch", batch, "--weight-decay", 0.1, "--clip", 1]
    out = run_derope("recal", folder, tmp_path / "out", "--data", tmp_path / "one.txt", "--tokens", steps * context,
                     "--context", context, "--objective", objective, "--drop-rope=2-3", "--json", *flags)
    ours = [loss for _, loss in json.loads(out.stdout)["recalibration"]["losses"]]
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=lr, betas=(0.9, 0.95), eps=1e-8)
    x = torch.tensor([ids])
    with torch.no_grad():
        target = torch.log_softmax(forward(tiny("llama"), x[:, :-1]), -1)
    theirs = []
    for _ in range(steps):
        logits = forward(model, x[:, :-1], nope=(2, 3))
        if objective == "distill":
            loss = (target.exp() * (target - torch.log_softmax(logits, -1))).sum(-1).mean()
        else:
            loss = torch.nn.functional.cross_entropy(logits[0], x[0, 1:])
        theirs.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert len(ours) == steps
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-4
