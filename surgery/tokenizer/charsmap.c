/* SentencePiece's precompiled_charsmap: a double array (darts-clone's) from text to an offset among
 * replacements that end with NUL. Each unit: bit 8: a value hangs here; bits 0-7 and 31: its label; the rest:
 * where its children are. Any bytes may stand there: every step is checked. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/text.h"
#include "surgery/tokenizer/internal.h"

struct Charsmap {
    const uint8_t *units;
    size_t n_units;
    const char *texts;
    size_t n_texts; /* the last is a NUL */
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

/* 0 beyond the end: no label, no value, and children at the root. */
static uint32_t unit_at(const Charsmap *m, size_t i) {
    uint32_t u = 0;
    if (i < m->n_units) memcpy(&u, m->units + 4 * i, sizeof u);
    return u;
}

static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 512) >> 6);
}

/* The length of what `*to` replaces at `text`, by the longest match or the first; 0 if nothing does. */
static size_t match(const Charsmap *m, const char *text, size_t n, bool longest, const char **to) {
    size_t at = offset_of(unit_at(m, 0)), found = 0;
    for (size_t i = 0; i < n && text[i]; i++) {
        uint8_t c = (uint8_t)text[i];
        at ^= c;
        uint32_t unit = unit_at(m, at);
        if ((unit & (1u << 31 | 255)) != c) break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        uint32_t value = unit_at(m, at) & 0x7fffffff;
        if (value >= m->n_texts) continue;
        *to = m->texts + value;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

/* `changed` becomes `text`; it must be UTF-8, for splitters do not check again. */
static bool take(Buffer *text, Buffer *changed, Error *e) {
    buffer_free(text);
    buffer_string(changed); /* not NULL, should nothing be left */
    *text = *changed;
    return text_is_utf8(text->data, text->size) ||
           error_set(e, ERR_INPUT, "precompiled_charsmap puts bytes into a text that are not UTF-8");
}

bool normalize_charsmap(const Normalizer *z, Buffer *text, Error *e) {
    const char *s = (char *)text->data, *to;
    Buffer out = {0};
    for (size_t i = 0, len; i < text->size; i += len) {
        if ((len = match(z->map, s + i, text->size - i, true, &to))) {
            buffer_append(&out, to, strlen(to));
        } else {
            next_char(s + i, text->size - i, &len);
            buffer_append(&out, s + i, len);
        }
    }
    return take(text, &out, e);
}

static void replace_cluster(const Normalizer *z, const char *s, size_t n, Buffer *out) {
    const char *to;
    if (n < 6 && match(z->map, s, n, false, &to)) {
        buffer_append(out, to, strlen(to));
        return;
    }
    for (size_t i = 0, len; i < n; i += len) {
        next_char(s + i, n - i, &len);
        if (match(z->map, s + i, len, false, &to))
            buffer_append(out, to, strlen(to));
        else
            buffer_append(out, s + i, len);
    }
}

/* HF looks at what a reader takes for one character: if that is short, what replaces its beginning replaces
 * all of it. */
bool normalize_precompiled(const Normalizer *z, Buffer *text, Error *e) {
    const char *s = (char *)text->data;
    size_t start = 0;
    int32_t before = -1, state = 0;
    Buffer out = {0};
    for (size_t i = 0, len; i < text->size; i += len) {
        int32_t code = next_char(s + i, text->size - i, &len);
        if (before >= 0 && utf8proc_grapheme_break_stateful(before, code, &state) && !is_new_mark(code)) {
            replace_cluster(z, s + start, i - start, &out);
            start = i;
        }
        before = code;
    }
    replace_cluster(z, s + start, text->size - start, &out);
    return take(text, &out, e);
}
