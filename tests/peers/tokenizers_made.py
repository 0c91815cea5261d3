"""Tokenizers for the comparisons: trained by HF tokenizers on the books, or built from published vocabularies."""

import functools
import json
import random
import struct

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASED, FOLDED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
GPT4O = CASED % ("*", "+") + FOLDED + "|" + CASED % ("+", "*") + FOLDED + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3"
    "ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
DEEPSEEK_LLM = ["[\r\n]", rf"\s?[{DEEPSEEK_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+"]
DEEPSEEK_CODER = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
DEEPSEEK_V3 = [
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[" + "\r\n" + r"]*|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+",
]
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im"]
BAR = "\u2581"


def mixed(*parts):
    return pre_tokenizers.Sequence(list(parts))


def byte_level(pattern):
    return mixed(
        pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    )


def splits(expressions, *more):
    return mixed(*(pre_tokenizers.Split(Regex(e), "isolated") for e in expressions), *more, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))


def falcon(*behind):
    return mixed(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), *behind)


def add_tokens(t):
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    t.add_tokens(
        [
            AddedToken("naïve\u0301", normalized=True),
            AddedToken("<tool>", lstrip=True, normalized=False),
            AddedToken("</tool>", rstrip=True, normalized=False),
            AddedToken("wordly", single_word=True, normalized=True),
            AddedToken("<a b>", lstrip=True, rstrip=True, normalized=True),
        ]
    )


def bpe(pre, books, normalizer=None, **model):
    """Learnt from text that was not cut, in many scripts: tokens reach over every place where `pre` may cut, so each cut shows."""
    vocab, merges = uncut(tuple(books))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, **model))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    add_tokens(t)
    return t


@functools.cache
def uncut(books, size=8000):
    seed = Tokenizer(models.BPE())
    seed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    lines = [line for b in books for line in b.read_text(encoding="utf-8")[:150_000].splitlines(keepends=True)]
    texts = [*lines, *2 * NASTY, *2 * list(SCRIPTS.values()), *random_texts(3000, seed=5)]
    seed.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, max_token_length=24))
    made = json.loads(seed.to_str())["model"]
    return made["vocab"], [tuple(m) for m in made["merges"]]


@functools.cache
def sentencepiece_model(books, size=2000):
    """Llama 2's kind of vocabulary: <unk>, <s>, </s>, 256 bytes, then pieces; and its merges."""
    seed = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    seed.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    seed.train([str(b) for b in books], trainers.BpeTrainer(vocab_size=size, special_tokens=specials, limit_alphabet=90, show_progress=False))
    made = json.loads(seed.to_str())["model"]
    return made["vocab"], [tuple(m) for m in made["merges"]]


