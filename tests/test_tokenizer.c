/* The tokenizer against small tokenizers that are made by hand, so that every id can be checked by eye:
 * tokenizer.json and GGUF keys, byte-level BPE, SentencePiece's BPE and unigram, added tokens, normalisation
 * and decoding. Then files that are damaged or not supported, which have to be refused with an exact message.
 * Real tokenizers are compared with HF, llama.cpp and sentencepiece in tests/peers. */
#include "formats/meta.h"
#include "tests/scratch.h"

#include "surgery/tokenizer/tokenizer.h"

/* ---- tokenizer.json ---- */

#define BAR "\xe2\x96\x81"

/* GPT-2's printable characters stand for bytes: a space is U+0120. */
#define BYTE_VOCAB                                                                                           \
    "{\"a\":0,\"b\":1,\"c\":2,\"\\u0120\":3,\"ab\":4,\"\\u0120ab\":5,\"1\":6,\"2\":7,\"12\":8,\"abc\":9,"    \
    "\"\\u010a\":10,"                                                                                        \
    "\"\\u00c3\":11,\"\\u00a9\":12,\"cc\":13}"
#define BYTE_MERGES "[\"a b\",\"\\u0120 ab\",[\"1\",\"2\"],\"ab c\",\"c c\"]"
#define MODEL(vocab, merges, more)                                                                           \
    "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges more "}"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define ADDED                                                                                                \
    "[{\"id\":14,\"content\":\"<e>\",\"special\":true},{\"id\":15,\"content\":\"<ee>\",\"special\":true},"   \
    "{\"id\":16,\"content\":\"<l>\",\"lstrip\":true,\"normalized\":false},{\"id\":17,\"content\":\"<r>\","   \
    "\"rstrip\":true,"                                                                                       \
    "\"normalized\":false},{\"id\":18,\"content\":\"ba\",\"single_word\":true,\"normalized\":false}]"

static Tokenizer *from_json(const char *text, Error *e) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = "model";
    checkpoint_set_file(c, "tokenizer.json", text, strlen(text));
    Tokenizer *t = tokenizer_open(c, e);
    checkpoint_close(c);
    return t;
}

static Tokenizer *json_tokenizer(const char *text) {
    Error e = {0};
    Tokenizer *t = from_json(text, &e);
    if (!t) fail_msg("%s", e.message);
    return t;
}

/* The ids as a line, special tokens added; "! message" for an error. */
static const char *ids_of_bytes(const Tokenizer *t, const char *text, size_t n) {
    static char line[4096];
    TokenList l = {0};
    Error e = {0};
    int at = 0;
    *line = 0;
    if (!tokenizer_encode(t, text, n, true, &l, &e)) {
        assert_int_equal(e.code, ERR_INPUT);
        at = snprintf(line, sizeof line, "! %s", e.message);
    }
    for (size_t i = 0; i < l.n; i++)
        at += snprintf(line + at, sizeof line - (size_t)at, i ? " %d" : "%d", l.ids[i]);
    token_list_free(&l);
    return line;
}

static const char *ids_of(const Tokenizer *t, const char *text) {
    return ids_of_bytes(t, text, strlen(text));
}

static void assert_decodes(const Tokenizer *t, const int32_t *ids, size_t n, bool special, const char *text) {
    Buffer b = {0};
    Error e = {0};
    assert_true(tokenizer_decode(t, ids, n, special, &b, &e));
    assert_string_equal(buffer_string(&b), text);
    buffer_free(&b);
}

#define ASSERT_DECODES(t, special, text, ...)                                                                \
    assert_decodes(t, (int32_t[]){__VA_ARGS__}, sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t), special,   \
                   text)

static void byte_level(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer("{\"added_tokens\":" ADDED ",\"pre_tokenizer\":" BYTE_LEVEL
                                  ",\"decoder\":" BYTE_LEVEL "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}");
    assert_int_equal(tokenizer_vocab_size(t), 19);
    assert_string_equal(ids_of(t, ""), "");
    assert_string_equal(ids_of(t, "ab ab abc"), "4 5 5 2"); /* the space merges before the c does */
    assert_string_equal(ids_of(t, "abc"), "9");
    assert_string_equal(ids_of(t, "abcabc"), "9 9");
    assert_string_equal(ids_of(t, "ccc"), "13 2"); /* leftmost of equals */
    assert_string_equal(ids_of(t, "a  b\n"), "0 3 3 1 10");
    assert_string_equal(ids_of(t, "\xc3\xa9"), "11 12");
    assert_string_equal(ids_of(t, "az"), "0"); /* no token, no stand-in: left out, as HF does */
    ASSERT_DECODES(t, false, "ab ab\n\xc3\xa9", 4, 5, 10, 11, 12);
    ASSERT_DECODES(t, false, "\xa9", 12); /* half a character is half a character */
    tokenizer_close(t);
}

