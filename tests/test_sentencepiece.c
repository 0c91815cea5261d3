/* Tests of formats/sentencepiece.h and of the tokenizers made from such files: what is read, which tokens
 * result, and files that are damaged. */
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/tokenizer.h"
#include "tests/scratch.h"

#define BAR "\xe2\x96\x81"

/* ---- protobuf by hand ---- */

static void put_varint(Buffer *b, uint64_t v) {
    for (; v > 127; v >>= 7)
        buffer_byte(b, (uint8_t)(v | 128));
    buffer_byte(b, (uint8_t)v);
}

static void put_number(Buffer *b, uint32_t field, uint64_t v) {
    put_varint(b, field << 3);
    put_varint(b, v);
}

static void put_bytes(Buffer *b, uint32_t field, const void *bytes, size_t n) {
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    buffer_append(b, bytes, n);
}

static void put_piece(Buffer *b, const char *text, float score, uint32_t type) {
    Buffer p = {0};
    put_bytes(&p, 1, text, strlen(text));
    put_varint(&p, 2 << 3 | 5);
    buffer_append(&p, &score, sizeof score);
    if (type != PIECE_NORMAL) put_number(&p, 3, type);
    put_bytes(b, 1, p.data, p.size);
    buffer_free(&p);
}

typedef struct Settings {
    uint32_t model, bytes, prefix, squeeze;
    const void *charsmap;
    size_t charsmap_size;
} Settings;

static void put_settings(Buffer *b, Settings s) {
    Buffer trainer = {0}, normalizer = {0};
    put_number(&trainer, 3, s.model);
    put_number(&trainer, 35, s.bytes);
    put_number(&trainer, 43, UINT64_MAX); /* pad: -1 */
    put_number(&normalizer, 3, s.prefix);
    put_number(&normalizer, 4, s.squeeze);
    if (s.charsmap) put_bytes(&normalizer, 2, s.charsmap, s.charsmap_size);
    put_bytes(b, 2, trainer.data, trainer.size);
    put_bytes(b, 3, normalizer.data, normalizer.size);
    buffer_free(&trainer);
    buffer_free(&normalizer);
}

static Buffer some_model(Settings s) {
    Buffer b = {0};
    put_piece(&b, "<unk>", 0, PIECE_UNKNOWN);
    put_piece(&b, "<s>", 0, PIECE_CONTROL);
    put_piece(&b, "</s>", 0, PIECE_CONTROL);
    put_piece(&b, "<0xC3>", 0, PIECE_BYTE);
    put_piece(&b, "<0xA9>", 0, PIECE_BYTE);
    put_piece(&b, BAR, -3, PIECE_NORMAL);
    put_piece(&b, "a", -4, PIECE_NORMAL);
    put_piece(&b, "b", -5, PIECE_NORMAL);
    put_piece(&b, "ab", -1, PIECE_NORMAL);
    put_piece(&b, BAR "ab", -2, PIECE_NORMAL);
    put_piece(&b, BAR BAR, 0, PIECE_USER);
    put_settings(&b, s);
    return b;
}

static const Settings llama = {.model = PIECES_BPE, .bytes = 1, .prefix = 1};

/* ---- reading ---- */

static void reads_pieces_and_settings(void **state) {
    (void)state;
    Buffer b = some_model(llama);
    SentencePiece m;
    Error e = {0};
    if (!sentencepiece_read(&m, b.data, b.size, "x", &e)) fail_msg("%s", e.message);
    assert_int_equal(m.n, 11);
    assert_int_equal(m.model, PIECES_BPE);
    assert_true(m.byte_fallback && m.dummy_prefix && !m.squeeze_spaces && m.mark_spaces);
    assert_int_equal(m.unk, 0);
    assert_int_equal(m.bos, 1);
    assert_int_equal(m.eos, 2);
    assert_int_equal(m.pad, -1);
    assert_null(m.charsmap);
    assert_int_equal(m.pieces[9].len, 5);
    assert_memory_equal(m.pieces[9].text, BAR "ab", 5);
    assert_true(m.pieces[9].score == -2);
    assert_int_equal(m.pieces[10].type, PIECE_USER);
    sentencepiece_free(&m);
    buffer_free(&b);
}

static void refused(const void *bytes, size_t n, const char *says) {
    uint8_t *exact = xmalloc(n ? n : 1); /* so that a sanitizer sees the first byte past the end */
    memcpy(exact, bytes, n);
    SentencePiece m;
    Error e = {0};
    if (sentencepiece_read(&m, exact, n, "x", &e)) fail_msg("accepted, though: %s", says);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_INPUT);
    free(exact);
}

