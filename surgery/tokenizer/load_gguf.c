/* Loading a tokenizer from GGUF keys, as llama.cpp does (src/llama-vocab.cpp). The key tokenizer.ggml.model
 * names the kind:
 *
 *   gpt2    byte-level BPE: tokens, merges, and the name of a pre-tokenizer
 *   llama   BPE of SentencePiece: tokens and their scores
 *   t5      unigram of SentencePiece: tokens and their log-probabilities
 *
 * The last two also serve tokenizer.model (load_sentencepiece.c). There t->like_sentencepiece is set, and
 * where the library differs from llama.cpp, the library is followed. */
#include "surgery/tokenizer/load_gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/charsmap.h"
#include "surgery/tokenizer/pre_tokenizers.h"
#include "surgery/tokenizer/unicode.h"
#include "surgery/tokenizer/unigram.h"

/* ---- vocabulary ---- */

/* The PieceType of token i; without the key all tokens are normal. */
static int token_type(const MetaEntry *types, uint64_t i) {
    double v;
    return types && meta_array_f64(types, i, &v) ? (int)v : PIECE_NORMAL;
}

/* Makes an added token of a user-defined symbol of the sentencepiece library, which searches these in
 * normalised text. Spaces are marked there, so they are marked in the symbol as well. */
static AddedToken user_token(Tokenizer *t, int32_t id) {
    Buffer text = {0};
    for (uint32_t i = 0; i < t->len[id]; i++)
        if (t->text[id][i] == ' ')
            buffer_append(&text, space_marker, SPACE_MARKER_SIZE);
        else
            buffer_byte(&text, (uint8_t)t->text[id][i]);
    AddedToken a = {.text = arena_strndup(&t->arena, (char *)text.data, text.size),
                    .len = (uint32_t)text.size,
                    .id = id,
                    .normalized = true};
    buffer_free(&text);
    return a;
}

/* Loads the tokens, and notes which of them are searched in text as added tokens: llama.cpp takes all of the
 * types control, user-defined and unknown. */
static bool load_vocab(Tokenizer *t, const Checkpoint *c, bool unigram, Error *e) {
    const MetaEntry *tokens = meta_find(c, "tokenizer.ggml.tokens"),
                    *types = meta_find(c, "tokenizer.ggml.token_type");
    if (!tokens || tokens->type != META_ARRAY || tokens->elem_type != META_STRING || tokens->count > 1 << 26)
        return error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.tokens' is not a list of texts", c->path);
    tokenizer_allocate(t, tokens->count);
    t->added.tokens = arena_alloc(&t->arena, t->vocab_size * sizeof *t->added.tokens);
    uint64_t cursor = 0;
    const char *s;
    size_t len;
    for (uint32_t i = 0; i < t->vocab_size && meta_array_string(tokens, &cursor, &s, &len); i++) {
        t->text[i] = arena_strndup(&t->arena, s, len);
        t->len[i] = (uint32_t)len;
        int type = token_type(types, i);
        /* Of several tokens with one text the first one counts. */
        if (text_map_get(&t->vocab, s, len) < 0) text_map_put(&t->vocab, t->text[i], t->len[i], (int32_t)i);
        if (type != PIECE_CONTROL && type != PIECE_USER && type != PIECE_UNKNOWN) continue;
        /* In the library's unigram model, user-defined symbols are ordinary tokens with a high score
         * (load_unigram). */
        if (type == PIECE_USER && t->like_sentencepiece && unigram) continue;
        t->is_special[i] = type != PIECE_USER;
        if (!len) continue;
        t->is_added[i] = true;
        t->added.tokens[t->added.n++] =
            t->like_sentencepiece && type == PIECE_USER
                ? user_token(t, (int32_t)i)
                : (AddedToken){
                      .text = t->text[i], .len = t->len[i], .id = (int32_t)i, .special = t->is_special[i]};
    }
    return true;
}

/* ---- gpt2: merges ---- */