static void long_piece_as_short(void **state) {
    (void)state;
    Tokenizer *t =
        json_tokenizer("{\"pre_tokenizer\":" BYTE_LEVEL "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}");
    enum { TIMES = 5000 };
    char *text = xmalloc(TIMES * 4);
    for (int i = 0; i < TIMES; i++)
        memcpy(text + 4 * i, "abcc", 4);
    TokenList l = {0};
    Error e = {0};
    assert_true(tokenizer_encode(t, text, TIMES * 4, true, &l, &e)); /* one piece: merged through the heap */
    assert_int_equal(l.n, 2 * TIMES);
    for (size_t i = 0; i < l.n; i++)
        assert_int_equal(l.ids[i], i % 2 ? 2 : 9);
    free(text);
    token_list_free(&l);
    tokenizer_close(t);
}

static void added_tokens(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer("{\"added_tokens\":" ADDED ",\"pre_tokenizer\":" BYTE_LEVEL
                                  "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}");
    assert_string_equal(ids_of(t, "a<e>b<ee><e"), "0 14 1 15"); /* the longest; '<e' has no tokens */
    assert_string_equal(ids_of(t, "a \xc2\xa0<l> b"), "0 16 3 1");
    assert_string_equal(ids_of(t, "a <r> \n\xe3\x80\x80"
                                  "b"),
                        "0 3 17 1");
    assert_string_equal(ids_of(t, "<r>  <l>"), "17 16");
    assert_string_equal(ids_of(t, "ba bab ba"), "18 3 1 4 3 18");
    assert_string_equal(ids_of(t, "\xc3\xa9"
                                  "ba"),
                        "11 12 1 0"); /* a letter is before it */
    ASSERT_DECODES(t, false, "a<l>", 0, 14, 16);
    ASSERT_DECODES(t, true, "a<e><l>", 0, 14, 16);
    tokenizer_close(t);
}

static void added_tokens_in_normalized_text(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer("{\"added_tokens\":[{\"id\":14,\"content\":\"BC\",\"normalized\":true},{"
                                  "\"id\":15,\"content\":\"CA\",\"normalized\":false}],"
                                  "\"normalizer\":{\"type\":\"Lowercase\"},\"pre_tokenizer\":" BYTE_LEVEL
                                  "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}");
    assert_string_equal(ids_of(t, "Abcca"), "0 14 2 0");
    assert_string_equal(ids_of(t, "aBCCA"), "0 14 15");
    tokenizer_close(t);
}

static void ignore_merges(void **state) {
    (void)state;
    const char *merges = "[\"a b\"]", *text =
                                          "{\"pre_tokenizer\":" BYTE_LEVEL ",\"model\":{\"vocab\":" BYTE_VOCAB
                                          ",\"merges\":%s,\"ignore_merges\":%s}}";
    for (int ignore = 0; ignore < 2; ignore++) {
        char json[2048];
        snprintf(json, sizeof json, text, merges, ignore ? "true" : "false");
        Tokenizer *t = json_tokenizer(json);
        assert_string_equal(ids_of(t, "abc"), ignore ? "9" : "4 2");
        assert_string_equal(ids_of(t, "abca"), "4 2 0");
        tokenizer_close(t);
    }
}

