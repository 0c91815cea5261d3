/* Texts that come in parts have the tokens of the whole text, for tokenizers of every kind, with added tokens
 * and normalisers that reach over the places where a text would be cut. */
#include "formats/meta.h"
#include "recal/random.h"
#include "surgery/tokenizer/text_stream.h"
#include "tests/scratch.h"

#define BAR "\xe2\x96\x81"

static Tokenizer *from_json(const char *text) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    Error e = {0};
    checkpoint_set_file(c, "tokenizer.json", text, strlen(text));
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    checkpoint_close(c);
    return t;
}

/* Added tokens that contain a space, take the spaces beside them, or are searched in normalised text. */
#define ADDED                                                                                                \
    "\"added_tokens\":[{\"id\":90,\"content\":\"<end>\",\"special\":true},"                                  \
    "{\"id\":91,\"content\":\"ab ba\",\"normalized\":false},"                                                \
    "{\"id\":92,\"content\":\"<r>\",\"rstrip\":true},{\"id\":93,\"content\":\"<l>\",\"lstrip\":true},"       \
    "{\"id\":94,\"content\":\"bab\",\"single_word\":true,\"normalized\":false},"                             \
    "{\"id\":95,\"content\":\"caa cab\",\"normalized\":true}],"

/* A byte-level vocabulary: \u0120 stands for a space, \u010a for a newline. Newlines merge with each other,
 * as in GPT-2's. */
#define BYTES                                                                                                \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"c\":3,"            \
    "\"\\u0120\":4,\"\\u010a\":5,\"\\u010a\\u010a\":6,\"ab\":7,\"\\u0120a\":8,\"\\u0120ab\":9,\"1\":10,"     \
    "\"2\":11,\"12\":12,\"\\u0120\\u0120\":13,\".\":14,\".\\u010a\":15,\"ba\":16,\"\\u00c3\":17,"            \
    "\"\\u00a9\":18,\"e\":19,\"\\u00cc\":20,\"\\u0123\":21,\"\\u010a\\u0120\":22},"                          \
    "\"merges\":[\"\\u010a \\u010a\",\"\\u0120 a\",\"a b\",\"\\u0120a b\",\"1 2\",\"\\u0120 \\u0120\","      \
    "\". \\u010a\",\"b a\",\"\\u010a \\u0120\"]}"

/* A vocabulary of SentencePiece's BPE, in the form of tokenizer.json. */
#define PIECES(more, merge)                                                                                  \
    "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"<unk>\","          \
    "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"c\":3,\"" BAR "\":4,\"" BAR "a\":5,\"ab\":6,\"" BAR            \
    "ab\":7,\"1\":8,\"" BAR BAR "\":9,\"ba\":10,\"<0x0A>\":11,\".\":12,\"aa\":13,\"" BAR BAR BAR             \
    "\":15" more "},\"merges\":[\"" BAR " " BAR "\",\"" BAR BAR " " BAR "\",\"" BAR " a\",\"" BAR            \
    "a b\",\"a b\",\"b a\",\"a a\"" merge "]}"
#define LLAMA                                                                                                \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" BAR        \
    "\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" BAR "\"}]},"
#define BYTE_LEVEL(prefix) "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":" prefix "},"
#define METASPACE(scheme, split)                                                                             \
    "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" BAR "\",\"prepend_scheme\":\"" scheme     \
    "\",\"split\":" split "},"
#define LLAMA3                                                                                               \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"          \
    "\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "       \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"                 \
    "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"