def sentencepiece(books, layout):
    """The ways in which a tokenizer.json of that kind is found."""
    vocab, merges = sentencepiece_model(tuple(books))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    strip = [] if layout in ("never", "nothing", "gemma") else [decoders.Strip(" ", 1, 0)]
    t.decoder = decoders.Sequence([decoders.Replace(BAR, " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    if layout == "legacy":  # Llama 2
        t.normalizer = normalizers.Sequence([normalizers.Prepend(BAR), normalizers.Replace(" ", BAR)])
    elif layout == "gemma":
        t.normalizer, t.pre_tokenizer = normalizers.Replace(" ", BAR), pre_tokenizers.Split(" ", "merged_with_previous")
    elif layout == "nothing":  # spaces alone are marked
        t.normalizer = normalizers.Replace(" ", BAR)
    else:  # non-legacy: Mistral and later conversions
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=layout.removesuffix("-split"), split=layout.endswith("-split"))
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in ("<unk>", "<s>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    add_tokens(t)
    return t


MADE = {
    "gpt2": lambda b: bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), b),
    "gpt2 prefix": lambda b: bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), b),
    "llama3": lambda b: bpe(byte_level(LLAMA3), b, ignore_merges=True),
    "qwen2": lambda b: bpe(byte_level(QWEN2), b, normalizer=normalizers.NFC()),
    "smollm": lambda b: bpe(mixed(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)), b),
    "tekken": lambda b: bpe(byte_level(TEKKEN), b, ignore_merges=True),
    "neox": lambda b: bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), b, normalizer=normalizers.NFC()),
    "cohere": lambda b: bpe(mixed(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)), b, normalizer=normalizers.NFC()),
    "cl100k": lambda b: bpe(mixed(pre_tokenizers.Split(Regex(LLAMA3), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)), b),
    "stablelm2": lambda b: bpe(byte_level(QWEN2), b),
    "qwen35": lambda b: bpe(byte_level(QWEN35), b, normalizer=normalizers.NFC()),
    "o200k": lambda b: bpe(byte_level(GPT4O), b),
    "llama4": lambda b: bpe(byte_level(GPT4O), b, ignore_merges=True),
    "falcon": lambda b: bpe(falcon(pre_tokenizers.Digits(False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")), b),
    "falcon3": lambda b: bpe(falcon(pre_tokenizers.Digits(True)), b),
    "deepseek llm": lambda b: bpe(splits(DEEPSEEK_LLM, pre_tokenizers.Digits(True)), b),
    "deepseek coder": lambda b: bpe(splits(DEEPSEEK_CODER, pre_tokenizers.Digits(True)), b),
    "deepseek v3": lambda b: bpe(splits(DEEPSEEK_V3), b),
    "digits": lambda b: bpe(mixed(pre_tokenizers.Digits(False), pre_tokenizers.ByteLevel(False)), b, normalizer=normalizers.NFKC()),
    "lowercase": lambda b: bpe(mixed(pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)), b, normalizer=normalizers.Sequence(
        [normalizers.Strip(), normalizers.Lowercase(), normalizers.NFD()])),
    "removed": lambda b: bpe(mixed(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.ByteLevel(False)), b, normalizer=normalizers.NFKD()),
    "behaviours": lambda b: bpe(mixed(
        pre_tokenizers.Split(".", "merged_with_next"), pre_tokenizers.Split(Regex(r"\s+"), "merged_with_previous"),
        pre_tokenizers.Split(Regex("[a-z]+"), "contiguous", invert=True), pre_tokenizers.CharDelimiterSplit("\n"),
        pre_tokenizers.ByteLevel(False, use_regex=False)), b, normalizer=normalizers.Replace(Regex(r"\d+"), "#")),
    "legacy": lambda b: sentencepiece(b, "legacy"),
    "metaspace always": lambda b: sentencepiece(b, "always"),
    "metaspace first": lambda b: sentencepiece(b, "first"),
    "metaspace never": lambda b: sentencepiece(b, "never"),
    "metaspace split": lambda b: sentencepiece(b, "first-split"),
    "bars alone": lambda b: sentencepiece(b, "nothing"),
    "gemma": lambda b: sentencepiece(b, "gemma"),
}


def from_gguf(path):
    """SmolLM2's tokenizer as its publisher has it in HF form, from the tokens and merges of its GGUF."""
    fields = gguf.GGUFReader(path).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(texts)}, merges=merges))
    t.pre_tokenizer = mixed(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False))
    t.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"].contents()
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s, kind in zip(texts, types) if kind == 3])
    return t


