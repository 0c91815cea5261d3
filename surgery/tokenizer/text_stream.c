/* Encoding a text that comes in parts. Parts are collected until there is about a megabyte, which is then cut
 * at a place where cutting does not change the tokens; what is before it is encoded, the rest waits. A place
 * to cut is the start of a word or of a line. That alone does not make it safe, because an added token, an
 * expression or a normaliser may reach over any place, so a candidate is tested: the text around it has to
 * give the same tokens cut and uncut. */
#include "surgery/tokenizer/text_stream.h"

#include <string.h>

#include "surgery/tokenizer/encode.h"
#include "surgery/tokenizer/unicode.h"

enum { DEFAULT_PIECE = 1 << 20 }; /* bytes that are collected before a place to cut is looked for */
enum { AROUND = 512 };            /* bytes on each side of a candidate that are encoded to test it */
enum { MAX_TRIES = 64 };          /* candidates that are tested before more text is collected */
enum { MAX_WAITING = 64 << 20 };  /* bytes without a place to cut; more is an error */

/* ASCII letters only: pre-tokenizers agree about these. */
static bool is_letter(char c) {
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* Two kinds of places are worth testing: before a space between two ASCII letters, where all pre-tokenizers
 * cut and words of SentencePiece begin; and behind a newline without white space on either side, unless the
 * vocabulary has tokens that reach over newlines. */
static bool is_candidate(const Tokenizer *t, const char *p, size_t n, size_t at) {
    size_t len;
    if (p[at] == ' ')
        return (t->splitters.n || t->markers_start_words) && is_letter(p[at - 1]) && is_letter(p[at + 1]);
    return p[at - 1] == '\n' && (t->splitters.n || t->newlines_end_words) &&
           !is_space_char(previous_char(p, at - 1, &len)) && !is_space_char(next_char(p + at, n - at, &len));
}

/* A continuation byte of UTF-8. */
static bool is_inside_char(char c) {
    return ((uint8_t)c & 0xc0) == 0x80;
}

/* Whether the text around `at` gives the same tokens in one part as in two. */
static bool cut_changes_nothing(const Tokenizer *t, const char *p, size_t n, size_t at) {
    size_t from = at > AROUND ? at - AROUND : 0, to = n - at > AROUND ? at + AROUND : n;
    /* Begin and end at whole characters. */
    while (from < at && is_inside_char(p[from]))
        from++;
    while (to < n && to > at && is_inside_char(p[to]))
        to--;
    TokenList whole = {0}, cut = {0};
    /* `before` is 1, so that nothing is put in front of any part. */
    bool same = encode_part(t, p + from, to - from, 1, &whole, NULL) &&
                encode_part(t, p + from, at - from, 1, &cut, NULL) &&
                encode_part(t, p + at, to - at, 1, &cut, NULL) && whole.n == cut.n &&
                (!cut.n || memcmp(whole.ids, cut.ids, cut.n * sizeof *cut.ids) == 0);
    token_list_free(&whole);
    token_list_free(&cut);
    return same;
}

/* The last place where the text may be cut, at least AROUND bytes before its end; 0 if none was found. After
 * a failed test the search jumps back by a 64th of the text, so that one stretch of unusual text does not use
 * up all tries. */
static size_t find_cut(const Tokenizer *t, const char *p, size_t n) {
    size_t tries = MAX_TRIES;
    for (size_t at = n > AROUND ? n - AROUND : 0; at > 1 && tries; at--) {
        if (!is_candidate(t, p, n, at)) continue;
        if (cut_changes_nothing(t, p, n, at)) return at;
        tries--;
        at -= at > n / MAX_TRIES ? n / MAX_TRIES : at - 1;
    }
    return 0;
}

/* Encodes the first n bytes of what waits and removes them. */
static bool encode_waiting(TextStream *s, size_t n, TokenList *out, Error *e) {
    if (!s->done && s->add_special) encode_prefix(s->t, out);
    if (!encode_part(s->t, (char *)s->waiting.data, n, s->done, out, e)) return false;
    s->waiting.size -= n;
    if (s->waiting.size) memmove(s->waiting.data, s->waiting.data + n, s->waiting.size);
    s->done += n;
    return true;
}

/* Encodes what waits up to the last place to cut. If there is none, twice as much is collected before the
 * next search, so that the time for searching stays proportional to the text. */
static bool encode_up_to_cut(TextStream *s, TokenList *out, Error *e) {
    size_t cut = find_cut(s->t, (char *)s->waiting.data, s->waiting.size);
    if (cut) {
        s->wanted = 0;
        return encode_waiting(s, cut, out, e);
    }
    if (s->waiting.size >= MAX_WAITING)
        return error_set(e, ERR_INPUT, "offset %llu: %d bytes of text without a place where they can be cut",
                         (unsigned long long)s->done, MAX_WAITING);
    s->wanted = 2 * s->waiting.size;
    return true;
}

bool text_stream_add(TextStream *s, const char *text, size_t n, TokenList *out, Error *e) {
    while (n) {
        /* Take as much of the part as is missing until the next search for a place to cut, so that a long
         * part does not have to fit into the buffer at once. */
        if (!s->wanted) s->wanted = s->piece ? s->piece : DEFAULT_PIECE;
        size_t room = s->waiting.size < s->wanted ? s->wanted - s->waiting.size : 0;
        size_t part = n < room ? n : room;
        buffer_append(&s->waiting, text, part);
        text += part;
        n -= part;
        if (s->waiting.size >= s->wanted && !encode_up_to_cut(s, out, e)) return false;
    }
    return true;
}

/* BOS is also put in front of a text without any parts, as tokenizer_encode does with an empty text. */
bool text_stream_end(TextStream *s, TokenList *out, Error *e) {
    bool ok = encode_waiting(s, s->waiting.size, out, e);
    if (ok && s->add_special) encode_suffix(s->t, out);
    s->waiting.size = 0;
    s->done = 0;
    s->wanted = 0;
    return ok;
}

/* Text that still waits is dropped; text_stream_end encodes it. */
void text_stream_free(TextStream *s) {
    buffer_free(&s->waiting);
}
