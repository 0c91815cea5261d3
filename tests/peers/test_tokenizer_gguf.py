"""Tokenizers by their names in a GGUF, `tokenizer.ggml.pre`: HF -> GGUF finds the name; our tokens from the GGUF's keys equal
llama.cpp's; the tokenizer.json rebuilt from the keys alone equals the source's in HF tokenizers."""

import json
import unicodedata
import urllib.request

import gguf
import pytest
from conftest import ROOT, run_derope
from gguf_file import without_our_keys
from llama import Llama
from reference import tiny
from test_tokenizer import assert_same, encoded
from tokenizers import Tokenizer
from tokenizers_made import MADE, NASTY, SCRIPTS, random_texts, source_code

NAMES = {  # of MADE
    "gpt2": "gpt-2", "neox": "olmo", "smollm": "smollm", "cohere": "command-r", "llama3": "llama-bpe", "cl100k": "dbrx",
    "qwen2": "qwen2", "stablelm2": "stablelm2", "qwen35": "qwen35", "tekken": "tekken", "o200k": "gpt-4o", "llama4": "llama4",
    "falcon": "falcon", "falcon3": "falcon3", "deepseek llm": "deepseek-llm", "deepseek coder": "deepseek-coder", "deepseek v3": "deepseek-v3",
}
SEPARATOR = "<|im_start|>"
# GGUF has no place for tokens that strip spaces, stand alone, or are sought in normalised text; </s> is special to llama.cpp
# wherever a vocabulary has it
LOST = ("tool>", "wordly", "<a b>", "ve\u0301", "<|im", "</s>")


def settled(text):
    """No characters that Unicode got after this Python's version: HF and we know those of Unicode 16, llama.cpp does not."""
    return all(unicodedata.category(c) != "Cn" or c > "\U00033480" for c in text)


@pytest.fixture(scope="session")
def plain_texts(shared):
    book = (shared / "data" / "books" / "jane-eyre.txt").read_text(encoding="utf-8")[:300_000]
    texts = [book, *NASTY, *SCRIPTS.values(), *source_code(ROOT), *random_texts(30_000)]
    return [t for t in texts if settled(t) and not any(x in t for x in LOST)][:10_200]


@pytest.fixture(scope="module", params=NAMES)
def converted(request, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    t = MADE[request.param]([shared / "data" / "books" / "dracula.txt"])
    tiny("llama", vocab_size=t.get_vocab_size()).save_pretrained(folder / "hf")
    t.save(str(folder / "hf" / "tokenizer.json"))
    run_derope("convert", folder / "hf", folder / "x.gguf")
    return request.param, t, folder / "x.gguf"


def llama_tokens(path, texts, between=SEPARATOR):
    """llama.cpp's tokens of each text: between special tokens it looks at each alone."""
    llama = Llama(path)
    body = json.dumps({"content": between.join(texts), "add_special": False, "parse_special": True}).encode()
    request = urllib.request.Request(llama.server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
    ids = json.load(urllib.request.urlopen(request))["tokens"]
    separator = next(i for i, s in enumerate(gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"].contents()) if s == between)
    out = [[]]
    for i in ids:
        if i == separator:
            out.append([])
        else:
            out[-1].append(i)
    return out


def test_name(converted):
    made, _, path = converted
    assert gguf.GGUFReader(path).fields["tokenizer.ggml.pre"].contents() == NAMES[made]


def test_llama_cpp(converted, plain_texts):
    _, _, path = converted
    assert_same(plain_texts, encoded(path, plain_texts, "--no-special"), llama_tokens(path, plain_texts))


def test_rebuilt(converted, plain_texts, tmp_path):
    _, t, path = converted
    run_derope("convert", without_our_keys(path, tmp_path / "plain.gguf"), tmp_path / "out")
    rebuilt = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert_same(plain_texts, [e.ids for e in rebuilt.encode_batch(plain_texts)], [e.ids for e in t.encode_batch(plain_texts)])