/* What a pre_tokenizer makes of "ab12 ab.c": pieces are seen by what may merge. */
static void pre_tokenizers(void **state) {
    (void)state;
    static const struct {
        const char *json, *ids;
    } rows[] = {
        {BYTE_LEVEL, "4 8 5 2"},
        {"{\"type\":\"ByteLevel\"}", "5 8 5 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}"
         "," BYTE_LEVEL "]}",
         "4 6 7 5 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false}"
         "," BYTE_LEVEL "]}",
         "4 8 5 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\"b\"},"
         "\"behavior\":"
         "\"Isolated\"}," BYTE_LEVEL "]}",
         "0 1 8 3 0 1 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[ab]+\"},"
         "\"behavior\":"
         "\"Removed\",\"invert\":true}," BYTE_LEVEL "]}",
         "4 4"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s\"},"
         "\"behavior\":"
         "\"Removed\"}," BYTE_LEVEL "]}",
         "4 8 4 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},"
         "\"behavior\":"
         "\"MergedWithPrevious\"}," BYTE_LEVEL "]}",
         "0 1 8 3 0 1 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},"
         "\"behavior\":"
         "\"MergedWithNext\"}," BYTE_LEVEL "]}",
         "4 8 3 4 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9]\"},"
         "\"behavior\":"
         "\"Contiguous\"}," BYTE_LEVEL "]}",
         "4 8 5 2"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
         ",{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\u0120\"},\"behavior\":\"Isolated\"},"
         "{\"type\":\"Digits\",\"individual_digits\":true}]}", /* they see the space's printable character */
         "4 6 7 3 4 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[4096];
        snprintf(json, sizeof json, "{\"pre_tokenizer\":%s," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}",
                 rows[i].json);
        Tokenizer *t = json_tokenizer(json);
        assert_string_equal(ids_of(t, "ab12 ab.c"), rows[i].ids);
        tokenizer_close(t);
    }
}

static void normalizers(void **state) {
    (void)state;
    static const struct {
        const char *json, *text, *ids;
    } rows[] = {
        {"{\"type\":\"NFC\"}", "e\xcc\x81", "11 12"},
        {"{\"type\":\"NFKC\"}", "\xef\xbd\x81\xef\xbd\x82", "4"}, /* full-width ab */
        {"{\"type\":\"Lowercase\"}", "AB\xc3\x89", "4 11 12"},
        {"{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
         " \xe3\x80\x80"
         "ab\xc2\x85",
         "4"},
        {"{\"type\":\"Prepend\",\"prepend\":\"a\"}", "b", "4"},
        {"{\"type\":\"Prepend\",\"prepend\":\"a\"}", "", ""},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"x.\"},\"content\":\"b\"}", "ax.xa", "4 0"},
        {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x.\"},\"content\":\"b\"}", "ax1xza", "4 1 0"},
        {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"},"
         "\"content\":\"\"},"
         "{\"type\":\"Replace\",\"pattern\":{\"String\":\"y\"},\"content\":\"\"}]}",
         "xx", ""},
        {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},{\"type\":\"Prepend\",\"prepend\":"
         "\"A\"}]}",
         "B", "1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[4096];
        snprintf(json, sizeof json,
                 "{\"normalizer\":%s,\"pre_tokenizer\":" BYTE_LEVEL
                 "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}",
                 rows[i].json);
        Tokenizer *t = json_tokenizer(json);
        assert_string_equal(ids_of(t, rows[i].text), rows[i].ids);
        tokenizer_close(t);
    }
}

/* ---- SentencePiece's kind ---- */

#define SPM_VOCAB                                                                                            \
    "{\"<unk>\":0,\"<s>\":1,\"</s>\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"" BAR                                     \
    "\":5,\"a\":6,\"b\":7,\"ab\":8,\"" BAR "ab\":9,\"" BAR BAR "\":10}"
#define SPM_MERGES "[\"a b\",\"" BAR " ab\",\"" BAR " " BAR "\"]"
#define SPM_ADDED                                                                                            \
    "[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\",\"special\":true},"    \
    "{\"id\":2,\"content\":\"</s>\",\"special\":true}]"
#define SPM_DECODER                                                                                          \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" BAR              \
    "\"},\"content\":\" \"},"                                                                                \
    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" "                    \
    "\",\"start\":1,\"stop\":0}]}"
#define BOS_TEMPLATE                                                                                         \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{"       \
    "\"Sequence\":{\"id\":"                                                                                  \
    "\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}}"
#define LEGACY                                                                                               \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" BAR        \
    "\"},{\"type\":"                                                                                         \
    "\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" BAR "\"}]}"
#define SPM(steps)                                                                                           \
    "{\"added_tokens\":" SPM_ADDED "," steps ",\"post_processor\":" BOS_TEMPLATE ",\"decoder\":" SPM_DECODER \
    "," MODEL(SPM_VOCAB, SPM_MERGES,                                                                         \
              ",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true") "}"