static void refuses_damage_by_its_offset(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } rows[] = {
        {"", 0, "x: contains no pieces"},
        {"\x0a", 1, "x: offset 1: a number is cut off"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11, "offset 1: a number of more than 64 bits"},
        {"\x0a\x7f"
         "ab",
         4, "offset 0: field 1 has 127 bytes, its message has 2 left"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "has 18446744073709551615 bytes"},
        {"\x0b", 1, "offset 0: wire type 3, which protobuf 3 does not have"},
        {"\x02\x00", 2, "offset 0: an invalid protobuf field number"},
        {"\x08\x01", 2, "offset 0: a part of the model has wire type 0, expected 2"},
        {"\x0a\x00", 2, "the text of piece 0 is missing, too long or not valid UTF-8"},
        {"\x0a\x02\x0a\x00", 4, "the text of piece 0 is missing"},
        {"\x0a\x03\x0a\x01\xff", 5, "the text of piece 0 is missing, too long or not valid UTF-8"},
        {"\x0a\x03\x0a\x01\x00", 5, "the text of piece 0 is missing, too long or not valid UTF-8"},
        {"\x0a\x02\x08\x01", 4, "offset 2: a piece's text has wire type 0, expected 2"},
        {"\x0a\x05\x0a\x01"
         "a"
         "\x10\x01",
         7, "offset 5: a piece's score has wire type 0, expected 5"},
        {"\x0a\x08\x0a\x01"
         "a"
         "\x15\x00\x00\xc0\x7f",
         10, "the score of piece 0 is not a finite number"},
        {"\x0a\x05\x0a\x01"
         "a"
         "\x15\x00",
         7, "offset 5: a field is cut off"},
        {"\x0a\x05\x0a\x01"
         "a"
         "\x18\x07",
         7, "offset 5: piece 0 has type 7, types are 1 to 6"},
        {"\x12\x02\x18\x09", 4, "offset 2: the model_type is not one of unigram, bpe, word, char"},
        {"\x12\x03\x1a\x01"
         "a",
         5, "offset 2: a setting of trainer_spec has wire type 2, expected 0"},
        {"\x1a\x02\x10\x01", 4, "offset 2: precompiled_charsmap has wire type 0, expected 2"},
        {"\x1a\x02\x1a\x00", 4, "offset 2: a setting of normalizer_spec has wire type 2, expected 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(rows[i].bytes, rows[i].n, rows[i].says);
}

/* ---- tokens ---- */

static Checkpoint *folder_of(const Buffer *model) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    c->path = "model";
    checkpoint_set_file(c, "tokenizer.model", model->data, model->size);
    return c;
}

static const char *ids_of(const Tokenizer *t, const char *text) {
    static char line[1024];
    TokenList l = {0};
    Error e = {0};
    int at = 0;
    *line = 0;
    if (!tokenizer_encode(t, text, strlen(text), true, &l, &e)) fail_msg("%s", e.message);
    for (size_t i = 0; i < l.n; i++)
        at += snprintf(line + at, sizeof line - (size_t)at, i ? " %d" : "%d", l.ids[i]);
    token_list_free(&l);
    return line;
}

/* Checks tokenizations: text, tokens, text, tokens, ..., NULL. */
static void check_tokens(Settings s, const char *const *pairs) {
    Buffer b = some_model(s);
    Checkpoint *c = folder_of(&b);
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    for (; *pairs; pairs += 2)
        assert_string_equal(ids_of(t, pairs[0]), pairs[1]);
    tokenizer_close(t);
    checkpoint_close(c);
    buffer_free(&b);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void makes_tokens_as_the_library(void **state) {
    (void)state;
    check_tokens(llama, PAIRS("", "1", "ab", "1 9", "abab", "1 9 8", "\xc3\xa9", "1 5 3 4", "ab  ab",
                              "1 9 10 8", " ab", "1 10 8", "a</s>b", "1 5 6 2 5 7", "x", "1 5 0"));
    Settings s = llama;
    s.prefix = 0;
    check_tokens(s, PAIRS("ab ab", "1 8 9"));
    s.squeeze = 1;
    check_tokens(s, PAIRS("  ab   ab ", "1 8 9", " ", "1"));
    check_tokens(s, PAIRS("axyb", "1 6 0 7")); /* unknown characters in a row are one */
    s = (Settings){.model = PIECES_UNIGRAM, .prefix = 1, .squeeze = 1};
    check_tokens(s, PAIRS("", "2", "abab", "9 8 2", " a  xx", "5 6 5 0 2"));
}

/* A charsmap that turns "x" into "ab". It is a double array: the children of the root are at 1, the unit of
 * "x" is at 1 ^ 'x', and its value at that ^ 2. */
static void charsmaps_replace_text_and_stay_in_bounds(void **state) {
    (void)state;
    enum { UNITS = 256, X = 1 ^ 'x' };
    uint32_t map[1 + UNITS] = {4 * UNITS};
    map[1 + 0] = 1 << 10;
    map[1 + X] = 2 << 10 | 1 << 8 | 'x';
    map[1 + (X ^ 2)] = 1u << 31 | 1;
    Buffer b = {0};
    buffer_append(&b, map, sizeof map);
    buffer_append(&b, "\0ab", 4);
    Settings s = llama;
    s.charsmap = b.data;
    s.charsmap_size = b.size;
    check_tokens(s, PAIRS("x", "1 9", "xx", "1 9 8", "a", "1 5 6"));
    ((uint32_t *)b.data)[1 + (X ^ 2)] = 1u << 31; /* the empty text */
    check_tokens(s, PAIRS("x", "1", "axb", "1 9"));
    ((uint32_t *)b.data)[1 + (X ^ 2)] = 1u << 31 | 4;
    buffer_append(&b, "\xff", 2);
    s.charsmap = b.data;
    s.charsmap_size = b.size;
    Buffer bad = some_model(s);
    Checkpoint *broken = folder_of(&bad);
    Error refusal = {0};
    Tokenizer *writes_ff = tokenizer_open(broken, &refusal);
    TokenList none = {0};
    assert_non_null(writes_ff);
    assert_false(tokenizer_encode(writes_ff, "ax", 2, false, &none, &refusal));
    assert_string_equal(refusal.message, "precompiled_charsmap puts bytes into a text that are not UTF-8");
    token_list_free(&none);
    tokenizer_close(writes_ff);
    checkpoint_close(broken);
    buffer_free(&bad);
    /* Whatever the units of the double array say, nothing past its end is read. */
    for (size_t i = 0; i < UNITS; i++)
        ((uint32_t *)b.data)[1 + i] = 0xffffffffu << (i % 32);
    Buffer model = some_model(s);
    Checkpoint *c = folder_of(&model);
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    TokenList any = {0};
    if (!tokenizer_encode(t, "abxy \xc3\xa9\xf4\x8f\xbf\xbf", 11, true, &any, &e))
        assert_int_equal(e.code, ERR_INPUT);
    token_list_free(&any);
    tokenizer_close(t);
    checkpoint_close(c);
    buffer_free(&model);
    buffer_free(&b);
}

static void open_refused(Settings s, const char *file, const char *content, const char *says) {
    Buffer b = some_model(s);
    Checkpoint *c = folder_of(&b);
    if (file) checkpoint_set_file(c, file, content, strlen(content));
    Error e = {0};
    if (tokenizer_open(c, &e)) fail_msg("accepted, though: %s", says);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_INPUT);
    checkpoint_close(c);
    buffer_free(&b);
}