static const struct {
    const char *name, *json;
    bool cuts; /* it must not wait for the end of the text */
} kinds[] = {
    {"gpt2", "{" BYTE_LEVEL("false") BYTES "}", true},
    {"gpt2, added tokens", "{" ADDED BYTE_LEVEL("false") BYTES "}", true},
    {"gpt2, prefix space", "{" ADDED BYTE_LEVEL("true") BYTES "}", true},
    {"llama 3", "{" ADDED LLAMA3 BYTES "}", true},
    {"qwen", "{\"normalizer\":{\"type\":\"NFC\"}," ADDED LLAMA3 BYTES "}", true},
    {"llama 2", "{" LLAMA PIECES("", "") "}", true},
    {"llama 2, added tokens", "{" LLAMA ADDED PIECES("", "") "}", true},
    {"metaspace, always", "{" ADDED METASPACE("always", "true") PIECES("", "") "}", true},
    {"metaspace, first", "{" ADDED METASPACE("first", "false") PIECES("", "") "}", true},
    {"metaspace, never", "{" METASPACE("never", "true") PIECES("", "") "}", true},
    {"no pieces at all", "{" ADDED PIECES("", "") "}", true},
    /* words that merge over a space, lines over their end: cut at the other, or nowhere */
    {"merges over spaces", "{" LLAMA PIECES(",\"b" BAR "\":16", ",\"b " BAR "\"") "}", true},
    {"merges over lines",
     "{" LLAMA PIECES(",\"b" BAR "\":16,\"<0x0A>a\":17", ",\"b " BAR "\",\"<0x0A> a\"") "}", false},
    {"strips", "{\"normalizer\":{\"type\":\"Strip\"}," BYTE_LEVEL("false") BYTES "}", false},
};

/* Words, spaces, line ends and added tokens in any order. */
static Buffer nonsense(uint64_t seed, size_t size) {
    static const char *const bits[] = {
        "a",    "b",    "c",    "ab",  " ",  "  ",       " a",        "\n",           "\n\n",
        "\r\n", "\n ",  ".",    "12",  "1",  "\xc3\xa9", "e\xcc\x81", "\xe4\xbd\xa0", "<end>",
        "<r>",  "<l>",  "'s",   "\t",  "ba", "bab",      "ab ba",     "caa cab",      "\xe3\x80\x80",
        " ab",  "<r> ", " <l>", "aab", " b", "cc",       "\xcc\x81"};
    Random r = random_seeded(seed);
    Buffer b = {0};
    while (b.size < size) {
        const char *bit = bits[random_u64(&r) % (sizeof bits / sizeof *bits)];
        buffer_append(&b, bit, strlen(bit));
    }
    return b;
}

static void assert_same_tokens(const char *name, const TokenList *got, const TokenList *whole) {
    for (size_t i = 0; i < got->n && i < whole->n; i++)
        if (got->ids[i] != whole->ids[i])
            fail_msg("%s: token %zu of %zu: %d, of the whole %d", name, i, whole->n, got->ids[i],
                     whole->ids[i]);
    if (got->n != whole->n) fail_msg("%s: %zu tokens, of the whole %zu", name, got->n, whole->n);
}

static void assert_parts_as_whole(const char *name, const Tokenizer *t, const Buffer *text, bool cuts) {
    Random r = random_seeded(text->size);
    TextStream s = {.t = t, .add_special = true, .piece = 1500};
    TokenList whole = {0}, got = {0};
    Error e = {0};
    size_t most = 0;
    assert_true(tokenizer_encode(t, (char *)text->data, text->size, true, &whole, &e));
    for (int again = 0; again < 2; again++) { /* a stream serves one text after the other */
        got.n = 0;
        for (size_t at = 0; at < text->size;) {
            size_t n = random_u64(&r) % 3000;
            if (n > text->size - at) n = text->size - at;
            if (!text_stream_add(&s, (char *)text->data + at, n, &got, &e))
                fail_msg("%s: %s", name, e.message);
            at += n;
            if (s.waiting.size > most) most = s.waiting.size;
        }
        assert_true(text_stream_end(&s, &got, &e));
        assert_same_tokens(name, &got, &whole);
    }
    if (cuts && most > 16000) fail_msg("%s: %zu bytes waited", name, most);
    text_stream_free(&s);
    token_list_free(&whole);
    token_list_free(&got);
}

static void every_kind_of_tokenizer(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Tokenizer *t = from_json(kinds[k].json);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            Buffer text = nonsense(seed, 30000);
            assert_parts_as_whole(kinds[k].name, t, &text, kinds[k].cuts);
            buffer_free(&text);
        }
        tokenizer_close(t);
    }
}

