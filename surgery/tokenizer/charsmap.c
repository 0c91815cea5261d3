/* SentencePiece's precompiled_charsmap, a table that replaces characters before a text is cut (its nmt_nfkc
 * rules, for example). The bytes are: the size of a trie (32 bits), the trie, and the replacement texts, each
 * ended by a NUL. The trie maps a text to the offset of its replacement. It is a double array as the library
 * darts-clone writes it: an array of 32-bit units, in which the child of a node by byte c lies at place (base
 * of the node) ^ c.
 *
 * A unit that is a node has the byte by which it is reached in bits 0 to 7, a flag in bit 8 (a value hangs
 * below it, at its base), a flag in bit 9 (its base is shifted by 8 bits more), and the base as a distance
 * from its own place in bits 10 to 31. A unit that holds a value has bit 31 set and the value in bits 0 to
 * 30. Bit 31 counts as part of the label, so that a value never matches a byte.
 *
 * The bytes come from a file and may be anything, so each access is checked (unit_at). */
#include "surgery/tokenizer/charsmap.h"

#include <string.h>
#include <utf8proc.h>

#include "formats/text.h"
#include "surgery/tokenizer/unicode.h"

struct Charsmap {
    const uint8_t *units; /* (n_units), 32 bits each, in little endian and not aligned */
    size_t n_units;
    const char *texts; /* the replacements */
    size_t n_texts;    /* their bytes, the last of which is a NUL */
};

const Charsmap *charsmap_open(Arena *a, const uint8_t *bytes, size_t n, const char *where, Error *e) {
    uint32_t size = 0;
    if (n >= sizeof size) memcpy(&size, bytes, sizeof size);
    if (n <= sizeof size || size % 4 || size == 0 || size > n - sizeof size - 1 || bytes[n - 1] != 0) {
        error_set(e, ERR_INPUT, "%s: precompiled_charsmap of %zu bytes: its table of %u does not fit", where,
                  n, size);
        return NULL;
    }
    uint8_t *copy = arena_alloc(a, n);
    memcpy(copy, bytes, n);
    Charsmap *m = arena_alloc(a, sizeof *m);
    *m = (Charsmap){.units = copy + sizeof size, .n_units = size / 4};
    m->texts = (char *)m->units + size;
    m->n_texts = n - sizeof size - size;
    return m;
}

/* Unit i; beyond the end of the array 0, a unit that no byte but NUL leads to and that has no value. */
static uint32_t unit_at(const Charsmap *m, size_t i) {
    uint32_t u = 0;
    if (i < m->n_units) memcpy(&u, m->units + 4 * i, sizeof u);
    return u;
}

/* How far the base of a unit is from its own place (combined by exclusive or). */
static size_t base_distance(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 512) >> 6);
}

/* Searches the map for a beginning of `text`, the longest or the shortest one that is in it. Returns its
 * length and sets `*to` to the replacement; 0 if there is none. */
static size_t match(const Charsmap *m, const char *text, size_t n, bool longest, const char **to) {
    size_t at = base_distance(unit_at(m, 0)), found = 0;
    for (size_t i = 0; i < n && text[i]; i++) {
        /* Go down by one byte, and check by the label that this place belongs to it. */
        uint8_t c = (uint8_t)text[i];
        at ^= c;
        uint32_t unit = unit_at(m, at);
        if ((unit & (1u << 31 | 255)) != c) break;
        at ^= base_distance(unit); /* now the base of the new node */
        if (!(unit >> 8 & 1)) continue;
        uint32_t value = unit_at(m, at) & 0x7fffffff;
        if (value >= m->n_texts) continue;
        *to = m->texts + value;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

/* Makes `changed` the text. Its replacements come from a file, so it is checked to be UTF-8, which later
 * steps rely on. */
static bool replace_text(Buffer *text, Buffer *changed, Error *e) {
    buffer_free(text);
    buffer_string(changed); /* its data is not NULL even if the text is empty now */
    *text = *changed;
    return text_is_utf8(text->data, text->size) ||
           error_set(e, ERR_INPUT, "precompiled_charsmap puts bytes into a text that are not UTF-8");
}

bool normalize_charsmap(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    const char *s = (char *)text->data, *to;
    Buffer out = {0};
    /* The loop ends early once the text has become too long, which normalize_fits then reports. */
    for (size_t i = 0, len; i < text->size && out.size <= limit; i += len) {
        if ((len = match(z->map, s + i, text->size - i, true, &to))) {
            buffer_append(&out, to, strlen(to));
        } else {
            next_char(s + i, text->size - i, &len);
            buffer_append(&out, s + i, len);
        }
    }
    return replace_text(text, &out, e) && normalize_fits(text->size, limit, e);
}

/* Appends a cluster with its replacement. HF looks up clusters of fewer than 6 bytes as a whole, and
 * otherwise each of their characters; it takes the shortest match and replaces all that it looked up, even if
 * the match is shorter. Ends early once `out` is longer than `limit`. */
static void replace_cluster(const Normalizer *z, const char *s, size_t n, size_t limit, Buffer *out) {
    const char *to;
    if (out->size <= limit && n < 6 && match(z->map, s, n, false, &to)) {
        buffer_append(out, to, strlen(to));
        return;
    }
    for (size_t i = 0, len; i < n && out->size <= limit; i += len) {
        next_char(s + i, n - i, &len);
        if (match(z->map, s + i, len, false, &to))
            buffer_append(out, to, strlen(to));
        else
            buffer_append(out, s + i, len);
    }
}

/* HF cuts the text into grapheme clusters (UAX #29), what a reader takes for one character. utf8proc's rules
 * are older than Unicode 16, so marks that are newer are joined to the character before them here. */
bool normalize_precompiled(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    const char *s = (char *)text->data;
    size_t start = 0;
    int32_t before = -1, state = 0;
    Buffer out = {0};
    for (size_t i = 0, len; i < text->size && out.size <= limit; i += len) {
        int32_t code = next_char(s + i, text->size - i, &len);
        if (before >= 0 && utf8proc_grapheme_break_stateful(before, code, &state) && !is_new_mark(code)) {
            replace_cluster(z, s + start, i - start, limit, &out);
            start = i;
        }
        before = code;
    }
    replace_cluster(z, s + start, text->size - start, limit, &out);
    return replace_text(text, &out, e) && normalize_fits(text->size, limit, e);
}