/* Loads the merges, "left right", in the order of their ranks. The space that separates them is searched from
 * the second byte on, since the left token is never empty but may begin with one. A merge of tokens that the
 * vocabulary lacks is an error, because it would silently never apply. */
static bool load_merges(Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *merges = meta_find(c, "tokenizer.ggml.merges");
    if (!merges || merges->type != META_ARRAY || merges->elem_type != META_STRING)
        return error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.merges' is not a list of texts", c->path);
    uint64_t cursor = 0;
    const char *s;
    size_t len;
    Buffer joined = {0};
    bool ok = true;
    for (uint32_t rank = 0; meta_array_string(merges, &cursor, &s, &len); rank++) {
        const char *space = len ? memchr(s + 1, ' ', len - 1) : NULL;
        if (!space) {
            ok = error_set(e, ERR_INPUT, "%s: merge %u ('%.*s') is not a pair", c->path, rank,
                           (int)(len < 60 ? len : 60), s);
            break;
        }
        size_t n = (size_t)(space - s), m = len - n - 1;
        joined.size = 0;
        buffer_append(&joined, s, n);
        buffer_append(&joined, space + 1, m);
        int32_t left = text_map_get(&t->vocab, s, n), right = text_map_get(&t->vocab, space + 1, m);
        int32_t merged = text_map_get(&t->vocab, (char *)joined.data, joined.size);
        if (left < 0 || right < 0 || merged < 0) {
            ok = error_set(e, ERR_INPUT, "%s: merge %u ('%.*s') names tokens the vocabulary lacks", c->path,
                           rank, (int)(len < 60 ? len : 60), s);
            break;
        }
        merge_map_put(&t->merges, left, right, rank, merged, false);
    }
    buffer_free(&joined);
    return ok;
}

/* ---- gpt2: the pre-tokenizer ---- */

/* Adds a step that cuts at an expression. llama.cpp's expressions cut one after the other: each cuts the
 * pieces that the one before made, and both matches and what lies between them are pieces. */
static bool add_pattern(Tokenizer *t, const char *pattern, const char *where, Error *e) {
    Splitter s = {.apply = split_by_pattern,
                  .behavior = SPLIT_ISOLATED,
                  .pattern = pattern_compile(pattern, true, where, e)};
    return s.pattern && splitters_add(&t->splitters, s, where, e);
}

/* Adds the expressions that llama.cpp has for the name in tokenizer.ggml.pre. Sets `*adds_bos` to whether BOS
 * is the default with that name. */
static bool load_pre(Tokenizer *t, const Checkpoint *c, bool *adds_bos, Error *e) {
    const char *name = meta_string(c, "tokenizer.ggml.pre", NULL);
    const PreTokenizer *pre = pre_tokenizer_named(name);
    if (!pre) return error_set(e, ERR_INPUT, "%s: pre-tokenizer '%.40s' is not supported", c->path, name);
    *adds_bos = pre->adds_bos;
    t->ignore_merges = pre->llama_ignores_merges;
    for (const char *const *expression = pre->cut->llama; *expression; expression++)
        if (!add_pattern(t, *expression, c->path, e)) return false;
    return true;
}

/* ---- llama: merges from scores ---- */

/* SentencePiece has no list of merges: it merges the two neighbours that form the token of the highest score.
 * The same tokens come out if every way to split a token in two is a merge whose rank is the place of the
 * token's score among all scores. */
typedef struct Scored {
    double score;
    uint32_t id;
} Scored;

