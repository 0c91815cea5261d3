/* The parts of a tokenizer's state that do not depend on where it was loaded from: room for the vocabulary,
 * and what follows from vocabulary and merges once they are complete. */
#include "surgery/tokenizer/tokenizer_state.h"

#include <stdio.h>
#include <string.h>

#include "surgery/tokenizer/byte_level.h"
#include "surgery/tokenizer/unicode.h"

/* arena_alloc gives zeroed memory, so all ids are without text at first. */
void tokenizer_allocate(Tokenizer *t, size_t n) {
    t->vocab_size = (uint32_t)n;
    t->text = arena_alloc(&t->arena, n * sizeof *t->text);
    t->len = arena_alloc(&t->arena, n * sizeof *t->len);
    t->is_special = arena_alloc(&t->arena, n);
    t->is_added = arena_alloc(&t->arena, n);
}

bool tokenizer_limit_lengths(const Tokenizer *t, const char *where, Error *e) {
    for (uint32_t i = 0; i < t->vocab_size; i++)
        if (t->len[i] > MAX_TOKEN_LENGTH)
            return error_set(e, ERR_INPUT, "%s: token %u is %u bytes long, more than %d", where, i, t->len[i],
                             MAX_TOKEN_LENGTH);
    return true;
}

/* ---- where long text may be cut ----
 *
 * Models of SentencePiece's kind have no pre-tokenizer: a whole text is one piece. If no token reaches over
 * the start of a word, the text may still be cut there without changing any token, which makes encoding
 * faster (encode.c) and lets text come in parts (text_stream.c). A few vocabularies have tokens of several
 * words; those are not cut. */

/* Whether a token has a space marker behind a character other than a marker, which means that it reaches over
 * the start of a word. */
static bool has_inner_marker(const char *s, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (starts_with_marker(s + i, n - i) &&
            !(i >= SPACE_MARKER_SIZE && starts_with_marker(s + i - SPACE_MARKER_SIZE, SPACE_MARKER_SIZE)))
            return true;
    return false;
}

/* Whether a token has a newline, or the token <0x0A> of its byte, with something else behind it, which means
 * that it reaches over the start of a line. */
static bool has_inner_newline(const char *s, size_t n) {
    static const char byte_token[] = "<0x0A>";
    if (n > sizeof byte_token - 1 && memmem(s, n, byte_token, sizeof byte_token - 1)) return true;
    for (size_t i = 0; i + 1 < n; i++)
        if (s[i] == '\n' && s[i + 1] != '\n') return true;
    return false;
}

/* Takes one token into account that text may become: one such token with a word's start inside is enough to
 * forbid cutting there. */
static void check_token(Tokenizer *t, int32_t id) {
    if (has_inner_marker(t->text[id], t->len[id])) t->markers_start_words = false;
    if (has_inner_newline(t->text[id], t->len[id])) t->newlines_end_words = false;
}

/* Sets markers_start_words and newlines_end_words, on which encode.c and text_stream.c rely. */
static void find_word_borders(Tokenizer *t) {
    bool long_pieces = !t->byte_level && !t->ignore_merges;
    t->markers_start_words = long_pieces && text_map_get(&t->vocab, space_marker, SPACE_MARKER_SIZE) >= 0;
    t->newlines_end_words = long_pieces && (!t->unigram || text_map_get(&t->vocab, "\n", 1) >= 0);
    if (!long_pieces) return;
    if (t->unigram) { /* any token may be chosen */
        for (uint32_t i = 0; i < t->vocab_size; i++)
            if (t->text[i]) check_token(t, (int32_t)i);
        return;
    }
    for (size_t i = 0; i < t->merges.capacity; i++) /* only tokens that some merge makes */
        if (t->merges.slots[i].pair) check_token(t, t->merges.slots[i].merged);
}

/* Called once the vocabulary, merges and added tokens are complete. */
void tokenizer_derive(Tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        if (t->byte_level)
            byte_to_printable((uint8_t)b, name);
        else
            snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_id[b] = text_map_get(&t->vocab, name, strlen(name));
    }
    find_word_borders(t);
}