static void sentencepiece(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer(SPM(LEGACY));
    assert_true(tokenizer_adds_bos(t));
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), -1);
    assert_string_equal(ids_of(t, ""), "1");
    assert_string_equal(ids_of(t, "ab ab"), "1 9 9");
    assert_string_equal(ids_of(t, "ab  ab"), "1 9 5 9"); /* a bar joins its word before it joins a bar */
    assert_string_equal(ids_of(t, "  a"), "1 10 5 6");
    assert_string_equal(ids_of(t, "\xc3\xa9"), "1 5 3 4");
    assert_string_equal(ids_of(t, "\xc3\xa8xyzb"),
                        "1 5 0 7");                          /* a byte is missing: the character is unknown */
    assert_string_equal(ids_of(t, "a</s>a"), "1 5 6 2 5 6"); /* each segment gets its bar */
    ASSERT_DECODES(t, false, "ab \xc3\xa9", 1, 9, 5, 3, 4);
    tokenizer_close(t);
}

static void metaspace(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer(SPM("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" BAR
                                      "\",\"prepend_scheme\":\"first\",\"split\":false}"));
    assert_string_equal(ids_of(t, "ab</s>ab ab"), "1 9 2 8 9");
    assert_string_equal(ids_of(t, " ab"), "1 9"); /* it begins with a space already */
    tokenizer_close(t);
    t = json_tokenizer(SPM("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" BAR
                           "\",\"prepend_scheme\":\"never\",\"split\":true}"));
    assert_string_equal(ids_of(t, "ab  ab"), "1 8 5 9");
    tokenizer_close(t);
}

/* ---- unigram ---- */

