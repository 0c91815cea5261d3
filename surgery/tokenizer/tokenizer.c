/* The public interface: opening a tokenizer from its source, encoding and decoding whole texts. The work is
 * done elsewhere: the three loaders fill a struct Tokenizer (tokenizer_state.h), encode.c takes a text
 * through its steps, and decode.c turns single tokens back into bytes. */
#include "surgery/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "surgery/tokenizer/decode.h"
#include "surgery/tokenizer/encode.h"
#include "surgery/tokenizer/hf_tokenizer.h"
#include "surgery/tokenizer/load_gguf.h"
#include "surgery/tokenizer/load_json.h"
#include "surgery/tokenizer/load_sentencepiece.h"
#include "surgery/tokenizer/piece.h"
#include "surgery/tokenizer/unigram.h"

/* Loads from the best source. A folder may have several: tokenizer.json comes first because it is what
 * transformers uses; tokenizer.model often lies beside it as the file that it was made from. */
static bool load(Tokenizer *t, const Checkpoint *c, const char *path, Error *e) {
    if (checkpoint_file(c, TOKENIZER_FILE)) return tokenizer_load_json(t, c, e);
    if (c->format == FORMAT_GGUF) return tokenizer_load_gguf(t, c, e);
    if (checkpoint_file(c, SENTENCEPIECE_FILE)) return tokenizer_load_sentencepiece(t, c, e);
    if (hf_tokenizer_is_there(c)) return tokenizer_load_json(t, c, e); /* vocab.json and merges.txt */
    return error_set(
        e, ERR_INPUT,
        "%s: has no tokenizer: neither tokenizer.json nor tokenizer.model, nor vocab.json with merges.txt",
        path);
}

Tokenizer *tokenizer_open(const Checkpoint *c, Error *e) {
    Tokenizer *t = xcalloc(1, sizeof *t);
    const char *path = c->path ? c->path : "checkpoint";
    t->unk = t->bos = t->eos = -1; /* none, until the loader finds them */
    bool ok = load(t, c, path, e);
    if (ok && t->vocab.n == 0) ok = error_set(e, ERR_INPUT, "%s: the tokenizer's vocabulary is empty", path);
    /* The sentencepiece library searches its user-defined symbols as they are; HF normalises added tokens
     * that are searched in normalised text. */
    if (ok)
        ok = added_tokens_index(&t->added, t->like_sentencepiece ? NULL : &t->normalizers, e) ||
             error_place(e, "%s", path);
    if (!ok) {
        tokenizer_close(t);
        return NULL;
    }
    /* Some members are computed from the vocabulary, which is complete only now. */
    tokenizer_derive(t);
    t->cache = piece_cache_new();
    return t;
}

/* Also closes a tokenizer whose loading failed half-way: whatever was not reached is NULL. */
void tokenizer_close(Tokenizer *t) {
    if (!t) return;
    splitters_free(&t->splitters);
    normalizers_free(&t->normalizers);
    added_tokens_free(&t->added);
    free(t->vocab.slots);
    free(t->merges.slots);
    unigram_free(t->unigram);
    piece_cache_free(t->cache);
    arena_free(&t->arena);
    free(t);
}

/* The whole text at once; text_stream.c encodes text that comes in parts. */
bool tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool add_special, TokenList *out,
                      Error *e) {
    if (add_special) encode_prefix(t, out);
    if (!encode_part(t, text, n, 0, out, e)) return false;
    if (add_special) encode_suffix(t, out);
    return true;
}

/* Every id is checked against the vocabulary before it is used, since ids may come from a file or a sampler.
 */
bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool keep_special, Buffer *out,
                      Error *e) {
    /* Text that is in `out` already is not touched. */
    size_t start = out->size;
    bool first = true; /* no token has been decoded yet; special tokens that are left out do not count */
    for (size_t i = 0; i < n; i++) {
        /* Special tokens are checked as well, even if they are left out afterwards. */
        int32_t id = ids[i];
        if (id < 0 || (uint32_t)id >= t->vocab_size || !t->text[id])
            return error_set(e, ERR_INPUT, "token %zu: there is no id %d (the vocabulary has %u)", i, id,
                             t->vocab_size);
        if (t->is_special[id] && !keep_special) continue;
        decode_token(t, id, first, out);
        first = false;
    }
    if (out->size > start) decode_strip_ends(t, out, start);
    return true;
}

/* ---- questions ---- */

/* A text that cannot be encoded counts as no tokens; the error is dropped. */
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

/* BOS counts only as the first of the special tokens in front of a text. */
bool tokenizer_adds_bos(const Tokenizer *t) {
    return t->n_prefix > 0 && t->prefix[0] == t->bos;
}
