"""Tokenizers whose tokens, special tokens and chat templates stand in several files of a folder, or in old ones: the tokens of the folder are
those of transformers 5's AutoTokenizer; the GGUF made of it has them in llama.cpp; and the folder that is made of that GGUF's keys alone has
them, with the special tokens and the templates, in AutoTokenizer again."""

import json
import os
import shutil
import urllib.request

import gguf
import pytest
from conftest import run_derope
from gguf_file import without_our_keys
from llama import Llama
from reference import tiny
from test_tokenizer_files import GPT2, QWEN2, byte_level

ROWS = 720  # of the embedding; the tokenizer has 661 tokens before anything is added
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
TEXTS = ["Hello <|im_start|>user\nhi<|im_end|> x", "<s>a</s> <unk> <|far|><pad> it's 12 nets.", "caf\u00e9 e\u0301 \u6f22 \n\n tab\tend ",
         "<|im_end|>", "<word> <|b|> <|a|> the harbour"]


def edit(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed, ensure_ascii=False, indent=1))


def config(**members):
    return lambda f: edit(f, "tokenizer_config.json", lambda c: c.update(members))


def without(name, *members):
    return lambda f: edit(f, name, lambda c: [c.pop(m, None) for m in members] and None)


def token(text, special=True, **options):
    return {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special, **options}


def adds(*tokens):
    return lambda f: edit(f, "tokenizer.json", lambda c: c["added_tokens"].extend(tokens))


def decoder(**tokens):
    """added_tokens_decoder as it was, and more."""
    return lambda f: edit(f, "tokenizer_config.json", lambda c: c["added_tokens_decoder"].update({i.strip("_"): t for i, t in tokens.items()}))


def text(name, content):
    def write(f):
        (f / name).parent.mkdir(exist_ok=True)
        (f / name).write_text(content)
    return write


def old_files(kind):
    """vocab.json and merges.txt in place of tokenizer.json"""
    def write(f):
        model = json.loads((f / "tokenizer.json").read_text())["model"]
        (f / "vocab.json").write_text(json.dumps(model["vocab"]))
        (f / "merges.txt").write_text("#version: 0.2\n" + "\n".join(m if isinstance(m, str) else " ".join(m) for m in model["merges"]) + "\n")
        (f / "tokenizer.json").unlink()
        edit(f, "tokenizer_config.json", lambda c: c.update(tokenizer_class=kind))
    return write


def templates(*names):
    return [{"name": n, "template": n + TEMPLATE} for n in names]


LEGACY = without("tokenizer_config.json", "added_tokens_decoder")  # then AutoTokenizer reads the older files
CASES = {
    "plain": [],
    "decoder alone": [decoder(_661=token("<|im_start|>"), _662=token("<|im_end|>"))],
    "decoder by number": [decoder(_1000=token("<|b|>"), _900=token("<|a|>"))],
    "decoder changes options": [adds({"id": 661, **token("<|im_end|>")}), decoder(_661=token("<|im_end|>", rstrip=True))],
    "added_tokens.json": [LEGACY, text("added_tokens.json", '{"<|im_end|>": 662, "<|im_start|>": 661}')],
    "added_tokens.json, named": [LEGACY, text("added_tokens.json", '{"<|im_end|>": 661}'), config(eos_token="<|im_end|>"),
                                 lambda f: (f / "special_tokens_map.json").unlink()],
    "special_tokens_map.json": [LEGACY, text("special_tokens_map.json", json.dumps({"bos_token": "<s>", "eos_token": token("<|im_end|>"), "pad_token": "<pad>"}))],
    "named alone": [config(pad_token="<pad>", eos_token="<|im_end|>")],
    "objects": [config(pad_token={"__type": "AddedToken", **token("<pad>")}, bos_token=None)],
    "additional": [config(additional_special_tokens=["<|a|>", "<|b|>"])],
    "extra list": [config(extra_special_tokens=["<|b|>", "<|a|>"])],
    "extra names": [config(extra_special_tokens={"image_token": "<|b|>"}, audio_token="<|a|>")],
    "hole": [adds({"id": 700, **token("<|far|>")})],
    "in the vocabulary": [adds({"id": 5, **token("the")})],
    "words": [adds({"id": 661, **token("<word>", special=False, normalized=False)})],
    "twice": [adds({"id": 661, **token("<|a|>")}, {"id": 661, **token("<|a|>", special=False, normalized=False)})],
    "template of a file": [config(chat_template="old"), text("chat_template.jinja", TEMPLATE)],
    "template list": [lambda f: (f / "chat_template.jinja").unlink(), config(chat_template=templates("default", "tool_use", "rag"))],
    "template folder": [text("chat_template.jinja", TEMPLATE), text("additional_chat_templates/rag.jinja", "R" + TEMPLATE)],
    "GPT-2's files": [old_files("GPT2Tokenizer"), config(bos_token="<s>", eos_token="</s>", unk_token="<unk>")],
    "GPT-2's files, BOS": [old_files("GPT2Tokenizer"), config(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True)],
    "GPT-NeoX's files": [old_files("GPTNeoXTokenizerFast"), config(bos_token="<s>", eos_token="</s>", unk_token="<unk>")],
    "Qwen 2's files": [old_files("Qwen2Tokenizer"), config(eos_token="</s>", pad_token="</s>", unk_token=None)],
}