static void unigram(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer("{\"pre_tokenizer\":{\"type\":\"Metaspace\"},\"model\":{\"type\":"
                                  "\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],"
                                  "[\"" BAR "\",-3],[\"a\",-2],[\"b\",-2],[\"ab\",-3.5],[\"" BAR
                                  "a\",-4],[\"ba\",-1],[\"<0xC3>\",-9],"
                                  "[\"<0xA9>\",-9]]}}");
    assert_string_equal(ids_of(t, "ab"), "5 3");     /* -4 - 2 is more than -3 - 3.5 */
    assert_string_equal(ids_of(t, "aba"), "5 6");    /* and -4 - 1 more than -3 - 3.5 - 2 */
    assert_string_equal(ids_of(t, "xyza"), "1 0 2"); /* unknown characters in a row are one */
    assert_string_equal(ids_of(t, "a x"), "5 1 0");
    assert_string_equal(ids_of(t, "\xc3\xa9"), "1 0");
    tokenizer_close(t);
    t = json_tokenizer("{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":[[\"<"
                       "unk>\",0],[\"a\",-2],"
                       "[\"<0xC3>\",-9],[\"<0xA9>\",-9]]}}");
    assert_string_equal(ids_of(t, "a\xc3\xa9\xc3\xa9"), "1 2 3 2 3");
    assert_string_equal(ids_of(t, "a\xc3\xa9\xc3\xa8"), "1 0"); /* a byte is missing */
    tokenizer_close(t);
}

/* ---- GGUF ---- */

static Checkpoint *gguf(const char *model, const char *pre, const char *const *tokens, uint64_t n) {
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    c->path = "model.gguf";
    size_t len[64];
    for (uint64_t i = 0; i < n; i++)
        len[i] = strlen(tokens[i]);
    meta_set_string(c, "tokenizer.ggml.model", model, strlen(model));
    if (pre) meta_set_string(c, "tokenizer.ggml.pre", pre, strlen(pre));
    meta_set_string_array(c, "tokenizer.ggml.tokens", tokens, len, n);
    return c;
}

static void set_merges(Checkpoint *c, const char *const *merges, uint64_t n) {
    size_t len[16];
    for (uint64_t i = 0; i < n; i++)
        len[i] = strlen(merges[i]);
    meta_set_string_array(c, "tokenizer.ggml.merges", merges, len, n);
}

static const char *const byte_tokens[] = {"a", "b", "\304\240", "ab",  "\304\240ab",
                                          "1", "2", "12",       "<e>", "x"};
static const char *const byte_merges[] = {"a b", "\304\240 ab", "1 2"};

static void gguf_byte_level(void **state) {
    (void)state;
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 4};
    static const struct {
        const char *pre, *ids;
    } rows[] = {{"gpt-2", "3 7 4"},       {"smollm", "3 5 6 4"}, {"refact", "3 5 6 4"}, {"qwen2", "3 5 6 4"},
                {"llama-bpe", "8 3 7 4"}, {"default", "3 7 4"},  {NULL, "3 7 4"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Checkpoint *c = gguf("gpt2", rows[i].pre, byte_tokens, 10);
        set_merges(c, byte_merges, 3);
        meta_set_array(c, "tokenizer.ggml.token_type", META_I32, types, 10);
        meta_set_u32(c, "tokenizer.ggml.bos_token_id", 8);
        meta_set_u32(c, "tokenizer.ggml.eos_token_id", 8);
        Error e = {0};
        Tokenizer *t = tokenizer_open(c, &e);
        if (!t) fail_msg("%s", e.message);
        assert_string_equal(ids_of(t, "ab12 ab"), rows[i].ids);
        assert_int_equal(tokenizer_eos(t), 8);
        assert_int_equal(tokenizer_adds_bos(t), i == 4);
        ASSERT_DECODES(t, false, "ab ab", 3, 8, 4);
        tokenizer_close(t);
        checkpoint_close(c);
    }
}

static void gguf_sentencepiece(void **state) {
    (void)state;
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", BAR,
                                         "a",     "b",   "c",    "ab",     "bc",     "\342\226\201ab"};
    static const int32_t types[] = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1};
    static const float scores[] = {0, 0, 0, 0, 0, -3, -4, -5, -6, -2, -1, -2.5f};
    for (int prefix = 0; prefix < 2; prefix++) {
        Checkpoint *c = gguf("llama", NULL, tokens, 12);
        meta_set_array(c, "tokenizer.ggml.token_type", META_I32, types, 12);
        meta_set_array(c, "tokenizer.ggml.scores", META_F32, scores, 12);
        meta_set_u32(c, "tokenizer.ggml.bos_token_id", 1);
        meta_set_u32(c, "tokenizer.ggml.eos_token_id", 2);
        meta_set_bool(c, "tokenizer.ggml.add_space_prefix", prefix);
        meta_set_bool(c, "tokenizer.ggml.add_eos_token", true);
        Error e = {0};
        Tokenizer *t = tokenizer_open(c, &e);
        if (!t) fail_msg("%s", e.message);
        assert_string_equal(ids_of(t, "ab"), prefix ? "1 11 2" : "1 9 2");
        assert_string_equal(ids_of(t, "abc"), prefix ? "1 5 6 10 2" : "1 6 10 2"); /* bc scores best */
        assert_string_equal(ids_of(t, "\xc3\xa9"), prefix ? "1 5 3 4 2" : "1 3 4 2");
        ASSERT_DECODES(t, false, prefix ? "ab ab" : " ab ab", 11, 11);
        tokenizer_close(t);
        checkpoint_close(c);
    }
}

/* ---- what is refused ---- */

static void invalid_utf8(void **state) {
    (void)state;
    Tokenizer *t =
        json_tokenizer("{\"pre_tokenizer\":" BYTE_LEVEL "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}");
    static const struct {
        const char *text;
        size_t n, offset;
    } rows[] = {{"\xff", 1, 0},         {"ab\xc3", 3, 2},        {"aaaaaaaaaaaa\x80", 13, 12},
                {"\xc0\x80", 2, 0},     {"a\xed\xa0\x80", 4, 1}, {"\xf4\x90\x80\x80", 4, 0},
                {"\xc3\xa9\xc3", 3, 2}, {"\xe2\x96", 2, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "! offset %zu: byte 0x%02x is not valid UTF-8", rows[i].offset,
                 (unsigned char)rows[i].text[rows[i].offset]);
        assert_string_equal(ids_of_bytes(t, rows[i].text, rows[i].n), expected);
    }
    assert_string_equal(ids_of_bytes(t, "a\0b", 3), "0 1"); /* NUL is a character like others */
    tokenizer_close(t);
}

