"""Tokenizers between their two forms: the GGUF keys we write tokenise as the source in llama.cpp, and the HF files we
rebuild from a GGUF's keys alone tokenise as the source in transformers 4 and 5."""

import json
import urllib.request

import gguf
import pytest
import sentencepiece
import transformers
from conftest import run_derope
from gguf_file import without_our_keys
from reference import tiny
from llama import Llama
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB = 700
TEXT = ["The harbour was quiet that morning, and the two fishermen (Tom & Ann) mended 12 nets.",
        "It's 1984: don't they've I'm 31,415 tokens?!\n\n  naïve café — the sea, the wall, the bell\tring.",
        "def f(x):\r\n    return x + 1  # done\r\n", "the cat sat on the mat and the dog ran to the river"] * 5
HARD = ["Hello world", " leading", "trailing ", "it's WE'LL 12345 67", "a\n\nb\r\n c\t\td", "naïve — café 🙂🇫🇷 漢字",
        "   three   spaces   ", "x" * 40, "e\u0301 combining", "<s>inside</s> of it", "a<user>b <user> c", "tabs\t \n \t", "½ ² ٣٤"]

GPT2 = dict(pre=lambda: pre_tokenizers.ByteLevel(add_prefix_space=False))
SMOLLM = dict(pre=lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))


def split(pattern):
    return lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


LLAMA3 = dict(pre=split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), bos=dict(single="<s> $A", pair="<s> $A <s>:1 $B:1"), ignore_merges=True)
QWEN2 = dict(pre=split(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), nfc=True, bos=dict(single="<s> $A </s>", pair="<s> $A </s> <s>:1 $B:1 </s>:1"))
KINDS = {"gpt-2": GPT2, "smollm": SMOLLM, "llama-bpe": LLAMA3, "qwen2": QWEN2}


def byte_level(folder, pre, bos=None, nfc=False, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre()
    t.decoder = decoders.ByteLevel()
    if nfc:
        t.normalizer = normalizers.NFC()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCAB - 40, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens(["<user>"])
    if bos:
        t.post_processor = processors.TemplateProcessing(**bos, special_tokens=[("<s>", 1), ("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                                chat_template="{% for m in messages %}<user>{{ m.content }}</s>{% endfor %}")
    fast.save_pretrained(folder)


def sentence_piece(folder, tmp):
    """A SentencePiece BPE with byte fallback, in the files of a published Llama 2."""
    (tmp / "text").write_text("\n".join(TEXT))
    sentencepiece.SentencePieceTrainer.train(input=str(tmp / "text"), model_prefix=str(tmp / "m"), model_type="bpe", vocab_size=420, byte_fallback=True,
                                             add_dummy_prefix=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                             allow_whitespace_only_pieces=True, character_coverage=0.99, minloglevel=2)
    transformers.LlamaTokenizerFast(vocab_file=str(tmp / "m.model"), legacy=True).save_pretrained(folder)


@pytest.fixture(scope="module", params=[*KINDS, "spm"])
def source(request, tmp_path_factory):
    tmp = tmp_path_factory.mktemp(request.param)
    folder = tmp / "model"
    tiny("llama", vocab_size=VOCAB).save_pretrained(folder)
    if request.param == "spm":
        sentence_piece(folder, tmp)
    else:
        byte_level(folder, **KINDS[request.param])
    run_derope("convert", folder, tmp / "x.gguf")
    return request.param, folder, tmp / "x.gguf"


def reference_tokens(folder, texts):
    t = transformers.AutoTokenizer.from_pretrained(folder)
    return [t(x).input_ids for x in texts]


def test_llama_cpp(source):
    kind, folder, path = source
    llama = Llama(path)
    for text, expected in zip(HARD, reference_tokens(folder, HARD)):
        if kind == "qwen2" and "\u0301" in text:
            continue  # llama.cpp does not normalise
        request = urllib.request.Request(llama.server.listening_address + "/tokenize", json.dumps({"content": text, "add_special": True, "parse_special": True}).encode(),
                                         {"Content-Type": "application/json"})
        assert json.load(urllib.request.urlopen(request))["tokens"] == expected, text


TF5 = """
import json, sys, transformers
t = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps({"ids": [t(x).input_ids for x in json.loads(sys.argv[2])], "bos": t.bos_token_id, "eos": t.eos_token_id,
                  "chat": t.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) if t.chat_template else None}))
"""


def test_files_from_keys(source, tf5, tmp_path):
    kind, folder, path = source
    plain = without_our_keys(path, tmp_path / "plain.gguf")
    run_derope("convert", plain, tmp_path / "out")
    expected = reference_tokens(folder, HARD)
    assert reference_tokens(tmp_path / "out", HARD) == expected
    assert list(gguf.GGUFReader(plain).fields["tokenizer.ggml.tokens"].contents()[:3]) == ["<unk>", "<s>", "</s>"]
    ours, theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out"), transformers.AutoTokenizer.from_pretrained(folder)
    assert ours("a b", "the cat").input_ids == theirs("a b", "the cat").input_ids
    assert (ours.bos_token, ours.eos_token, ours.unk_token) == (theirs.bos_token, theirs.eos_token, theirs.unk_token)
    assert [ours.decode(x, skip_special_tokens=True) for x in expected] == [theirs.decode(x, skip_special_tokens=True) for x in expected]
    five = tf5(TF5, tmp_path / "out", json.dumps(HARD))
    assert five["ids"] == expected
    assert (five["bos"], five["eos"]) == (theirs.bos_token_id, theirs.eos_token_id)
    if theirs.chat_template:
        assert five["chat"] == theirs.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<user>hi</s>"


def test_another_carrier_keeps_tokens(source, tf5, tmp_path):
    """A folder whose model_type changed tokenises as before, in both."""
    kind, folder, path = source
    run_derope("convert", folder, tmp_path / "out", "--drop-rope")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "smollm3"
    assert reference_tokens(tmp_path / "out", HARD) == reference_tokens(folder, HARD)
    assert tf5(TF5, tmp_path / "out", json.dumps(HARD))["ids"] == tf5(TF5, folder, json.dumps(HARD))["ids"]