static void from_gguf(void **state) {
    (void)state;
    static const char *const tokens[] = {"<unk>", "<s>", "<0x0A>", "a", "b",     BAR, "ab",
                                         BAR "a", "ba",  BAR "ab", "c", BAR BAR, "1", "<0xC3>"};
    static const float scores[] = {0, 0, 0, -9, -9, -9, -2, -1, -4, -3, -9, -5, -9, 0};
    static const int32_t types[] = {2, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6};
    size_t lengths[14];
    for (int i = 0; i < 14; i++)
        lengths[i] = strlen(tokens[i]);
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    c->path = "small.gguf";
    meta_set_string(c, "tokenizer.ggml.model", "llama", 5);
    meta_set_string_array(c, "tokenizer.ggml.tokens", tokens, lengths, 14);
    meta_set_array(c, "tokenizer.ggml.scores", META_F32, scores, 14);
    meta_set_array(c, "tokenizer.ggml.token_type", META_I32, types, 14);
    meta_set_u32(c, "tokenizer.ggml.bos_token_id", 1);
    meta_set_u32(c, "tokenizer.ggml.unknown_token_id", 0);
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    assert_true(tokenizer_adds_bos(t));
    Buffer text = nonsense(5, 60000);
    assert_parts_as_whole("gguf", t, &text, true);
    TextStream s = {.t = t, .add_special = true};
    TokenList got = {0};
    assert_true(text_stream_end(&s, &got, &e)); /* BOS of nothing, once */
    assert_true(got.n == 1 && got.ids[0] == 1);
    token_list_free(&got);
    buffer_free(&text);
    tokenizer_close(t);
    checkpoint_close(c);
}

/* What was wrong once: a newline cut off from the one before it, a space put before each piece. */
static void cuts_are_where_they_do_no_harm(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        Tokenizer *t = from_json(i ? kinds[5].json : kinds[0].json);
        Buffer text = {0};
        while (text.size < 50000)
            buffer_append(&text, "aaa\n\nb\nab. ", 11);
        assert_parts_as_whole(i ? "words" : "lines", t, &text, true);
        buffer_free(&text);
        tokenizer_close(t);
    }
}

static void errors_name_the_place_in_the_text(void **state) {
    (void)state;
    Tokenizer *t = from_json(kinds[5].json);
    TextStream s = {.t = t, .piece = 2000};
    TokenList got = {0};
    Error e = {0};
    for (int i = 0; i < 10000; i++)
        assert_true(text_stream_add(&s, "ab ba ", 6, &got, &e));
    assert_true(s.waiting.size < 4000);
    assert_true(text_stream_add(&s, "\xff", 1, &got, &e));
    assert_false(text_stream_end(&s, &got, &e));
    assert_string_equal(e.message, "offset 60000: byte 0xff is not valid UTF-8");
    assert_int_equal(e.code, ERR_INPUT);
    text_stream_free(&s);
    token_list_free(&got);
    tokenizer_close(t);
}

static void a_text_without_an_end_to_its_word_is_refused(void **state) {
    (void)state;
    Tokenizer *t = from_json(kinds[0].json);
    TextStream s = {.t = t};
    TokenList got = {0};
    Error e = {0};
    char *piece = xmalloc(1 << 20);
    memset(piece, 'a', 1 << 20);
    int added = 0;
    while (added < 100 && text_stream_add(&s, piece, 1 << 20, &got, &e))
        added++;
    assert_int_equal(added, 63);
    assert_string_equal(e.message, "offset 0: 67108864 bytes of text without a place where they can be cut");
    assert_int_equal(e.code, ERR_INPUT);
    assert_int_equal(got.n, 0);
    free(piece);
    text_stream_free(&s);
    token_list_free(&got);
    tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_tokenizer),
        cmocka_unit_test(from_gguf),
        cmocka_unit_test(cuts_are_where_they_do_no_harm),
        cmocka_unit_test(errors_name_the_place_in_the_text),
        cmocka_unit_test(a_text_without_an_end_to_its_word_is_refused),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
