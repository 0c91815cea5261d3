"""tokenizer.model: tokens and texts against the sentencepiece library; as GGUF against llama.cpp; unigram models in tokenizer.json
against HF tokenizers."""

import json

import gguf
import pytest
import sentencepiece
import transformers
from conftest import ROOT, run_derope
from gguf_file import without_our_keys
from reference import tiny
from test_tokenizer import assert_same, decoded, encoded
from test_tokenizer_gguf import llama_tokens
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers_made import BAR, NASTY, SCRIPTS, random_texts, source_code

LLAMA = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
KINDS = {
    "llama": LLAMA,
    "gemma": dict(LLAMA, add_dummy_prefix=False, user_defined_symbols=["\n\n", BAR * 2, BAR * 3, "<table>"]),
    "no bytes": dict(LLAMA, byte_fallback=False),
    "bpe nfkc": dict(model_type="bpe", normalization_rule_name="nmt_nfkc"),
    "bpe squeezed": dict(LLAMA, remove_extra_whitespaces=True),
    "t5": dict(model_type="unigram", bos_id=-1, eos_id=1, unk_id=2, pad_id=0),
    "xlm": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf"),
    "unigram bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "unigram symbols": dict(model_type="unigram", normalization_rule_name="identity", user_defined_symbols=["<table>", "ing"]),
}


@pytest.fixture(scope="session")
def spm_texts(shared):
    """Without the names of control tokens, which the library does not look for."""
    book = (shared / "data" / "books" / "jane-eyre.txt").read_text(encoding="utf-8")[:300_000]
    texts = [book, *NASTY, *SCRIPTS.values(), *source_code(ROOT), *random_texts(11_500)]
    return [t for t in texts if not any(x in t for x in ("<s>", "</s>", "<unk>", "<pad>"))][:10_200]


@pytest.fixture(scope="module", params=KINDS)
def trained(request, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spm")
    lines = (shared / "data" / "books" / "dracula.txt").read_text(encoding="utf-8")[:200_000].splitlines()
    (folder / "text").write_text("\n".join([*lines, *2 * list(SCRIPTS.values()), *random_texts(300, seed=3)]).replace("\0", ""))
    sentencepiece.SentencePieceTrainer.train(input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), vocab_size=4000,
                                             character_coverage=0.999, minloglevel=2, **KINDS[request.param])
    (folder / "text").unlink()
    return request.param, folder, sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def test_tokens_equal_the_librarys(trained, spm_texts):
    _, folder, sp = trained
    assert_same(spm_texts, encoded(folder, spm_texts, "--no-special"), [sp.encode(t) for t in spm_texts])


def test_texts_equal_the_librarys(trained, spm_texts):
    """All but unknown tokens, which the library writes as a question mark of its own."""
    _, folder, sp = trained
    ids = [i for i in (sp.encode(t) for t in spm_texts) if sp.unk_id() not in i]
    assert len(ids) > 50
    assert [b.decode("utf-8", "replace") for b in decoded(folder, ids)] == [sp.decode(i) for i in ids]


@pytest.fixture(scope="module")
def converted(trained):
    """A folder as it is published, with a few tokens more than its tokenizer.model has, and its GGUF."""
    kind, folder, sp = trained
    if not (folder / "config.json").exists():
        tiny("llama", vocab_size=4008).save_pretrained(folder)
        added = {4000: dict(content="<|new|>", special=True), 4001: dict(content=f"{BAR}one{BAR}word", special=False), 4002: dict(content="<|looks|>", special=False)}
        config = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=sp.bos_id() >= 0, add_eos_token=False,
                      legacy=True, chat_template="{{ messages }}", added_tokens_decoder={str(i): a for i, a in added.items()})
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        run_derope("convert", folder, folder.with_suffix(".gguf"))
    return kind, folder, sp, folder.with_suffix(".gguf")


def test_keys_equal_the_converters(converted):
    """What llama.cpp's converter writes."""
    kind, _, sp, path = converted
    keys = {k: f.contents() for k, f in gguf.GGUFReader(path).fields.items() if k.startswith("tokenizer.")}
    types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 5 if sp.is_unused(i) else 6 if sp.is_byte(i) else 1 for i in range(4000)]
    user = KINDS[kind].get("user_defined_symbols", [])
    types = [4 if sp.id_to_piece(i) in user else t for i, t in enumerate(types)]
    pieces = [sp.id_to_piece(i) if t != 4 else sp.id_to_piece(i).replace(BAR, " ") for i, t in enumerate(types)]
    assert keys["tokenizer.ggml.tokens"] == pieces + ["<|new|>", " one word", "<|looks|>"] + [f"[PAD{i}]" for i in range(4003, 4008)]
    assert keys["tokenizer.ggml.token_type"] == types + [3, 4, 3] + [5] * 5
    assert keys["tokenizer.ggml.scores"] == [sp.get_score(i) for i in range(4000)] + [-1000.0] * 3 + [-10000.0] * 5
    assert keys["tokenizer.ggml.model"] == ("t5" if KINDS[kind]["model_type"] == "unigram" else "llama")
    assert keys["tokenizer.ggml.add_space_prefix"] == (kind != "gemma")
    assert keys["tokenizer.chat_template"] == "{{ messages }}"
    assert [keys.get(f"tokenizer.ggml.{n}_token_id", -1) for n in ("bos", "eos", "unknown", "padding")] == [sp.bos_id() if kind != "t5" else 1, sp.eos_id(), sp.unk_id(), sp.pad_id()]


