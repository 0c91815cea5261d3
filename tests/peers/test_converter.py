"""llama.cpp's own convert_hf_to_gguf.py on every family: the same tensors bit for bit and the same keys as ours, but for those
listed here; and where we refuse a model that it writes, llama.cpp does not run what it wrote as transformers runs the model."""

import json
import shutil
import subprocess
import sys

import gguf
import pytest
import transformers
from conftest import PEERS, run_derope
from llama import differences
from reference import IDS, byte_tokenizer, class_logits, save, tiny
from test_families import CASES, REFUSED
from test_tokenizer_files import sentence_piece

pytestmark = pytest.mark.long

# One process for all of them. The converter knows byte-level tokenizers by a hash of what they make of a text, which no tokenizer
# made here has, and for Gemma and Phi-3 wants a SentencePiece model: `byte_level` tells it what our tokenizer is.
CONVERT = """
import json, sys, traceback
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
import convert_hf_to_gguf
import conversion.gemma, conversion.phi
from conversion.base import TextModel
jobs, byte_level, done = json.loads(sys.argv[2]), json.loads(sys.argv[3]), {}
if byte_level:
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    for module in (conversion.gemma, conversion.phi):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, TextModel):
                kind.set_vocab = lambda self: self._set_vocab_gpt2()
for source, out in jobs:
    sys.argv = ["convert", source, "--outfile", out, "--outtype", "f32"]
    try:
        convert_hf_to_gguf.main()
        done[out] = ""
    except BaseException as e:
        done[out] = traceback.format_exception_only(e)[-1]
print(json.dumps(done))
"""


