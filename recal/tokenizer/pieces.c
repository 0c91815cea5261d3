/* From text to pieces: normalisers and pre-tokenisers, each a row of HF tokenizers' own list. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "recal/tokenizer/internal.h"

const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

size_t utf8_valid(const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        if ((uint8_t)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t code;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &code);
        if (len <= 0) return i;
        i += (size_t)len;
    }
    return n;
}

/* ---- patterns ---- */

/* PCRE2's \s is Unicode's White_Space but for U+0085. */
static void widen_spaces(const char *pattern, Buffer *out) {
    bool in_class = false;
    for (const char *p = pattern; *p; p++) {
        if (*p == '\\' && p[1]) {
            if (p[1] == 's')
                buffer_printf(out, in_class ? "\\s\\x{85}" : "[\\s\\x{85}]");
            else if (p[1] == 'S' && !in_class)
                buffer_printf(out, "[^\\s\\x{85}]");
            else
                buffer_append(out, p, 2);
            p++;
            continue;
        }
        if (*p == '[') in_class = true;
        if (*p == ']') in_class = false;
        buffer_byte(out, (uint8_t)*p);
    }
}

bool splitter_compile(Splitter *s, const char *pattern, const char *where, Error *e) {
    Buffer wide = {0};
    widen_spaces(pattern, &wide);
    int code;
    PCRE2_SIZE offset;
    s->kind = SPLITTER_PATTERN;
    s->pattern = pcre2_compile((PCRE2_SPTR)buffer_string(&wide), wide.size,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &offset, NULL);
    buffer_free(&wide);
    if (!s->pattern) {
        PCRE2_UCHAR text[160];
        pcre2_get_error_message(code, text, sizeof text);
        return error_set(e, ERR_INPUT, "%s: pattern '%.80s': offset %zu: %s", where, pattern, (size_t)offset,
                         (char *)text);
    }
    pcre2_jit_compile(s->pattern, PCRE2_JIT_COMPLETE); /* where it cannot, matching is only slower */
    return true;
}

/* ---- normalisers ---- */

static bool map_unicode(Buffer *text, int options, Error *e) {
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n =
        utf8proc_map(text->data, (utf8proc_ssize_t)text->size, &mapped, (utf8proc_option_t)options);
    if (n < 0) return error_set(e, ERR_INPUT, "normalising text: %s", utf8proc_errmsg(n));
    text->size = 0;
    buffer_append(text, mapped, (size_t)n);
    free(mapped);
    return true;
}

static void lower(Buffer *text) {
    Buffer out = {0};
    for (size_t i = 0; i < text->size;) {
        utf8proc_int32_t code;
        utf8proc_uint8_t bytes[4];
        i += (size_t)utf8proc_iterate(text->data + i, (utf8proc_ssize_t)(text->size - i), &code);
        buffer_append(&out, bytes, (size_t)utf8proc_encode_char(utf8proc_tolower(code), bytes));
    }
    buffer_free(text);
    *text = out;
}

static void replace(Buffer *text, const char *from, const char *to) {
    size_t n = strlen(from), m = strlen(to);
    Buffer out = {0};
    for (size_t i = 0; i < text->size;) {
        if (n && text->size - i >= n && memcmp(text->data + i, from, n) == 0) {
            buffer_append(&out, to, m);
            i += n;
        } else {
            buffer_byte(&out, text->data[i++]);
        }
    }
    buffer_free(text);
    *text = out;
}

static bool is_space_at(const uint8_t *p, size_t n, size_t *len) {
    utf8proc_int32_t code;
    utf8proc_ssize_t l = utf8proc_iterate(p, (utf8proc_ssize_t)n, &code);
    *len = l > 0 ? (size_t)l : 1;
    utf8proc_category_t c = utf8proc_category(code);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP ||
           (code >= 9 && code <= 13) || code == 0x85;
}

static void strip(Buffer *text, bool left, bool right) {
    size_t from = 0, to = text->size, len;
    while (left && from < to && is_space_at(text->data + from, to - from, &len))
        from += len;
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && (text->data[at] & 0xc0) == 0x80)
            at--;
        if (!is_space_at(text->data + at, to - at, &len)) break;
        to = at;
    }
    if (to > from) memmove(text->data, text->data + from, to - from);
    text->size = to - from;
}

bool normalize(const Tokenizer *t, const char *text, size_t n, Buffer *out, Error *e) {
    buffer_append(out, text, n);
    for (size_t i = 0; i < t->n_normalizers; i++) {
        const Normalizer *z = &t->normalizers[i];
        if (z->kind == NORMALIZE_UNICODE && !map_unicode(out, z->form, e)) return false;
        if (z->kind == NORMALIZE_LOWERCASE) lower(out);
        if (z->kind == NORMALIZE_REPLACE) replace(out, z->from, z->to);
        if (z->kind == NORMALIZE_STRIP) strip(out, z->left, z->right);
        if (z->kind == NORMALIZE_PREPEND && out->size) {
            Buffer longer = {0};
            buffer_append(&longer, z->to, strlen(z->to));
            buffer_append(&longer, out->data, out->size);
            buffer_free(out);
            *out = longer;
        }
    }
    return true;
}

/* ---- pre-tokenisers: each step cuts every piece of the one before ---- */

typedef struct Cutter {
    const Tokenizer *t;
    bool first;
    PieceSink sink;
    void *context;
    Error *e;
} Cutter;

static bool cut(const Cutter *c, size_t step, const char *p, size_t n);

/* One stretch, matched by the splitter or between matches. */
typedef struct Stretch {
    size_t from, to;
    bool matched;
} Stretch;