LOAD_ALL = """
import json, sys, transformers
texts, done = json.loads(sys.argv[2]), {}
for folder in json.loads(sys.argv[1]):
    try:
        t = transformers.AutoTokenizer.from_pretrained(folder)
        chat = t.chat_template
        done[folder] = {"ids": [t.encode(x) for x in texts], "decoded": [t.decode(t.encode(x), skip_special_tokens=True) for x in texts],
                        "special": {k: [getattr(t, k), getattr(t, k + "_id")] for k in ("bos_token", "eos_token", "pad_token") if getattr(t, k) is not None},
                        "templates": chat if isinstance(chat, dict) else {"default": chat} if chat else {}}
    except Exception as e:
        done[folder] = f"{type(e).__name__}: {e}"
print(json.dumps(done))
"""


def ours(model, tmp_path, *flags):
    paths = []
    for i, t in enumerate(TEXTS):
        paths.append(tmp_path / f"text-{i}")
        paths[-1].write_text(t, newline="")
    return [row["ids"] for row in json.loads(run_derope("tokenize", model, *paths, *flags, "--json").stdout)]


def llama_tokens(path):
    llama = Llama(path)
    out = []
    for t in TEXTS:
        body = json.dumps({"content": t, "add_special": True, "parse_special": True}).encode()
        request = urllib.request.Request(llama.server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
        out.append(json.load(urllib.request.urlopen(request))["tokens"])
    return out


@pytest.fixture(scope="module")
def made(tf5, tmp_path_factory):
    """{case: its folder, with model/, x.gguf, plain.gguf, again/ and rebuilt/}, and what AutoTokenizer says of all folders"""
    root = tmp_path_factory.mktemp("folders")
    tiny("llama", vocab_size=ROWS).save_pretrained(root / "weights")
    for kind, options in {"gpt-2": GPT2, "qwen2": QWEN2}.items():
        byte_level(root / kind, **options)
    folders = {}
    for case, changes in CASES.items():
        folders[case] = folder = root / case.replace(" ", "_").replace("'", "")
        shutil.copytree(root / ("qwen2" if case.startswith("Qwen") else "gpt-2"), folder / "model")
        for path in (root / "weights").iterdir():
            os.link(path, folder / "model" / path.name)
        for change in changes:
            change(folder / "model")
        run_derope("convert", folder / "model", folder / "x.gguf")
        run_derope("convert", folder / "x.gguf", folder / "again")
        run_derope("convert", without_our_keys(folder / "x.gguf", folder / "plain.gguf"), folder / "rebuilt")
    paths = [str(folder / which) for folder in folders.values() for which in ("model", "again", "rebuilt")]
    return folders, tf5(LOAD_ALL, json.dumps(paths), json.dumps(TEXTS))


@pytest.mark.parametrize("case", CASES)
def test_tokens(case, made, tmp_path):
    folder, theirs = made[0][case], made[1]
    source = theirs[str(folder / "model")]
    assert not isinstance(source, str), source
    assert ours(folder / "model", tmp_path) == source["ids"]
    assert theirs[str(folder / "again")] == source


# GGUF has no place for tokens that strip spaces: the text behind one keeps them there.
@pytest.mark.parametrize("case", [case for case in CASES if case != "decoder changes options"])
def test_gguf(case, made, tmp_path):
    folder = made[0][case]
    expected = list(made[1][str(folder / "model")]["ids"])
    if case.startswith(("Qwen", "GPT-NeoX")):  # llama.cpp does not normalise
        expected[2] = ours(folder / "x.gguf", tmp_path)[2]
    assert ours(folder / "x.gguf", tmp_path) == expected
    assert llama_tokens(folder / "x.gguf") == expected


@pytest.mark.parametrize("case", [case for case in CASES if case != "decoder changes options"])
def test_rebuilt(case, made):
    folder, theirs = made[0][case], made[1]
    source, rebuilt = theirs[str(folder / "model")], theirs[str(folder / "rebuilt")]
    for what in ("ids", "templates"):
        assert rebuilt[what] == source[what], what
    for name, value in source["special"].items():
        assert rebuilt["special"][name] == value, name


def test_template_keys(made):
    fields = gguf.GGUFReader(made[0]["template list"] / "x.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == "default" + TEMPLATE
    assert fields["tokenizer.chat_template.tool_use"].contents() == "tool_use" + TEMPLATE
    assert sorted(fields["tokenizer.chat_templates"].contents()) == ["rag", "tool_use"]
