/* tokenizer.ggml.* keys (llama.cpp's llama-vocab.cpp reads the same). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/internal.h"
#include "surgery/tokenizer/tokenizer_keys.h"

static int token_type(const MetaEntry *types, uint64_t i) {
    double v;
    return types && meta_array_f64(types, i, &v) ? (int)v : PIECE_NORMAL;
}

/* What the library seeks in normalised text, where spaces are marked. */
static AddedToken user_token(Tokenizer *t, int32_t id) {
    Buffer text = {0};
    for (uint32_t i = 0; i < t->len[id]; i++)
        if (t->text[id][i] == ' ')
            buffer_append(&text, space_bar, 3);
        else
            buffer_byte(&text, (uint8_t)t->text[id][i]);
    AddedToken a = {.text = arena_strndup(&t->arena, (char *)text.data, text.size),
                    .len = (uint32_t)text.size,
                    .id = id,
                    .normalized = true};
    buffer_free(&text);
    return a;
}

static bool load_vocab(Tokenizer *t, const Checkpoint *c, bool unigram, Error *e) {
    const MetaEntry *tokens = meta_find(c, "tokenizer.ggml.tokens"),
                    *types = meta_find(c, "tokenizer.ggml.token_type");
    if (!tokens || tokens->type != META_ARRAY || tokens->elem_type != META_STRING || tokens->count > 1 << 26)
        return error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.tokens' is not a list of texts", c->path);
    allocate_tokens(t, tokens->count);
    t->added = arena_alloc(&t->arena, t->vocab_size * sizeof *t->added);
    uint64_t cursor = 0;
    const char *s;
    size_t len;
    for (uint32_t i = 0; i < t->vocab_size && meta_array_string(tokens, &cursor, &s, &len); i++) {
        t->text[i] = arena_strndup(&t->arena, s, len);
        t->len[i] = (uint32_t)len;
        int type = token_type(types, i);
        if (text_map_get(&t->vocab, s, len) < 0) text_map_put(&t->vocab, t->text[i], t->len[i], (int32_t)i);
        if (type != PIECE_CONTROL && type != PIECE_USER && type != PIECE_UNKNOWN) continue;
        if (type == PIECE_USER && t->as_library && unigram) continue; /* they compete with the others */
        t->is_special[i] = type != PIECE_USER;
        if (!len) continue;
        t->is_added[i] = true;
        t->added[t->n_added++] =
            t->as_library && type == PIECE_USER
                ? user_token(t, (int32_t)i)
                : (AddedToken){
                      .text = t->text[i], .len = t->len[i], .id = (int32_t)i, .special = t->is_special[i]};
    }
    return true;
}

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

/* SentencePiece merges whatever pair makes the token of the best score: every way to split a token is a merge
 * whose rank is the place of its score. */
typedef struct Scored {
    double score;
    uint32_t id;
} Scored;

static int by_score(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static const MetaEntry *find_scores(const Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = meta_find(c, "tokenizer.ggml.scores");
    if (scores && scores->count >= t->vocab_size) return scores;
    error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.scores' is missing or short", c->path);
    return NULL;
}

/* The library never makes a control or byte token of text that spells one; llama.cpp looks up any token. */
static bool may_be_made(const Tokenizer *t, int type) {
    return !t->as_library || type == PIECE_NORMAL || type == PIECE_USER;
}

static bool load_scores(Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = find_scores(t, c, e), *types = meta_find(c, "tokenizer.ggml.token_type");
    if (!scores) return false;
    for (uint32_t i = 0; i < t->vocab_size; i++) /* all ways to split it are tried */
        if (t->len[i] > MAX_TOKEN_LENGTH)
            return error_set(e, ERR_INPUT, "%s: token %u is %u bytes long, more than %d", c->path, i,
                             t->len[i], MAX_TOKEN_LENGTH);
    Scored *order = xcalloc(t->vocab_size, sizeof *order);
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        order[i].id = i;
        meta_array_f64(scores, i, &order[i].score);
    }
    qsort(order, t->vocab_size, sizeof *order, by_score);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        if (i && order[i].score != order[i - 1].score) rank = i;
        uint32_t id = order[i].id;
        const char *s = t->text[id];
        for (size_t cut = 1; cut < t->len[id] && may_be_made(t, token_type(types, id)); cut++) {
            if (((uint8_t)s[cut] & 0xc0) == 0x80) continue;
            int32_t left = text_map_get(&t->vocab, s, cut),
                    right = text_map_get(&t->vocab, s + cut, t->len[id] - cut);
            if (left >= 0 && right >= 0) merge_map_put(&t->merges, left, right, rank, (int32_t)id, false);
        }
    }
    free(order);
    return true;
}

static bool add_pattern(Tokenizer *t, const char *pattern, const char *where, Error *e) {
    Splitter s = {
        .apply = split_by_pattern, .behavior = SPLIT_ISOLATED, .pattern = pattern_compile(pattern, where, e)};
    return s.pattern && add_splitter(t, s, where, e);
}