static void no_such_id(void **state) {
    (void)state;
    Tokenizer *t = json_tokenizer("{" MODEL("{\"a\":0,\"b\":5}", "[]", "") "}");
    Buffer b = {0};
    Error e = {0};
    for (int32_t id = -1; id < 8; id++) {
        bool there = id == 0 || id == 5;
        assert_int_equal(tokenizer_decode(t, &id, 1, false, &b, &e), there);
        if (!there) assert_non_null(strstr(e.message, "token 0: there is no id"));
    }
    buffer_free(&b);
    tokenizer_close(t);
}

static void refused_json(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } rows[] = {
        {"{", "tokenizer.json:1:"},
        {"[]", "model.merges"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}", "model.vocab is not a list"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0.0],[\"b\"]]}}",
         "model.vocab[1] is not a text and its score"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0.0]]},"
         "\"added_tokens\":[{\"id\":2000,\"content\":\"z\"}]}",
         "too short for an added token's id 2000"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A*==\"}," MODEL("{\"a\":0}",
                                                                                               "[]", "") "}",
         "is not base64"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"=\"}," MODEL("{\"a\":0}", "[]",
                                                                                            "") "}",
         "precompiled_charsmap of 0 bytes"},
        {"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," MODEL(
             "{\"a\":0}", "[]", "") "}",
         "precompiled_charsmap of 4 bytes"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "'WordPiece' is not supported"},
        {"{" MODEL("{}", "[]", "") "}", "vocabulary is empty"},
        {"{" MODEL("[]", "[]", "") "}", "model.vocab is not an object"},
        {"{" MODEL("{\"a\":\"0\"}", "[]", "") "}", "the id of 'a' is not a number"},
        {"{" MODEL("{\"a\":-1}", "[]", "") "}", "'a' has id -1"},
        {"{" MODEL("{\"a\":99999999999}", "[]", "") "}", "token id of 99999999999"},
        {"{" MODEL("{\"a\":0,\"b\":0}", "[]", "") "}", "id 0 is both"},
        {"{" MODEL("{\"a\":0,\"a\":1}", "[]", "") "}", "duplicate"},
        {"{" MODEL("{\"a\":0}", "[\"a b\"]", "") "}",
         "merge 0 ('a' and 'b') names tokens the vocabulary lacks"},
        {"{" MODEL("{\"a\":0}", "[\"a\"]", "") "}", "merge 0 is not a pair"},
        {"{" MODEL("{\"a\":0}", "[[\"a\"]]", "") "}", "merge 0 is not a pair"},
        {"{" MODEL("{\"a\":0}", "[1]", "") "}", "merge 0 is not a pair"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"end_of_word_suffix\":\"</w>\"") "}", "suffixes are not supported"},
        {"{" MODEL("{\"a\":0}", "[]", ",\"dropout\":0.1") "}", "dropout"},
        {"{\"added_tokens\":[{\"id\":0,\"content\":\"z\"}]," MODEL("{\"a\":0}", "[]", "") "}",
         "id 0 is both"},
        {"{\"added_tokens\":[{\"content\":\"z\"}]," MODEL("{\"a\":0}", "[]", "") "}", "no content or id"},
        {"{\"normalizer\":{\"type\":\"BertNormalizer\"}," MODEL("{\"a\":0}", "[]", "") "}",
         "normalizer 'BertNormalizer'"},
        {"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," MODEL("{\"a\":0}", "[]", "") "}",
         "pre_tokenizer 'UnicodeScripts'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"
         "," MODEL("{\"a\":0}", "[]", "") "}",
         "pattern '(': missing closing parenthesis"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":"
         "\"Isolated\"}," MODEL("{\"a\":0}", "[]", "") "}",
         "an intersection of classes is not supported"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Sideways\"}"
         "," MODEL("{\"a\":0}", "[]", "") "}",
         "behavior 'Sideways'"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL "," BYTE_LEVEL
         "]}," MODEL("{\"a\":0}", "[]", "") "}",
         "a second pre_tokenizer 'ByteLevel'"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
         ",{\"type\":\"Metaspace\"}]}," MODEL("{\"a\":0}", "[]", "") "}",
         "behind ByteLevel a pre_tokenizer 'Metaspace'"},
        {"{\"post_processor\":{\"type\":\"BertProcessing\"}," MODEL("{\"a\":0}", "[]", "") "}",
         "post_processor 'BertProcessing'"},
        {"{\"decoder\":{\"type\":\"WordPiece\"}," MODEL("{\"a\":0}", "[]", "") "}", "decoder 'WordPiece'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Error e = {0};
        Tokenizer *t = from_json(rows[i].json, &e);
        if (t) fail_msg("accepted, though: %s", rows[i].message);
        if (!strstr(e.message, rows[i].message))
            fail_msg("'%s' does not say '%s'", e.message, rows[i].message);
        assert_int_equal(e.code, ERR_INPUT);
    }
}

