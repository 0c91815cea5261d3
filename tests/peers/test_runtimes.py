"""What we write runs in unmodified transformers (4.56 and 5) and llama.cpp, to the logits of the same surgery done
by hand in torch."""

import json

import pytest
import torch
import transformers
from conftest import run_derope
from llama import compare_llama, differences
from reference import IDS, byte_tokenizer, hashes, load_here, load_tf5, logits, save, tiny

torch.set_num_threads(2)

SURGERIES = {
    "plain": ([], (), {}),
    "all": (["--drop-rope"], (0, 1, 2, 3), {}),
    "mixed": (["--drop-rope=2-3", "--sliding-window", "12:0-1"], (2, 3), {0: 12, 1: 12}),
    "upper": (["--drop-rope=2-3"], (2, 3), {}),
    "scaled": (["--rope-scaling", "linear:2", "--scale-attention", "1.25"], (), {}),
}
FAMILIES = ["llama", "mistral", "qwen2", "smollm3", "granite"]



def unlike_windows(model, flags, windows):
    """Stock architectures have one window size: Mistral's own goes where another is asked for."""
    if model.config.model_type != "mistral" or not windows:
        return flags, windows
    return [*flags, "--sliding-window", "0:2-3"], {**windows, 2: 0, 3: 0}


def expected_logits(model, surgery, windows):
    nope = SURGERIES[surgery][1]
    if surgery != "scaled":
        return logits(model, IDS, nope, windows_of(model, windows))
    scaled = type(model)(transformers.AutoConfig.for_model(**{**model.config.to_dict(), "rope_scaling": {"rope_type": "linear", "factor": 2.0}})).eval()
    scaled.load_state_dict(model.state_dict())
    return logits(scaled, IDS, nope, windows_of(model, windows), scale=1.25)


def windows_of(model, windows):
    own = model.config.sliding_window if model.config.model_type == "mistral" else 0
    return {i: windows.get(i, own) for i in range(4)}


@pytest.fixture(scope="module", params=FAMILIES)
def source(request, tmp_path_factory):
    model = tiny(request.param)
    return model, save(model, tmp_path_factory.mktemp(request.param) / "model")


@pytest.mark.parametrize("surgery", SURGERIES)
def test_transformers(source, surgery, tf5, tmp_path):
    model, folder = source
    flags = SURGERIES[surgery][0]
    out = tmp_path / "out"
    own_granite = model.config.model_type == "granite" and surgery not in ("plain", "scaled")
    flags, windows = unlike_windows(model, flags, SURGERIES[surgery][2])
    run_derope("convert", folder, out, *flags)
    expected = expected_logits(model, surgery, windows)
    if not own_granite:  # granite's multipliers have a carrier in transformers 5 only
        assert (load_here(out) - expected).abs().max() < 2e-3
    assert (load_tf5(tf5, out, IDS, tmp_path) - expected).abs().max() < 2e-3
    text = "the cat's 12 mats\n  sat — on é🙂 river"
    ours = transformers.AutoTokenizer.from_pretrained(out)(text).input_ids
    assert ours == transformers.AutoTokenizer.from_pretrained(folder)(text).input_ids


@pytest.mark.parametrize("surgery", SURGERIES)
def test_llama_cpp(source, surgery, tmp_path):
    model, folder = source
    flags, nope, windows = SURGERIES[surgery]
    out = tmp_path / "out.gguf"
    if model.config.model_type == "mistral" and surgery != "mixed":
        # windows in all layers: llama.cpp has no such architecture, and the refusal says what would do
        refused = run_derope("convert", folder, out, *flags, ok=False)
        assert refused.returncode == 1 and not out.exists()
        assert "no stock architecture of llama.cpp can express this model: own: has no windows per layer" in refused.stderr
        return
    flags, windows = unlike_windows(model, flags, windows)
    run_derope("convert", folder, out, *flags)
    expected = expected_logits(model, surgery, windows)
    compare_llama(out, expected, IDS, 1e-2, (2, 13, 40, 100))


def test_smollm2(smollm2, tf5, tmp_path):
    base = tmp_path / "base"
    run_derope("convert", smollm2, base)
    story = ("The harbour was quiet that morning. Two fishermen mended their nets beside the old wall, and a boy with a red "
             "cap watched them without a word. When the bell rang for the ninth time, the taller of the two put down his "
             "needle, looked at the sea and said that the weather would turn before noon.")
    ids = transformers.AutoTokenizer.from_pretrained(base)(story).input_ids[:64]
    model = transformers.AutoModelForCausalLM.from_pretrained(base, torch_dtype=torch.float32, attn_implementation="eager").eval()
    rounding = []
    mixed = ["--drop-rope=20-29", "--sliding-window", "48:0-19"]
    for flags, nope, windows in [([], (), {}), (["--drop-rope"], range(30), {}), (mixed, range(20, 30), {i: 48 for i in range(20)})]:
        expected = logits(model, ids, nope, windows)
        out = tmp_path / "out"
        run_derope("convert", smollm2, out, "--force", *flags)
        assert (load_here(out, ids) - expected).abs().max() < 2e-3
        assert (load_tf5(tf5, out, ids, tmp_path) - expected).abs().max() < 2e-3
        run_derope("convert", smollm2, tmp_path / "out.gguf", "--force", "--dtype", "f32", *flags)
        compare_llama(tmp_path / "out.gguf", expected, ids, 1e-2, (2, 64))
        # With quantised weights llama.cpp rounds activations to 8 bits, and single tokens of the top 20 differ by 0.2 already for
        # the model as it was. After surgery they may differ no more than twice that, on average.
        run_derope("convert", smollm2, tmp_path / "out.gguf", "--force", *flags)
        rounding.append(sum(sum(d) / len(d) for d in differences(tmp_path / "out.gguf", expected, ids, (2, 16, 32, 64))) / 4)
    assert rounding[0] < 0.1
    assert max(rounding) < 2 * rounding[0], rounding
    ours = transformers.AutoTokenizer.from_pretrained(base)
    text = "It's 2026: 12,345 tokens\n\n  don't — naïve 🙂🇫🇷\r\nx" + " " * 7
    assert ours.decode(ours(text).input_ids) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back(family, tmp_path):
    """HF -> GGUF -> HF: the same tensors bit for bit, the same config.json byte for byte."""
    model = tiny(family, **({"sliding_window": None} if family == "mistral" else {}))
    bf16 = tmp_path / "bf16"
    model.to(torch.bfloat16).save_pretrained(bf16)
    model.to(torch.float32)
    byte_tokenizer(bf16)
    run_derope("convert", bf16, tmp_path / "direct")
    run_derope("convert", bf16, tmp_path / "x.gguf")
    run_derope("convert", tmp_path / "x.gguf", tmp_path / "back")
    assert hashes(tmp_path / "direct") == hashes(tmp_path / "back")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (bf16 / name).read_bytes() == (tmp_path / "back" / name).read_bytes(), name
    ours = json.loads((tmp_path / "direct" / "derope.json").read_text())["tensors"]
    assert {t["status"] for t in ours} == {"untouched"}