def converted(jobs, byte_level=True):
    """{output: what the converter said}"""
    if not (PEERS / "llama.cpp" / "convert_hf_to_gguf.py").is_file():
        pytest.skip(f"no llama.cpp at {PEERS / 'llama.cpp'} (make check-long)")
    p = subprocess.run([sys.executable, "-c", CONVERT, PEERS / "llama.cpp", json.dumps(jobs), json.dumps(byte_level)], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr[-4000:]
    return json.loads(p.stdout.strip().splitlines()[-1])


# What the converter takes for granted, and published models have.
PUBLISHED = {
    "gemma2": {"query_pre_attn_scalar": 24},  # head_dim
    "gemma3": {"query_pre_attn_scalar": 24},
    "phi": {"num_key_value_heads": 4, "intermediate_size": 256},
    "falcon": {"ffn_hidden_size": 256},
}
ASSUMED = {f"{family}, otherwise": (family, {}) for family in PUBLISHED}
# llama.cpp's architectures of these have no windows per layer: ours are granite_swa, theirs drop the windows. OLMoE's wants as many
# key/value heads as queries: ours repeats them, theirs does not load.
OTHER_FILE = ["qwen2, windows", "qwen2, types", "smollm3, windows", "smollm3, lists", "olmoe, shared heads"]
SAME = [case for case in CASES if case not in REFUSED and case not in OTHER_FILE]

# Keys that only one side writes, without the architecture's name in front, and why that makes no difference.
OURS_ALONE = {
    "general.file_type": "GPT-NeoX's and Falcon's converters leave it out; nothing but a listing shows it",
    "tokenizer.ggml.add_bos_token": "false, which is what a byte-level tokenizer has without it",
    "vocab_size": "the number of tokens, which is counted anyway",
    "rope.dimension_count": "head_dim, its default",
    "rope.freq_base": "10000, its default",
    "attention.head_count_kv": "as many as heads, its default",
    "attention.sliding_window_pattern": "those of Gemma, Cohere and GPT-OSS are in llama.cpp's code, where a file says nothing of them",
}
THEIRS_ALONE = {
    "general.size_label": "a label made of the number of parameters",
    "attention.key_length": "head_dim as the width divided by the heads, its default",
    "attention.value_length": "the same",
    "rope.scaling.original_context_length": "of a Phi-3 without LongRoPE, where nothing reads it",
    "rope.scaling.type": "none, its default",
    "tensor_data_layout": "a note of Falcon's rows that nothing reads",
}
OTHERWISE = {
    "general.name": "the folder's name, with a capital there",
    "context_length": "2048 for every Falcon there, the model's own in ours",
    "feed_forward_length": "of layers without experts, where there are none: an expert's width in ours",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{case: folder with model/, ours.gguf and theirs.gguf}, each GGUF where that side writes it"""
    made, jobs = {}, []
    models = {case: (family, {**changes, **(PUBLISHED.get(family, {}) if case in SAME else {})}) for case, (family, changes) in CASES.items()}
    for case, (family, changes) in {**models, **ASSUMED}.items():
        made[case] = folder = tmp_path_factory.mktemp("case")
        source = save(tiny(family, **changes), folder / "model")
        fill_vocabulary(source)
        set_published(source / "config.json", case)
        run_derope("convert", source, folder / "ours.gguf", ok=case not in REFUSED)
        jobs.append((str(source), str(folder / "theirs.gguf")))
    said = converted(jobs)
    return made, {case: said[str(folder / "theirs.gguf")] for case, folder in made.items()}


def fill_vocabulary(folder, vocab=320):
    """Gemma 3's embedding is cut there to the tokens that have a name."""
    t = byte_tokenizer(folder)
    t.add_tokens([f"<{i}>" for i in range(vocab - len(t))])
    t.save_pretrained(folder)


def set_published(path, case):
    config = json.loads(path.read_text())
    if config["model_type"] == "cohere2":
        config["rotary_pct"] = 1.0
    if case == "falcon, multi-query":
        config["num_kv_heads"] = 1  # what its multi_query means
    path.write_text(json.dumps(config))


def fields(reader, ours):
    """{key without its architecture: (types, value)}"""
    arch = reader.fields["general.architecture"].contents()
    return {key.removeprefix(f"{arch}."): (f.types, f.contents()) for key, f in reader.fields.items()
            if not key.startswith("GGUF.") and not (ours and key.startswith("derope."))}


def compared(ours, theirs):
    """Keys that only we write, only they write, both write otherwise; asserts that the tensors are the same in the same order."""
    a, b = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    for x, y in zip(a.tensors, b.tensors):
        assert x.tensor_type == y.tensor_type and list(x.shape) == list(y.shape) and x.data.tobytes() == y.data.tobytes(), x.name
    a, b = fields(a, True), fields(b, False)
    return {k: a[k][1] for k in a.keys() - b.keys()}, {k: b[k][1] for k in b.keys() - a.keys()}, {k for k in a.keys() & b.keys() if a[k] != b[k]}


def default_of(key, family, case):
    """What a key of OURS_ALONE or THEIRS_ALONE has to be for its reason to hold; None where no reader minds."""
    config = tiny(family, **{**CASES[case][1], **PUBLISHED.get(family, {})}).config
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return {"tokenizer.ggml.add_bos_token": False, "vocab_size": 320, "rope.dimension_count": head_dim, "rope.freq_base": 10000.0,
            "attention.head_count_kv": heads, "attention.key_length": config.hidden_size // heads,
            "attention.value_length": config.hidden_size // heads, "rope.scaling.type": "none"}.get(key)


@pytest.mark.parametrize("case", SAME)
def test_the_same_file(case, folders):
    folder, said = folders[0][case], folders[1][case]
    assert not said
    ours, theirs, otherwise = compared(folder / "ours.gguf", folder / "theirs.gguf")
    family = CASES[case][0]
    assert ours.keys() <= OURS_ALONE.keys() and theirs.keys() <= THEIRS_ALONE.keys(), (ours, theirs)
    for key, value in (ours | theirs).items():
        expected = default_of(key, family, case)
        assert expected is None or value == expected, (key, value, expected)
    assert otherwise <= OTHERWISE.keys()
    assert family == "falcon" or "context_length" not in otherwise
    assert case in ("qwen3_moe", "llama4, bands") or "feed_forward_length" not in otherwise
    assert family in ("gemma2", "gemma3", "cohere2", "gpt_oss") or "attention.sliding_window_pattern" not in ours


def test_every_exception_is_needed(folders):
    found = [compared(folders[0][case] / "ours.gguf", folders[0][case] / "theirs.gguf") for case in SAME]
    for at, listed in enumerate((OURS_ALONE, THEIRS_ALONE, OTHERWISE)):
        assert set().union(*(f[at] for f in found)) == listed.keys()


@pytest.mark.parametrize("case", [*REFUSED, *OTHER_FILE, *ASSUMED])
def test_what_it_should_refuse(case, folders):
    """It stops as well, or llama.cpp does not load what it writes, or gets other logits from it than the model's."""
    folder, said = folders[0][case], folders[1][case]
    if said:
        return
    family, changes = {**CASES, **ASSUMED}[case]
    try:
        worst = max(d[-1] for d in differences(folder / "theirs.gguf", class_logits(tiny(family, **changes)), IDS, (2, 40, 100)))
    except Exception as e:
        assert "Failed to init server" in str(e)
        return
    assert worst > 0.1


def tokenizer_differences(source, folder):
    """{key: (ours, theirs)} of the tokenizers' keys, by the converter as it is."""
    run_derope("convert", source, folder / "ours.gguf")
    assert converted([(str(source), str(folder / "theirs.gguf"))], byte_level=False) == {str(folder / "theirs.gguf"): ""}
    compared(folder / "ours.gguf", folder / "theirs.gguf")
    a, b = fields(gguf.GGUFReader(folder / "ours.gguf"), True), fields(gguf.GGUFReader(folder / "theirs.gguf"), False)
    return {k: (a.get(k, (0, None))[1], b.get(k, (0, None))[1]) for k in a.keys() | b.keys() if k.startswith("tokenizer.") and a.get(k) != b.get(k)}


def test_byte_level_tokenizer(smollm2, tmp_path):
    """SmolLM2's, as rebuilt from a GGUF: known to the converter by its hash."""
    source = tmp_path / "model"
    tiny("llama", vocab_size=49152).save_pretrained(source)
    run_derope("convert", smollm2, tmp_path / "smollm2")
    for path in (tmp_path / "smollm2").glob("*token*.json"):
        shutil.copy(path, source)
    assert tokenizer_differences(source, tmp_path) == {}


def test_sentencepiece_tokenizer(tmp_path):
    """It reads tokenizer.model, we read tokenizer.json."""
    source = tmp_path / "model"
    tiny("llama", vocab_size=420).save_pretrained(source)
    sentence_piece(source, tmp_path)
    transformers.LlamaTokenizerFast(vocab_file=str(tmp_path / "m.model"), legacy=True, add_prefix_space=True).save_pretrained(source)
    found = tokenizer_differences(source, tmp_path)
    # said to be false, which they are without being said; <unk> as unknown or as special; scores of what no merge makes
    assert found.pop("tokenizer.ggml.add_eos_token") == found.pop("tokenizer.ggml.add_sep_token") == (None, False)
    ours, theirs = found.pop("tokenizer.ggml.token_type")
    assert (ours[0], theirs[0]) == (2, 3) and ours[1:] == theirs[1:]
    ours, theirs = found.pop("tokenizer.ggml.scores")
    tokens = transformers.AutoTokenizer.from_pretrained(source).convert_ids_to_tokens(range(420))
    assert all(x == y for x, y, t in zip(ours, theirs, tokens) if len(t) > 1 and not t.startswith("<"))
    assert found == {}