/* For qsort: the highest score first. */
static int by_score(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Finds the scores, one for each token; NULL with an error if there are too few. */
static const MetaEntry *find_scores(const Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = meta_find(c, "tokenizer.ggml.scores");
    if (scores && scores->count >= t->vocab_size) return scores;
    error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.scores' is missing or short", c->path);
    return NULL;
}

/* Whether merging may lead to a token of this type. The library never makes a control or byte token from text
 * that spells it out; llama.cpp looks up any token. */
static bool may_be_merged(const Tokenizer *t, int type) {
    return !t->like_sentencepiece || type == PIECE_NORMAL || type == PIECE_USER;
}

/* Turns the scores of SentencePiece's BPE into merges with ranks. */
static bool load_scores(Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = find_scores(t, c, e), *types = meta_find(c, "tokenizer.ggml.token_type");
    /* All ways to split a token are tried, so its length is limited. */
    if (!scores || !tokenizer_limit_lengths(t, c->path, e)) return false;
    /* 1. Order the tokens by score. */
    Scored *order = xcalloc(t->vocab_size, sizeof *order);
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        order[i].id = i;
        meta_array_f64(scores, i, &order[i].score);
    }
    qsort(order, t->vocab_size, sizeof *order, by_score);
    /* 2. Each split of a token into two known ones, between characters, is a merge. Equal scores get equal
     * ranks, and the leftmost pair of the text goes first. */
    uint32_t rank = 0;
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        if (i && order[i].score != order[i - 1].score) rank = i;
        uint32_t id = order[i].id;
        const char *s = t->text[id];
        for (size_t cut = 1; cut < t->len[id] && may_be_merged(t, token_type(types, id)); cut++) {
            if (((uint8_t)s[cut] & 0xc0) == 0x80) continue;
            int32_t left = text_map_get(&t->vocab, s, cut),
                    right = text_map_get(&t->vocab, s + cut, t->len[id] - cut);
            if (left >= 0 && right >= 0) merge_map_put(&t->merges, left, right, rank, (int32_t)id, false);
        }
    }
    free(order);
    return true;
}

/* ---- t5: unigram ---- */

/* The score of a user-defined symbol of `len` bytes in the library. Scores of other tokens are negative, so
 * this one always wins, and the longer of two symbols wins over the shorter. */
static double user_score(size_t len) {
    return (float)(0.1 * ((double)len - 1));
}

/* Loads the log-probabilities of a unigram model. Control, unknown and byte tokens are not candidates for
 * text; llama.cpp lets pieces of the type "unused" be candidates, the library does not. */
static bool load_unigram(Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = find_scores(t, c, e), *types = meta_find(c, "tokenizer.ggml.token_type");
    if (!scores || !tokenizer_limit_lengths(t, c->path, e)) return false;
    t->unigram = unigram_new(t->vocab_size, t->like_sentencepiece);
    double least = INFINITY;
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        int type = token_type(types, i);
        double score = 0;
        meta_array_f64(scores, i, &score);
        if (type == PIECE_NORMAL) least = fmin(least, score);
        if (type == PIECE_NORMAL || (type == PIECE_UNUSED && !t->like_sentencepiece))
            unigram_add(t->unigram, t->text[i], t->len[i], (int32_t)i, score);
        AddedToken user = {0};
        if (type == PIECE_USER && t->like_sentencepiece) user = user_token(t, (int32_t)i);
        if (user.len) unigram_add(t->unigram, user.text, user.len, (int32_t)i, user_score(user.len));
    }
    unigram_set_unknown(t->unigram, isfinite(least) ? least : 0);
    return true;
}

/* ---- llama and t5: what happens to text before ---- */

/* Adds SentencePiece's normalizer_spec as steps. llama.cpp obeys it for unigram models only; for BPE it just
 * puts a space in front and marks spaces. */