def test_folder_comes_back_from_the_gguf(converted):
    """From the GGUF the folder comes back as it was, without files that it did not have."""
    _, folder, _, path = converted
    run_derope("convert", path, folder.with_suffix(".back"))
    names = {p.name for p in folder.with_suffix(".back").iterdir()}
    assert "tokenizer.json" not in names
    for name in ("tokenizer.model", "tokenizer_config.json"):
        assert (folder.with_suffix(".back") / name).read_bytes() == (folder / name).read_bytes()


def test_tokens_equal_llama_cpps(converted, spm_texts):
    kind, folder, sp, path = converted
    texts = spm_texts
    if kind in ("no bytes", "bpe nfkc"):  # llama.cpp fails where such a model has no token
        texts = [t for t in texts if all(sp.piece_to_id(c) != sp.unk_id() for c in set(t.replace(" ", BAR)))]
        assert len(texts) > 50
    ours = encoded(path, texts, "--no-special")
    assert_same(texts, ours, llama_tokens(path, texts, between="</s>"))
    if kind == "llama":
        assert_same(texts, ours, [sp.encode(t) for t in texts])


def test_added_tokens_have_their_ids(converted):
    _, folder, sp, path = converted
    for model in (folder, path):
        assert encoded(model, ["the<|new|>a"], "--no-special") == [[*sp.encode("the"), 4000, *sp.encode("a")]]


def test_tokens_equal_transformers(converted, spm_texts):
    """Merges that transformers makes of the scores; the same once more by way of the GGUF's keys."""
    kind, folder, sp, path = converted
    if kind != "llama":
        pytest.skip("transformers' Llama class knows this kind alone")
    t = transformers.LlamaTokenizerFast(vocab_file=str(folder / "tokenizer.model"), legacy=True, add_prefix_space=True)
    assert_same(spm_texts, encoded(folder, spm_texts, "--no-special"), [t.encode(x, add_special_tokens=False) for x in spm_texts])
    run_derope("convert", without_our_keys(path, folder.with_suffix(".plain.gguf")), folder.with_suffix(".out"))
    rebuilt = transformers.AutoTokenizer.from_pretrained(folder.with_suffix(".out"))
    assert_same(spm_texts, [rebuilt.encode(x, add_special_tokens=False) for x in spm_texts], [t.encode(x, add_special_tokens=False) for x in spm_texts])


# ---- tokenizer.json ----


def learnt(books):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    lines = (books / "dracula.txt").read_text(encoding="utf-8")[:100_000].splitlines()
    t.train_from_iterator([*lines, *SCRIPTS.values()], trainers.UnigramTrainer(vocab_size=2000, special_tokens=["<pad>", "<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return t


@pytest.fixture(scope="module", params=["learnt", "t5", "xlm-roberta", "unigram bytes"])
def unigram(request, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unigram")
    books = shared / "data" / "books"
    if request.param == "learnt":
        t = learnt(books)
    else:
        kind = {"t5": "t5", "xlm-roberta": "xlm"}.get(request.param, request.param)
        lines = (books / "dracula.txt").read_text(encoding="utf-8")[:100_000].splitlines()
        (folder / "text").write_text("\n".join([*lines, *2 * list(SCRIPTS.values())]))
        sentencepiece.SentencePieceTrainer.train(input=str(folder / "text"), model_prefix=str(folder / "spiece"), vocab_size=2500,
                                                 character_coverage=0.999, minloglevel=2, **KINDS[kind])
        cls = transformers.XLMRobertaTokenizerFast if request.param == "xlm-roberta" else transformers.T5TokenizerFast
        t = cls(vocab_file=str(folder / "spiece.model")).backend_tokenizer
    t.save(str(folder / "tokenizer.json"))
    return folder, t


def test_unigram_tokens_equal_the_librarys(unigram, spm_texts):
    folder, t = unigram
    assert_same(spm_texts, encoded(folder, spm_texts), [e.ids for e in t.encode_batch(spm_texts)])


def test_unigram_texts_equal_the_librarys(unigram, spm_texts):
    folder, t = unigram
    ids = [e.ids for e in t.encode_batch(spm_texts)]
    assert_same(spm_texts, [b.decode("utf-8", "replace") for b in decoded(folder, ids)], t.decode_batch(ids))
