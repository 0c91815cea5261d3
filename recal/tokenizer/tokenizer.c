#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "recal/tokenizer/internal.h"

static int longest_first(const void *a, const void *b) {
    const AddedToken *x = a, *y = b;
    return x->len > y->len ? -1 : x->len < y->len;
}

Tokenizer *tokenizer_open(const Checkpoint *c, Error *e) {
    Tokenizer *t = xcalloc(1, sizeof *t);
    t->unk = t->bos = t->eos = -1;
    t->cache = word_cache_new();
    bool has_json = checkpoint_file(c, "tokenizer.json") != NULL, ok;
    if (!has_json && c->format != FORMAT_GGUF)
        ok = error_set(e, ERR_INPUT, "%s: has no tokenizer.json", c->path);
    else
        ok = has_json ? tokenizer_load_json(t, c, e) : tokenizer_load_gguf(t, c, e);
    if (!ok) {
        tokenizer_close(t);
        return NULL;
    }
    if (t->n_added) qsort(t->added, t->n_added, sizeof *t->added, longest_first);
    return t;
}

void tokenizer_close(Tokenizer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_splitters; i++)
        pcre2_code_free(t->splitters[i].pattern);
    free(t->vocab.slots);
    free(t->merges.slots);
    word_cache_free(t->cache);
    arena_free(&t->arena);
    free(t);
}

/* ---- encoding ---- */

typedef struct Encoder {
    const Tokenizer *t;
    TokenList *out;
} Encoder;

static bool encode_piece(void *context, const char *piece, size_t n, Error *e) {
    const Encoder *x = context;
    return bpe_encode(x->t, piece, n, x->out, e);
}

static bool encode_segment(Encoder *x, const char *text, size_t n, bool first, Error *e) {
    if (n == 0) return true;
    Buffer normal = {0};
    bool ok = true;
    if (x->t->n_normalizers) {
        ok = normalize(x->t, text, n, &normal, e);
        text = (char *)normal.data;
        n = normal.size;
    }
    ok = ok && split_pieces(x->t, text, n, first, encode_piece, x, e);
    buffer_free(&normal);
    return ok;
}

static bool is_word_at(const char *p, size_t n) {
    utf8proc_int32_t code;
    if (utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &code) <= 0) return false;
    utf8proc_category_t c = utf8proc_category(code);
    return code == '_' || (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NO);
}

static bool is_word_before(const char *text, size_t at) {
    size_t start = at;
    while (start > 0 && ((uint8_t)text[--start] & 0xc0) == 0x80) {}
    return at > 0 && is_word_at(text + start, at - start);
}

/* The added token that begins at `at`, the longest if several do. */
static const AddedToken *added_at(const Tokenizer *t, const char *text, size_t n, size_t at) {
    if (!t->starts_added[(uint8_t)text[at]]) return NULL;
    for (size_t i = 0; i < t->n_added; i++) {
        const AddedToken *a = &t->added[i];
        if (a->len > n - at || memcmp(a->text, text + at, a->len) != 0) continue;
        size_t after = at + a->len;
        if (a->single_word &&
            (is_word_before(text, at) || (after < n && is_word_at(text + after, n - after))))
            continue;
        return a;
    }
    return NULL;
}

static bool is_ascii_space(char c) {
    return c == ' ' || (c >= 9 && c <= 13);
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool add_special, TokenList *out,
                      Error *e) {
    size_t valid = utf8_valid(text, n);
    if (valid < n)
        return error_set(e, ERR_INPUT, "offset %zu: byte 0x%02x is not valid UTF-8", valid,
                         (unsigned)(uint8_t)text[valid]);
    Encoder x = {.t = t, .out = out};
    for (size_t i = 0; add_special && i < t->n_prefix; i++)
        token_append(out, t->prefix[i]);
    size_t start = 0;
    for (size_t i = 0; i < n;) {
        const AddedToken *a = added_at(t, text, n, i);
        if (!a) {
            i++;
            continue;
        }
        size_t end = i;
        while (a->lstrip && end > start && is_ascii_space(text[end - 1]))
            end--;
        if (!encode_segment(&x, text + start, end - start, start == 0, e)) return false;
        token_append(out, a->id);
        i += a->len;
        while (a->rstrip && i < n && is_ascii_space(text[i]))
            i++;
        start = i;
    }
    if (!encode_segment(&x, text + start, n - start, start == 0, e)) return false;
    for (size_t i = 0; add_special && i < t->n_suffix; i++)
        token_append(out, t->suffix[i]);
    return true;
}

/* ---- decoding ---- */

static void decode_printable(const char *s, size_t n, Buffer *out) {
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &code);
        int byte = len > 0 ? printable_to_byte((uint32_t)code) : -1;
        if (len <= 0) len = 1;
        if (byte >= 0)
            buffer_byte(out, (uint8_t)byte);
        else
            buffer_append(out, s + i, (size_t)len);
        i += (size_t)len;
    }
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void decode_sentencepiece(const char *s, size_t n, Buffer *out) {
    if (n == 6 && memcmp(s, "<0x", 3) == 0 && s[5] == '>' && hex_digit(s[3]) >= 0 && hex_digit(s[4]) >= 0) {
        buffer_byte(out, (uint8_t)(hex_digit(s[3]) << 4 | hex_digit(s[4])));
        return;
    }
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            buffer_byte(out, ' ');
            i += 3;
        } else {
            buffer_byte(out, (uint8_t)s[i++]);
        }
    }
}

static bool is_added(const Tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id == id) return true;
    return false;
}

bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool keep_special, Buffer *out,
                      Error *e) {
    size_t start = out->size;
    for (size_t i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || (uint32_t)id >= t->vocab_size || !t->text[id])
            return error_set(e, ERR_INPUT, "token %zu: there is no id %d (the vocabulary has %u)", i, id,
                             t->vocab_size);
        if (t->is_special[id] && !keep_special) continue;
        if (t->is_special[id] || (t->byte_level && is_added(t, id)))
            buffer_append(out, t->text[id], t->len[id]);
        else if (t->byte_level)
            decode_printable(t->text[id], t->len[id], out);
        else
            decode_sentencepiece(t->text[id], t->len[id], out);
    }
    if (t->strip_first_space && out->size > start && out->data[start] == ' ') {
        memmove(out->data + start, out->data + start + 1, out->size - start - 1);
        out->size--;
    }
    return true;
}

uint32_t tokenizer_vocab_size(const Tokenizer *t) {
    return t->vocab_size;
}

int32_t tokenizer_bos(const Tokenizer *t) {
    return t->bos;
}

int32_t tokenizer_eos(const Tokenizer *t) {
    return t->eos;
}

bool tokenizer_adds_bos(const Tokenizer *t) {
    return t->n_prefix > 0 && t->prefix[0] == t->bos;
}

void token_list_free(TokenList *l) {
    free(l->ids);
    *l = (TokenList){0};
}