static bool load_normalizers(Tokenizer *t, const Checkpoint *c, Error *e) {
    bool prefix = true, squeeze = false;
    meta_bool(c, "tokenizer.ggml.add_space_prefix", &prefix);
    meta_bool(c, "tokenizer.ggml.remove_extra_whitespaces", &squeeze);
    const MetaEntry *map = meta_find(c, "tokenizer.ggml.precompiled_charsmap");
    bool obeys_spec = t->unigram || t->like_sentencepiece;
    /* 1. Replacements of characters, then of spaces. */
    if (obeys_spec && map && map->count) {
        Normalizer z = {.apply = normalize_charsmap,
                        .map = charsmap_open(&t->arena, map->bytes, map->size, c->path, e)};
        if (!z.map || !normalizers_add(&t->normalizers, z, c->path, e)) return false;
    }
    if (obeys_spec && squeeze &&
        !normalizers_add(&t->normalizers, (Normalizer){.apply = normalize_squeeze}, c->path, e))
        return false;
    /* 2. A space in front of the text, which decoding drops again. llama.cpp leaves it out for a text of
     * spaces. */
    if (prefix) {
        t->strip_start = 1;
        bool words_only = t->unigram && !t->like_sentencepiece;
        Normalizer z = {.apply = words_only ? normalize_prepend_words : normalize_prepend,
                        .to = space_marker};
        if (!normalizers_add(&t->normalizers, z, c->path, e)) return false;
    }
    /* 3. Spaces become markers. */
    Normalizer marks = {
        .apply = normalize_replace, .to = space_marker, .pattern = pattern_literal(" ", c->path, e)};
    if (!marks.pattern || !normalizers_add(&t->normalizers, marks, c->path, e)) return false;
    /* 4. Where the library removes extra spaces, it also drops a marker at the end of the text, and all at
     * its start when it decodes. */
    if (!squeeze || !t->like_sentencepiece) return true;
    t->strip_start = UINT32_MAX;
    Normalizer end = {.apply = normalize_strip_end, .to = space_marker};
    return normalizers_add(&t->normalizers, end, c->path, e);
}

/* What BPE and unigram models of SentencePiece have in common, then the model itself and its normalisation.
 */
static bool load_sentencepiece(Tokenizer *t, const Checkpoint *c, bool unigram, Error *e) {
    t->decode_bytes = true;
    t->byte_fallback = !unigram || t->like_sentencepiece; /* llama.cpp's unigram has no byte fallback */
    t->fuse_unk = true;
    t->replacements[t->n_replacements++] = (Replacement){space_marker, " "};
    return (unigram ? load_unigram(t, c, e) : load_scores(t, c, e)) && load_normalizers(t, c, e);
}

/* ---- the whole ---- */

/* The id that a key names; -1 if the key is missing or the id out of range. */
static int32_t special_id(const Tokenizer *t, const Checkpoint *c, const char *key) {
    uint64_t id;
    return meta_u64(c, key, &id) && id < t->vocab_size ? (int32_t)id : -1;
}

/* Vocabulary first, because everything else names tokens by text or id; then the model with its steps; then
 * the special tokens around a text. */
bool tokenizer_load_gguf(Tokenizer *t, const Checkpoint *c, Error *e) {
    const char *model = meta_string(c, "tokenizer.ggml.model", NULL);
    bool unigram = model && strcmp(model, "t5") == 0, spm = unigram || (model && strcmp(model, "llama") == 0);
    bool bos = spm && !unigram,
         eos = unigram; /* whether they are put around a text, unless keys say otherwise */
    if (!model || (!spm && strcmp(model, "gpt2") != 0))
        return error_set(e, ERR_INPUT, "%s: tokenizer model '%.40s' is not supported (gpt2, llama, t5)",
                         c->path, model ? model : "(none)");
    if (!load_vocab(t, c, unigram, e)) return false;
    if (spm) t->unk = special_id(t, c, "tokenizer.ggml.unknown_token_id");
    t->bos = special_id(t, c, "tokenizer.ggml.bos_token_id");
    t->eos = special_id(t, c, "tokenizer.ggml.eos_token_id");
    t->byte_level = !spm;
    if (!(spm ? load_sentencepiece(t, c, unigram, e) : load_pre(t, c, &bos, e) && load_merges(t, c, e)))
        return false;
    meta_bool(c, "tokenizer.ggml.add_bos_token", &bos);
    meta_bool(c, "tokenizer.ggml.add_eos_token", &eos);
    if (bos && t->bos >= 0) t->prefix[t->n_prefix++] = t->bos;
    if (eos && t->eos >= 0) t->suffix[t->n_suffix++] = t->eos;
    return true;
}