static void assert_gguf_refused(Checkpoint *c, const char *message) {
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (t) fail_msg("accepted, though: %s", message);
    if (!strstr(e.message, message)) fail_msg("'%s' does not say '%s'", e.message, message);
    assert_int_equal(e.code, ERR_INPUT);
    checkpoint_close(c);
}

static void refused_gguf(void **state) {
    (void)state;
    assert_gguf_refused(checkpoint_new(FORMAT_GGUF), "tokenizer model '(none)' is not supported");
    assert_gguf_refused(gguf("bert", NULL, byte_tokens, 10), "tokenizer model 'bert' is not supported");
    assert_gguf_refused(gguf("gpt2", "poro-chat", byte_tokens, 10),
                        "pre-tokenizer 'poro-chat' is not supported");
    assert_gguf_refused(gguf("gpt2", "gpt-2", byte_tokens, 10), "tokenizer.ggml.merges");
    assert_gguf_refused(gguf("llama", NULL, byte_tokens, 10), "tokenizer.ggml.scores");
    static char longest[1026];
    memset(longest, 'a', sizeof longest - 1);
    const char *long_token = longest;
    Checkpoint *huge = gguf("llama", NULL, &long_token, 1);
    meta_set_array(huge, "tokenizer.ggml.scores", META_F32, &(float){0}, 1);
    assert_gguf_refused(huge, "token 0 is 1025 bytes long, more than 1024");
    static const char *const unknown[] = {"a b", "a q"}, *const single[] = {"ab"};
    Checkpoint *c = gguf("gpt2", "gpt-2", byte_tokens, 10);
    set_merges(c, unknown, 2);
    assert_gguf_refused(c, "merge 1 ('a q') names tokens the vocabulary lacks");
    c = gguf("gpt2", "gpt-2", byte_tokens, 10);
    set_merges(c, single, 1);
    assert_gguf_refused(c, "merge 0 ('ab') is not a pair");
    c = gguf("gpt2", "gpt-2", byte_tokens, 10);
    meta_set_u32(c, "tokenizer.ggml.tokens", 3);
    assert_gguf_refused(c, "tokenizer.ggml.tokens");
}

/* Every byte inverted, every bit flipped, every cut: opened and usable, or refused as bad input. */
static void damaged_json(void **state) {
    (void)state;
    const char *json =
        "{\"added_tokens\":" ADDED ",\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":" BYTE_LEVEL
        ",\"decoder\":" BYTE_LEVEL "," MODEL(BYTE_VOCAB, BYTE_MERGES, "") "}";
    size_t n = strlen(json);
    char *copy = xmalloc(n + 1);
    for (size_t i = 0; i < n; i++)
        for (int way = 0; way < 4; way++) {
            memcpy(copy, json, n + 1);
            copy[i] = way == 0 ? '\0' : way == 1 ? (char)~json[i] : (char)(json[i] ^ (way == 2 ? 1 : 16));
            Error e = {0};
            Tokenizer *t = from_json(copy, &e);
            if (t)
                ids_of(t, "ab12 <e> ab\n<l>");
            else
                assert_int_equal(e.code, ERR_INPUT);
            tokenizer_close(t);
        }
    free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level),      cmocka_unit_test(long_piece_as_short),
        cmocka_unit_test(added_tokens),    cmocka_unit_test(added_tokens_in_normalized_text),
        cmocka_unit_test(ignore_merges),   cmocka_unit_test(pre_tokenizers),
        cmocka_unit_test(normalizers),     cmocka_unit_test(sentencepiece),
        cmocka_unit_test(metaspace),       cmocka_unit_test(unigram),
        cmocka_unit_test(gguf_byte_level), cmocka_unit_test(gguf_sentencepiece),
        cmocka_unit_test(invalid_utf8),    cmocka_unit_test(no_such_id),
        cmocka_unit_test(refused_json),    cmocka_unit_test(damaged_json),
        cmocka_unit_test(refused_gguf),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