/* Keeps the open piece while behaviours join stretches. */
typedef struct Joiner {
    const Cutter *c;
    size_t step;
    const char *text;
    SplitBehavior behavior;
    size_t from, to; /* open piece */
    bool open, matched;
} Joiner;

static bool flush(Joiner *j) {
    bool was = j->open;
    j->open = false;
    return !was || j->from == j->to || cut(j->c, j->step + 1, j->text + j->from, j->to - j->from);
}

static bool join(Joiner *j, Stretch s) {
    if (s.from == s.to) return true;
    if (j->behavior == SPLIT_REMOVED && s.matched) return flush(j);
    bool together = j->open && ((j->behavior == SPLIT_WITH_PREVIOUS && s.matched && !j->matched) ||
                                (j->behavior == SPLIT_WITH_NEXT && j->matched && !s.matched) ||
                                (j->behavior == SPLIT_CONTIGUOUS && j->matched == s.matched));
    if (!together) {
        if (!flush(j)) return false;
        j->from = s.from;
    }
    j->to = s.to;
    j->matched = s.matched;
    j->open = true;
    return true;
}

static bool cut_by_pattern(const Cutter *c, size_t step, const char *p, size_t n) {
    const Splitter *s = &c->t->splitters[step];
    Joiner j = {.c = c, .step = step, .text = p, .behavior = s->behavior};
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(s->pattern, NULL);
    size_t at = 0, end = 0;
    bool ok = true;
    while (ok && at <= n) {
        int found = pcre2_match(s->pattern, (PCRE2_SPTR)p, n, at, PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH) break;
        if (found < 0) {
            ok =
                error_set(c->e, ERR_INPUT,
                          "cutting text at offset %zu of a piece of %zu bytes: PCRE2 error %d", at, n, found);
            break;
        }
        PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        ok =
            join(&j, (Stretch){end, span[0], s->invert}) && join(&j, (Stretch){span[0], span[1], !s->invert});
        end = span[1];
        at = span[1] > span[0] ? span[1] : span[1] + 1;
        while (at < n && ((uint8_t)p[at] & 0xc0) == 0x80)
            at++;
    }
    pcre2_match_data_free(match);
    return ok && join(&j, (Stretch){end, n, s->invert}) && flush(&j);
}

static bool is_number(const char *p, size_t n, size_t *len) {
    utf8proc_int32_t code;
    utf8proc_ssize_t l = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &code);
    *len = l > 0 ? (size_t)l : 1;
    utf8proc_category_t c = utf8proc_category(code);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

static bool cut_digits(const Cutter *c, size_t step, const char *p, size_t n) {
    bool individual = c->t->splitters[step].individual_digits;
    Joiner j = {.c = c, .step = step, .text = p, .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS};
    size_t start = 0, len;
    for (size_t i = 0; i < n; i += len) {
        bool number = is_number(p + i, n - i, &len);
        if (!number) continue;
        if (!join(&j, (Stretch){start, i, false}) || !join(&j, (Stretch){i, i + len, true})) return false;
        start = i + len;
    }
    return join(&j, (Stretch){start, n, false}) && flush(&j);
}

static const char lower_bar[] = "\xe2\x96\x81"; /* SentencePiece's space */

static bool cut_metaspace(const Cutter *c, size_t step, const char *p, size_t n) {
    const Splitter *s = &c->t->splitters[step];
    Buffer text = {0};
    bool prepend = s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && c->first);
    for (size_t i = 0; i < n; i++)
        if (p[i] == ' ')
            buffer_append(&text, lower_bar, 3);
        else
            buffer_byte(&text, (uint8_t)p[i]);
    if (prepend && !(text.size >= 3 && memcmp(text.data, lower_bar, 3) == 0)) {
        Buffer longer = {0};
        buffer_append(&longer, lower_bar, 3);
        buffer_append(&longer, text.data, text.size);
        buffer_free(&text);
        text = longer;
    }
    const char *q = (char *)text.data;
    size_t from = 0;
    bool ok = true;
    for (size_t i = 3; ok && s->metaspace_split && i + 3 <= text.size; i++)
        if (memcmp(q + i, lower_bar, 3) == 0) {
            if (i > from) ok = cut(c, step + 1, q + from, i - from);
            from = i;
        }
    ok = ok && (from == text.size || cut(c, step + 1, q + from, text.size - from));
    buffer_free(&text);
    return ok;
}

static bool prefix_space(const Cutter *c, size_t step, const char *p, size_t n) {
    if (n == 0 || p[0] == ' ') return cut(c, step + 1, p, n);
    Buffer text = {0};
    buffer_byte(&text, ' ');
    buffer_append(&text, p, n);
    bool ok = cut(c, step + 1, (char *)text.data, text.size);
    buffer_free(&text);
    return ok;
}

static bool cut(const Cutter *c, size_t step, const char *p, size_t n) {
    if (step == c->t->n_splitters) return c->sink(c->context, p, n, c->e);
    switch (c->t->splitters[step].kind) {
    case SPLITTER_PATTERN:
        return cut_by_pattern(c, step, p, n);
    case SPLITTER_DIGITS:
        return cut_digits(c, step, p, n);
    case SPLITTER_METASPACE:
        return cut_metaspace(c, step, p, n);
    case SPLITTER_PREFIX_SPACE:
        return prefix_space(c, step, p, n);
    }
    return false;
}

bool split_pieces(const Tokenizer *t, const char *text, size_t n, bool first, PieceSink sink, void *context,
                  Error *e) {
    Cutter c = {.t = t, .first = first, .sink = sink, .context = context, .e = e};
    return n == 0 || cut(&c, 0, text, n);
}
