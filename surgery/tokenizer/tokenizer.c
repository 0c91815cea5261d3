#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/text.h"
#include "surgery/tokenizer/internal.h"

Tokenizer *tokenizer_open(const Checkpoint *c, Error *e) {
    Tokenizer *t = xcalloc(1, sizeof *t);
    t->unk = t->bos = t->eos = -1;
    bool has_json = checkpoint_file(c, TOKENIZER_FILE) != NULL, ok;
    const char *path = c->path ? c->path : "checkpoint";
    if (has_json)
        ok = tokenizer_load_json(t, c, e);
    else if (c->format == FORMAT_GGUF)
        ok = tokenizer_load_gguf(t, c, e);
    else if (checkpoint_file(c, SENTENCEPIECE_FILE))
        ok = tokenizer_load_sentencepiece(t, c, e);
    else
        ok = error_set(e, ERR_INPUT, "%s: has neither tokenizer.json nor tokenizer.model", path);
    if (ok && t->vocab.n == 0) ok = error_set(e, ERR_INPUT, "%s: the tokenizer's vocabulary is empty", path);
    if (ok) ok = added_finish(t, e) || error_place(e, "%s", path);
    if (!ok) {
        tokenizer_close(t);
        return NULL;
    }
    bpe_finish(t);
    t->cache = word_cache_new();
    return t;
}

void tokenizer_close(Tokenizer *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_splitters; i++)
        pattern_free(t->splitters[i].pattern);
    for (size_t i = 0; i < t->n_normalizers; i++)
        pattern_free(t->normalizers[i].pattern);
    free(t->in_text.nodes);
    free(t->in_normalized.nodes);
    free(t->vocab.slots);
    free(t->merges.slots);
    unigram_free(t->unigram);
    word_cache_free(t->cache);
    arena_free(&t->arena);
    free(t);
}

bool add_normalizer(Tokenizer *t, Normalizer z, const char *where, Error *e) {
    if (t->n_normalizers == MAX_STEPS) {
        pattern_free(z.pattern);
        return error_set(e, ERR_INPUT, "%s: more than %d normalizers", where, MAX_STEPS);
    }
    t->normalizers[t->n_normalizers++] = z;
    return true;
}

bool add_splitter(Tokenizer *t, Splitter s, const char *where, Error *e) {
    if (t->n_splitters == MAX_STEPS) {
        pattern_free(s.pattern);
        return error_set(e, ERR_INPUT, "%s: more than %d pre_tokenizers", where, MAX_STEPS);
    }
    t->splitters[t->n_splitters++] = s;
    return true;
}

void allocate_tokens(Tokenizer *t, size_t n) {
    t->vocab_size = (uint32_t)n;
    t->text = arena_alloc(&t->arena, n * sizeof *t->text);
    t->len = arena_alloc(&t->arena, n * sizeof *t->len);
    t->is_special = arena_alloc(&t->arena, n);
    t->is_added = arena_alloc(&t->arena, n);
}

/* ---- encoding: text is cut at added tokens, normalised, cut at them again, then into pieces ---- */

typedef struct Encoder {
    const Tokenizer *t;
    TokenList *out;
    Buffer normal;
    bool goes_on; /* text has gone before */
    bool first;   /* the segment begins the text */
} Encoder;

static bool encode_printable(const Encoder *x, const char *piece, size_t n, Error *e) {
    Buffer bytes = {0};
    for (size_t i = 0, len; i < n; i += len)
        buffer_byte(&bytes, (uint8_t)printable_to_byte((uint32_t)next_char(piece + i, n - i, &len)));
    bool ok = piece_encode(x->t, (char *)bytes.data, bytes.size, x->out, e);
    buffer_free(&bytes);
    return ok;
}

static bool encode_piece(void *context, const char *piece, size_t n, Error *e) {
    const Encoder *x = context;
    if (x->t->printable) return encode_printable(x, piece, n, e);
    /* the library's sums of floats depend on where they began */
    bool whole = !x->t->bars_start_words || (x->t->unigram && x->t->as_library);
    if (whole) return piece_encode(x->t, piece, n, x->out, e);
    size_t start = 0;
    bool in_bars = true;
    for (size_t i = 0; i < n;) {
        bool bar = n - i >= 3 && memcmp(piece + i, space_bar, 3) == 0;
        if (bar && !in_bars) {
            if (!piece_encode(x->t, piece + start, i - start, x->out, e)) return false;
            start = i;
        }
        in_bars = bar;
        i += bar ? 3 : 1;
    }
    return piece_encode(x->t, piece + start, n - start, x->out, e);
}

static bool encode_normal(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                          Error *e) {
    Encoder *x = context;
    if (!token) return split_pieces(x->t, text, n, x->first && first, encode_piece, x, e);
    token_append(x->out, token->id);
    return true;
}

static bool encode_segment(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                           Error *e) {
    Encoder *x = context;
    if (token) {
        token_append(x->out, token->id);
        return true;
    }
    x->first = first && !x->goes_on;
    if (x->t->n_normalizers) {
        x->normal.size = 0;
        buffer_append(&x->normal, text, n);
        if (!normalize(x->t, &x->normal, first && x->goes_on, e)) return false;
        text = (char *)x->normal.data;
        n = x->normal.size;
    }
    return added_cut(x->t, &x->t->in_normalized, text, n, encode_normal, x, e);
}

bool encode_part(const Tokenizer *t, const char *text, size_t n, uint64_t before, TokenList *out, Error *e) {
    size_t valid = text_utf8_prefix(text, n);
    if (valid < n)
        return error_set(e, ERR_INPUT, "offset %llu: byte 0x%02x is not valid UTF-8",
                         (unsigned long long)(before + valid), (unsigned)(uint8_t)text[valid]);
    if (n > INT32_MAX)
        return error_set(e, ERR_INPUT, "a text of %zu bytes; at most %d are encoded at once", n, INT32_MAX);
    Encoder x = {.t = t, .out = out, .goes_on = before > 0};
    bool ok = added_cut(t, &t->in_text, text, n, encode_segment, &x, e);
    buffer_free(&x.normal);
    return ok;
}

void append_prefix(const Tokenizer *t, TokenList *out) {
    for (size_t i = 0; i < t->n_prefix; i++)
        token_append(out, t->prefix[i]);
}

void append_suffix(const Tokenizer *t, TokenList *out) {
    for (size_t i = 0; i < t->n_suffix; i++)
        token_append(out, t->suffix[i]);
}

bool tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool add_special, TokenList *out,
                      Error *e) {
    if (add_special) append_prefix(t, out);
    if (!encode_part(t, text, n, 0, out, e)) return false;
    if (add_special) append_suffix(t, out);
    return true;
}

size_t tokenizer_count(const Tokenizer *t, const char *text) {
    TokenList ids = {0};
    Error ignored = {0};
    tokenizer_encode(t, text, strlen(text), false, &ids, &ignored);
    size_t n = ids.n;
    token_list_free(&ids);
    return n;
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