/* As llama.cpp cuts, and without the NFC that HF does for some. */
static bool load_pre(Tokenizer *t, const Checkpoint *c, bool *adds_bos, Error *e) {
    const char *name = meta_string(c, "tokenizer.ggml.pre", NULL);
    const PreTokenizer *pre = pre_tokenizer_named(name);
    if (!pre) return error_set(e, ERR_INPUT, "%s: pre-tokenizer '%.40s' is not supported", c->path, name);
    *adds_bos = pre->adds_bos;
    t->ignore_merges = pre->whole;
    for (const char *const *expression = pre->cut->llama; *expression; expression++)
        if (!add_pattern(t, *expression, c->path, e)) return false;
    return true;
}

/* What a token that users defined adds to a sum of log-probabilities: the library always takes it. */
static double user_score(size_t len) {
    return (float)(0.1 * ((double)len - 1));
}

static bool load_unigram(Tokenizer *t, const Checkpoint *c, Error *e) {
    const MetaEntry *scores = find_scores(t, c, e), *types = meta_find(c, "tokenizer.ggml.token_type");
    if (!scores) return false;
    t->unigram = unigram_new(t->vocab_size, t->as_library);
    double least = INFINITY;
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        int type = token_type(types, i);
        double score = 0;
        meta_array_f64(scores, i, &score);
        if (type == PIECE_NORMAL) least = fmin(least, score);
        if (type == PIECE_NORMAL || (type == PIECE_UNUSED && !t->as_library))
            unigram_add(t->unigram, t->text[i], t->len[i], (int32_t)i, score);
        AddedToken user = {0};
        if (type == PIECE_USER && t->as_library) user = user_token(t, (int32_t)i);
        if (user.len) unigram_add(t->unigram, user.text, user.len, (int32_t)i, user_score(user.len));
    }
    unigram_unknown(t->unigram, isfinite(least) ? least : 0);
    return true;
}

/* llama.cpp normalises text for unigram models alone. */
static bool load_normalizers(Tokenizer *t, const Checkpoint *c, Error *e) {
    bool prefix = true, squeeze = false;
    meta_bool(c, "tokenizer.ggml.add_space_prefix", &prefix);
    meta_bool(c, "tokenizer.ggml.remove_extra_whitespaces", &squeeze);
    const MetaEntry *map = meta_find(c, "tokenizer.ggml.precompiled_charsmap");
    bool all = t->unigram || t->as_library;
    if (all && map && map->count) {
        Normalizer z = {.apply = normalize_charsmap,
                        .map = charsmap_open(&t->arena, map->bytes, map->size, c->path, e)};
        if (!z.map || !add_normalizer(t, z, c->path, e)) return false;
    }
    if (all && squeeze && !add_normalizer(t, (Normalizer){.apply = normalize_squeeze}, c->path, e))
        return false;
    if (prefix) {
        t->strip_start = 1;
        bool words = t->unigram && !t->as_library;
        Normalizer z = {.apply = words ? normalize_prepend_words : normalize_prepend, .to = space_bar};
        if (!add_normalizer(t, z, c->path, e)) return false;
    }
    Normalizer bars = {
        .apply = normalize_replace, .to = space_bar, .pattern = pattern_literal(" ", c->path, e)};
    if (!bars.pattern || !add_normalizer(t, bars, c->path, e)) return false;
    if (!squeeze || !t->as_library) return true;
    t->strip_start = UINT32_MAX;
    Normalizer end = {.apply = normalize_strip_end, .to = space_bar};
    return add_normalizer(t, end, c->path, e);
}

static bool load_sentencepiece(Tokenizer *t, const Checkpoint *c, bool unigram, Error *e) {
    t->decode_bytes = true;
    t->byte_fallback = !unigram || t->as_library; /* llama.cpp's unigram has none */
    t->fuse_unk = true;
    t->replacements[t->n_replacements++] = (Replacement){space_bar, " "};
    return (unigram ? load_unigram(t, c, e) : load_scores(t, c, e)) && load_normalizers(t, c, e);
}

static int32_t special_id(const Tokenizer *t, const Checkpoint *c, const char *key) {
    uint64_t id;
    return meta_u64(c, key, &id) && id < t->vocab_size ? (int32_t)id : -1;
}

bool tokenizer_load_gguf(Tokenizer *t, const Checkpoint *c, Error *e) {
    const char *model = meta_string(c, "tokenizer.ggml.model", NULL);
    bool unigram = model && strcmp(model, "t5") == 0, spm = unigram || (model && strcmp(model, "llama") == 0);
    bool bos = spm && !unigram, eos = unigram;
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

bool tokenizer_load_sentencepiece(Tokenizer *t, const Checkpoint *c, Error *e) {
    Error damaged = {0};
    json_t *config = checkpoint_json(c, CONFIG_FILE, &damaged);
    if (damaged.code) return error_set(e, damaged.code, "%s", damaged.message);
    Checkpoint *keys = checkpoint_new(FORMAT_GGUF);
    keys->path = arena_printf(&keys->arena, "%s/tokenizer.model", c->path ? c->path : "checkpoint");
    t->as_library = true;
    bool ok = sentencepiece_to_keys(c, NULL, config, keys, e) && tokenizer_load_gguf(t, keys, e);
    checkpoint_close(keys);
    json_decref(config);
    return ok;
}