def scored(pieces):
    """HF's form of (piece, score) pairs: a merge for each way to split a piece, the best scores first."""
    ids = {p: i for i, (p, _) in enumerate(pieces)}
    splits = [(-score, ids[p], p[:k], p[k:]) for p, score in pieces for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
    t = Tokenizer(models.BPE(vocab=ids, merges=[(a, b) for _, _, a, b in sorted(splits)], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend(BAR), normalizers.Replace(" ", BAR)])
    t.add_special_tokens([AddedToken(p, normalized=False, special=True) for p, _ in pieces[:3]])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def write_gguf(path, kind, texts, types, **keys):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(kind)
    w.add_token_list(texts)
    w.add_token_types(types)
    for name, value in keys.items():
        getattr(w, f"add_{name}")(value)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
    w.close()


def scored_to_gguf(pieces, path):
    types = [2, 3, 3] + [6 if p.startswith("<0x") else 1 for p, _ in pieces[3:]]
    write_gguf(path, "llama", [p for p, _ in pieces], types, token_scores=[float(s) for _, s in pieces],
               bos_token_id=1, eos_token_id=2, unk_token_id=0)


def tok512(path):
    """llama2.c's tokenizer.bin: the longest length, then score, length and bytes of each; spaces stand for bars."""
    raw, at, pieces = path.read_bytes(), 4, []
    while at < len(raw):
        score, n = struct.unpack_from("<fi", raw, at)
        pieces.append((raw[at + 8 : at + 8 + n].decode().replace(" ", BAR), score))
        at += 8 + n
    pieces[:3] = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    return [(f"<0x{i - 3:02X}>" if 3 <= i < 259 else p, s) for i, (p, s) in enumerate(pieces)]


NASTY = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", "  a  b   c    ", "\n\n\n", "a\n\nb", "a \n b", "a\r\nb\r\n\r\nc", "\r\r\r",
    "tabs\t\tand\t spaces \t\n \t\n", "trailing   ", "   leading", "a" + " " * 300 + "b", "\n" * 300, "\t" * 77 + "x", " \n" * 40,
    "I'm you're he'll they've I'd it's can't 'S 'T 'RE 'LL 'Ve I'M", "'", "''", "'s's's", "’s don’t ‘quoted’ “double”", "'ſ 'K 'ſt",
    "1234567890", "3.14159 1,000,000 2^10 ½ ² Ⅷ ৪৫ ٣٤ 一二三 𝟘𝟙", "0x1F 1e-5 v1.2.3", "x1y22z333w4444",
    "é e\u0301 ñ n\u0303 a\u0323\u0307 a\u0307\u0323", "ﬁ ﬂ ﬀ Å Å ℌ ㎏ ①", "Z̤͔ͧ̑̓ä͖̭̈̇lͮ̒ͫǧ̗͚̚o̙̔ͮ̇͐̇", "각 각 한국어 텍스트", "\u0301 starts", "İstanbul ıI ΑΣ ς ẞ",
    "👍 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇫🇷 ❤️ ✊🏿", "\u200d\u200b\u2060\ufeff", "\ufeffBOM", "☃☄★♠", "a\u00a0b\u2003c\u3000d\u2028e\u2029f\u0085g\u180eh",
    "日本語のテキスト、漢字とかな。カタカナ", "中文文本，没有空格。", "ไทยไม่มีช่องว่าง", "हिन्दी में पाठ", "ኢትዮጵያ", "ქართული",
    "עברית עם ניקוד שָׁלוֹם", "العربية مع تشكيل مُحَمَّد", "mixed עברית and English ١٢٣", "\u202eright to left\u202c",
    "a\0b", "\0", "\0\0\0", "\x01\x02\x1f\x7f\x80\x9f", "\v\f\x1c\x1d\x1e\x1f x", "\ud7ff\ue000\ufffd\uffff\U0010ffff", "𐍈𠀀𝒳",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>", "<|im_start|><|im_start|>", "<|im_star", "<|im|im_end|>", "a<|im_end|>b", " <|im_end|> ",
    "<s>[INST] x [/INST] y</s>", "<unk><s></s>", "<0x41><0x0A>", "<tool>", "x <tool>  y", "x\u3000\u00a0<tool> y </tool> \n\t z", "</tool></tool>  ", "  <tool>  <tool>",
    "wordly worldwordly wordly. wordlywordly _wordly wordly_ éwordly wordly\u0301 (wordly)", "naïve\u0301 nai\u0308ve\u0301", " <a b>  <a b> x <a b>\n",
    BAR, BAR * 5, f"a{BAR}b", f" {BAR} ", f"{BAR}Hello", "x" * 1000, "ab" * 500, "the " * 200, "!?" * 100, "…—–-_", "a.b,c;d:e!f?g",
    "def f(x):\n    return x**2  # comment\n\n\n\tif True:\n\t\tpass", "https://example.com/a?b=c&d=%20#e", "{\"k\": [1, 2.5, null]}", "$\\alpha_1^{2}$ <b>bold</b>",
    "camelCaseIdentifier snake_case SCREAMING_CASE kebab-case", "supercalifragilisticexpialidocious antidisestablishmentarianism",
]