static void refuses_what_is_not_supported_by_name(void **state) {
    (void)state;
    Buffer unused = some_model(llama);
    put_piece(&unused, "aa", -1, PIECE_UNUSED);
    Checkpoint *c = folder_of(&unused);
    Error e = {0};
    assert_null(tokenizer_open(c, &e));
    assert_string_equal(e.message, "model/tokenizer.model: pieces that may not be used: not supported");
    checkpoint_close(c);
    buffer_free(&unused);
    open_refused((Settings){.model = PIECES_WORD}, NULL, NULL,
                 "model/tokenizer.model: a model of words: not supported");
    open_refused((Settings){.model = PIECES_CHAR}, NULL, NULL, "a model of characters: not supported");
    open_refused((Settings){.model = PIECES_BPE, .charsmap = "abc", .charsmap_size = 3}, NULL, NULL,
                 "precompiled_charsmap of 3 bytes");
    open_refused(llama, "added_tokens.json", "{\"<n>\":\"x\"}",
                 "added_tokens.json: the id of '<n>' is not a number");
    open_refused(llama, "added_tokens.json", "{\"<n>\":99999999}",
                 "token '<n>' has id 99999999 in a vocabulary of 11");
    open_refused(llama, "tokenizer_config.json", "{\"added_tokens_decoder\":{\"1x\":{\"content\":\"a\"}}}",
                 "added_tokens_decoder: '1x' is not an id");
    open_refused(llama, "tokenizer_config.json", "{", "tokenizer_config.json:1:");
}

/* Files cut at each length and with each bit flipped are either opened and usable, or refused as wrong
 * input. */
static void every_damage_is_usable_or_bad_input(void **state) {
    (void)state;
    Buffer b = some_model(llama);
    for (size_t i = 0; i < 9 * b.size; i++) {
        size_t at = i / 9, bit = i % 9;
        Buffer copy = {0};
        buffer_append(&copy, b.data, bit == 8 ? at : b.size);
        buffer_string(&copy); /* not NULL, if it is empty */
        if (bit < 8) copy.data[at] ^= (uint8_t)(1u << bit);
        Checkpoint *c = folder_of(&copy);
        Error e = {0};
        Tokenizer *t = tokenizer_open(c, &e);
        if (t)
            ids_of(t, "ab  ab \xc3\xa9</s>x");
        else
            assert_int_equal(e.code, ERR_INPUT);
        tokenizer_close(t);
        checkpoint_close(c);
        buffer_free(&copy);
    }
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_pieces_and_settings),
        cmocka_unit_test(refuses_damage_by_its_offset),
        cmocka_unit_test(makes_tokens_as_the_library),
        cmocka_unit_test(charsmaps_replace_text_and_stay_in_bounds),
        cmocka_unit_test(refuses_what_is_not_supported_by_name),
        cmocka_unit_test(every_damage_is_usable_or_bad_input),
    };
    return cmocka_run_group_tests_name("sentencepiece", tests, NULL, NULL);
}
