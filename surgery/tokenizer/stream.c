/* A text that comes in parts. It is cut where a word or a line begins, and there only if the text around
 * gives the same tokens cut and uncut: an added token, a pattern or a normaliser may reach over any place. */
#include <string.h>

#include "surgery/tokenizer/internal.h"

enum { PIECE = 1 << 20, AROUND = 512, TRIES = 64, MAX_WAITING = 64 << 20 };

static bool is_letter(char c) {
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

/* Before the space between two letters every pre-tokenizer cuts, and SentencePiece's words begin; after a
 * newline between what is no space too, if it joins nothing to what follows. */
static bool is_candidate(const Tokenizer *t, const char *p, size_t n, size_t at) {
    size_t len;
    if (p[at] == ' ')
        return (t->n_splitters || t->bars_start_words) && is_letter(p[at - 1]) && is_letter(p[at + 1]);
    return p[at - 1] == '\n' && (t->n_splitters || t->newlines_end_words) &&
           !is_space_char(previous_char(p, at - 1, &len)) && !is_space_char(next_char(p + at, n - at, &len));
}

static bool inside_char(char c) {
    return ((uint8_t)c & 0xc0) == 0x80;
}

static bool cut_changes_nothing(const Tokenizer *t, const char *p, size_t n, size_t at) {
    size_t from = at > AROUND ? at - AROUND : 0, to = n - at > AROUND ? at + AROUND : n;
    while (from < at && inside_char(p[from]))
        from++;
    while (to < n && to > at && inside_char(p[to]))
        to--;
    TokenList whole = {0}, cut = {0};
    bool same = encode_part(t, p + from, to - from, 1, &whole, NULL) &&
                encode_part(t, p + from, at - from, 1, &cut, NULL) &&
                encode_part(t, p + at, to - at, 1, &cut, NULL) && whole.n == cut.n &&
                (!cut.n || memcmp(whole.ids, cut.ids, cut.n * sizeof *cut.ids) == 0);
    token_list_free(&whole);
    token_list_free(&cut);
    return same;
}

/* The last place where `p` may be cut, with enough text behind it; 0: none was found. */
static size_t find_cut(const Tokenizer *t, const char *p, size_t n) {
    size_t tries = TRIES;
    for (size_t at = n > AROUND ? n - AROUND : 0; at > 1 && tries; at--) {
        if (!is_candidate(t, p, n, at)) continue;
        if (cut_changes_nothing(t, p, n, at)) return at;
        tries--;
        at -= at > n / TRIES ? n / TRIES : at - 1;
    }
    return 0;
}

/* Encodes the first n bytes of what waits. */
static bool take(TextStream *s, size_t n, TokenList *out, Error *e) {
    if (!s->done && s->add_special) append_prefix(s->t, out);
    if (!encode_part(s->t, (char *)s->waiting.data, n, s->done, out, e)) return false;
    s->waiting.size -= n;
    if (s->waiting.size) memmove(s->waiting.data, s->waiting.data + n, s->waiting.size);
    s->done += n;
    return true;
}

static bool take_what_is_certain(TextStream *s, TokenList *out, Error *e) {
    size_t cut = find_cut(s->t, (char *)s->waiting.data, s->waiting.size);
    if (cut) {
        s->enough = 0;
        return take(s, cut, out, e);
    }
    if (s->waiting.size >= MAX_WAITING)
        return error_set(e, ERR_INPUT, "offset %llu: %d bytes of text without a place to cut them",
                         (unsigned long long)s->done, MAX_WAITING);
    s->enough = 2 * s->waiting.size;
    return true;
}

bool text_stream_add(TextStream *s, const char *text, size_t n, TokenList *out, Error *e) {
    while (n) {
        if (!s->enough) s->enough = s->piece ? s->piece : PIECE;
        size_t room = s->waiting.size < s->enough ? s->enough - s->waiting.size : 0;
        size_t part = n < room ? n : room;
        buffer_append(&s->waiting, text, part);
        text += part;
        n -= part;
        if (s->waiting.size >= s->enough && !take_what_is_certain(s, out, e)) return false;
    }
    return true;
}

bool text_stream_end(TextStream *s, TokenList *out, Error *e) {
    bool ok = take(s, s->waiting.size, out, e);
    if (ok && s->add_special) append_suffix(s->t, out);
    s->waiting.size = 0;
    s->done = 0;
    s->enough = 0;
    return ok;
}

void text_stream_free(TextStream *s) {
    buffer_free(&s->waiting);
}