# The first article of the Declaration of Human Rights, or as much of it as fits, in scripts that cut and compose differently.
SCRIPTS = {
    "Latin": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Tất cả mọi người sinh ra đều được tự do.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Cyrillic": "Все люди рождаются свободными и равными в своём достоинстве и правах. Усі люди народжуються вільними.",
    "Armenian": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "Hebrew": "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כָּל בְּנֵי אָדָם",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. تمام انسان آزاد اور برابر پیدا ہوئے ہیں۔",
    "Devanagari": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "Gurmukhi": "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।",
    "Gujarati": "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
    "Tamil": "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "Telugu": "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
    "Kannada": "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ. ಹಾಗೂ ಘನತೆ ಮತ್ತು ಹಕ್ಕುಗಳಲ್ಲಿ ಸಮಾನರಾಗಿದ್ದಾರೆ.",
    "Malayalam": "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്‌.",
    "Sinhala": "සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත. ගරුත්වයෙන් හා අයිතිවාසිකම්වලින් සමාන වෙති.",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Lao": "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ ສິດທິ ອິດສະຫຼະພາບ",
    "Burmese": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသူများဖြစ်သည်။",
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
    "Tibetan": "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།",
    "Ethiopic": "የሰው፡ልጅ፡ሁሉ፡ሲወለድ፡ነጻና፡በክብርና፡በመብትም፡እኩልነት፡ያለው፡ነው።",
    "Cherokee": "ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ ᎤᎾᏕᎿ ᏚᏳᎧᏛ ᎨᏒᎢ.",
    "Mongolian": "ᠬᠦᠮᠦᠨ ᠪᠦᠷ ᠲᠥᠷᠥᠵᠦ ᠮᠡᠨᠳᠡᠯᠡᠬᠦ ᠡᠷᠬᠡ ᠴᠢᠯᠥᠭᠡ ᠲᠡᠢ᠂",
    "Hangul": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 모든",
    "Kana": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。カタカナ",
    "Han": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，並應以兄弟關係的精神相對待。",
}


def source_code(root):
    """This project's own: C, Python, and a Makefile."""
    files = sorted(p for pattern in ("*/*.c", "tests/peers/*.py", "Makefile") for p in root.glob(pattern))
    return [p.read_text(encoding="utf-8") for p in files]


def random_texts(n, seed=11):
    """Valid UTF-8 of every plane, dense where tokenizers differ: spaces, marks, digits, letters with folds."""
    r = random.Random(seed)
    pools = [
        lambda: chr(r.randrange(0x80)), lambda: r.choice(" \n\r\t'\u00a0\u0085\u3000"), lambda: chr(r.randrange(0x80, 0x800)),
        lambda: chr(r.choice([r.randrange(0x800, 0xD800), r.randrange(0xE000, 0x10000)])), lambda: chr(r.randrange(0x10000, 0x110000)),
        lambda: chr(r.randrange(0x300, 0x370)), lambda: r.choice("sStTmMdDlLrReEvV'"), lambda: r.choice("0123456789²½٣"),
        lambda: r.choice(["<|im_end|>", "<s>", BAR, "the", " and", "👍🏽", "e\u0301", "<tool>", "wordly"]),
        lambda: chr(r.randrange(0x1F000, 0x1FB00)), lambda: chr(r.randrange(0xAC00, 0xD7A4)), lambda: chr(r.randrange(0x4E00, 0xA000)),
    ]
    return ["".join(r.choice(pools)() for _ in range(r.randrange(1, 40))) for _ in range(n)]


def packed(texts):
    return b"".join(struct.pack("<I", len(b)) + b for b in (t.encode("utf-8") for t in texts))
