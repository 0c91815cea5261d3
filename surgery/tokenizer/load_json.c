/* Loading tokenizer.json, as hf_tokenizer.c completes it from the files beside it: vocabulary, merges or
 * scores, added tokens, and the ids of BOS and EOS. The steps around the model are loaded by
 * load_json_steps.c. The format has no specification; it is what HF `tokenizers` writes and reads
 * (tokenizers/src/models, added_vocabulary.rs). What is not supported is refused by name, because ignoring it
 * would silently give other tokens. */
#include "surgery/tokenizer/load_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "surgery/tokenizer/hf_tokenizer.h"
#include "surgery/tokenizer/load_json_steps.h"
#include "surgery/tokenizer/tokenizer_json.h"
#include "surgery/tokenizer/unigram.h"

typedef struct Loader {
    Tokenizer *t;      /* being filled */
    const char *where; /* path of the file, which begins messages */
    Error *e;
} Loader;

/* Sets the error for a part whose type is not supported. Returns false. */
static bool refuse(const Loader *l, const char *part, const char *type) {
    return error_set(l->e, ERR_INPUT, "%s: %s of type '%.60s' is not supported", l->where, part,
                     type ? type : "(none)");
}

/* ---- vocabulary and merges ---- */

/* Sets the text of an id. Vocabulary and added tokens may both name a token, but with the same text. */
static bool put_token(const Loader *l, const char *text, json_int_t id) {
    Tokenizer *t = l->t;
    if (id < 0 || (uint64_t)id >= t->vocab_size)
        return error_set(l->e, ERR_INPUT, "%s: token '%.60s' has id %lld out of %u", l->where, text,
                         (long long)id, t->vocab_size);
    if (t->text[id] && strcmp(t->text[id], text) != 0)
        return error_set(l->e, ERR_INPUT, "%s: id %lld is both '%.40s' and '%.40s'", l->where, (long long)id,
                         t->text[id], text);
    t->text[id] = arena_strdup(&t->arena, text);
    t->len[id] = (uint32_t)strlen(text);
    return true;
}

/* The largest id in a vocabulary (NULL: none) and in the list of added tokens, which is how much room is
 * needed; -1 if there is none. */
static json_int_t largest_id(const json_t *vocab, const json_t *added) {
    json_int_t top = -1;
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id) if (json_integer_value(id) > top) top =
        json_integer_value(id);
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_int_t v = json_integer_value(json_object_get(json_array_get(added, i), "id"));
        if (v > top) top = v;
    }
    return top;
}

/* "model.vocab" of BPE: {text: id}. Added tokens that are not in it follow in load_added, so room is made for
 * their ids. */
static bool load_vocab(const Loader *l, const json_t *root) {
    Tokenizer *t = l->t;
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab"),
                 *added = json_object_get(root, "added_tokens");
    if (!json_is_object(vocab))
        return error_set(l->e, ERR_INPUT, "%s: model.vocab is not an object", l->where);
    /* Tables by id need room for the largest one. */
    json_int_t top = largest_id(vocab, added);
    /* Ids may have gaps, but memory is needed for the largest one, so a file may not ask for much more than
     * it has tokens. */
    if (top >= 10 * (json_int_t)(json_object_size(vocab) + json_array_size(added)) + 1000)
        return error_set(l->e, ERR_INPUT, "%s: a token id of %lld in a vocabulary of %zu", l->where,
                         (long long)top, json_object_size(vocab));
    if (top >= INT32_MAX)
        return error_set(l->e, ERR_INPUT, "%s: a token id of %lld", l->where, (long long)top);
    tokenizer_allocate(t, (size_t)(top + 1));
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id) {
        if (!json_is_integer(id))
            return error_set(l->e, ERR_INPUT, "%s: the id of '%.60s' is not a number", l->where, text);
        if (!put_token(l, text, json_integer_value(id))) return false;
        text_map_put(&t->vocab, t->text[json_integer_value(id)], t->len[json_integer_value(id)],
                     (int32_t)json_integer_value(id));
    }
    return true;
}

/* Adds one merge. Its rank is its place in the list: lower ranks are merged first. `joined` is a buffer that
 * all calls share, so that no memory is allocated for each of some hundred thousand merges. */
static bool load_merge(const Loader *l, const json_t *merge, size_t rank, Buffer *joined) {
    MergePair p;
    if (!tokenizer_json_merge(merge, &p))
        return error_set(l->e, ERR_INPUT, "%s: merge %zu is not a pair", l->where, rank);
    joined->size = 0;
    buffer_append(joined, p.left, p.left_len);
    buffer_append(joined, p.right, strlen(p.right));
    /* Both parts and the result have to be in the vocabulary. */
    const TextMap *v = &l->t->vocab;
    int32_t left = text_map_get(v, p.left, p.left_len), right = text_map_get(v, p.right, strlen(p.right));
    int32_t merged = text_map_get(v, (char *)joined->data, joined->size);
    if (left < 0 || right < 0 || merged < 0)
        return error_set(l->e, ERR_INPUT,
                         "%s: merge %zu ('%.*s' and '%.40s') names tokens the vocabulary lacks", l->where,
                         rank, (int)(p.left_len < 40 ? p.left_len : 40), p.left, p.right);
    merge_map_put(&l->t->merges, left, right, (uint32_t)rank, merged, true); /* HF's map keeps the last one */
    return true;
}

/* A unigram model, whose vocabulary is [[text, score], ...] in the order of the ids. */
static bool load_unigram(const Loader *l, const json_t *root) {
    Tokenizer *t = l->t;
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    /* An added token may have an id behind the list, but not far behind it. */
    size_t n = json_array_size(vocab);
    json_int_t top = largest_id(NULL, json_object_get(root, "added_tokens"));
    if (!json_is_array(vocab) || n > 1 << 26 || top > (json_int_t)(11 * n + 1000))
        return error_set(l->e, ERR_INPUT,
                         "%s: model.vocab is not a list, or too short for an added token's id %lld", l->where,
                         (long long)top);
    /* Added tokens may have ids behind the vocabulary. */
    tokenizer_allocate(t, top >= (json_int_t)n ? (size_t)top + 1 : n);
    /* HF sums scores in double precision. */
    t->unigram = unigram_new(t->vocab_size, false);
    double least = INFINITY;
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(vocab, i), *score = json_array_get(pair, 1);
        const char *text = json_string_value(json_array_get(pair, 0));
        if (!text || !json_is_number(score))
            return error_set(l->e, ERR_INPUT, "%s: model.vocab[%zu] is not a text and its score", l->where,
                             i);
        if (!put_token(l, text, (json_int_t)i)) return false;
        text_map_put(&t->vocab, t->text[i], t->len[i], (int32_t)i);
        unigram_add(t->unigram, t->text[i], t->len[i], (int32_t)i, json_number_value(score));
        least = fmin(least, json_number_value(score));
    }
    if (!tokenizer_limit_lengths(t, l->where, l->e)) return false;
    unigram_set_unknown(t->unigram, isfinite(least) ? least : 0);
    /* A unigram model names its unknown token by id, BPE by text. */
    uint64_t unk;
    t->unk = json_get_u64(model, "unk_id", &unk) && unk < n ? (int32_t)unk : -1;
    t->byte_fallback = tokenizer_json_flag(model, "byte_fallback", false);
    return true;
}

/* Loads the member "model": byte pair encoding, or a unigram model. Old files of BPE have no type. */
static bool load_model(const Loader *l, const json_t *root) {
    const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges");
    if (tokenizer_json_is(model, "Unigram")) return load_unigram(l, root);
    if (json_object_get(model, "type") && !tokenizer_json_is(model, "BPE"))
        return refuse(l, "a model", json_get_string(model, "type"));
    /* WordPiece-like marks on parts of words, and merges that are left out at random during training, are not
     * implemented. */
    const char *prefix = json_get_string(model, "continuing_subword_prefix"),
               *suffix = json_get_string(model, "end_of_word_suffix");
    if ((prefix && *prefix) || (suffix && *suffix))
        return error_set(l->e, ERR_INPUT, "%s: subword prefixes and suffixes are not supported", l->where);
    double dropout = 0;
    if (json_get_f64(model, "dropout", &dropout) && dropout != 0)
        return error_set(l->e, ERR_INPUT, "%s: a model with dropout does not give the same tokens twice",
                         l->where);
    if (!json_is_array(merges)) return error_set(l->e, ERR_INPUT, "%s: model.merges is not a list", l->where);
    /* The vocabulary first: merges and the unknown token are named by text. */
    if (!load_vocab(l, root)) return false;
    l->t->byte_fallback = tokenizer_json_flag(model, "byte_fallback", false);
    l->t->ignore_merges = tokenizer_json_flag(model, "ignore_merges", false);
    l->t->fuse_unk = tokenizer_json_flag(model, "fuse_unk", false);
    const char *unk = json_get_string(model, "unk_token");
    l->t->unk = unk ? text_map_get(&l->t->vocab, unk, strlen(unk)) : -1;
    Buffer joined = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(merges); i++)
        ok = load_merge(l, json_array_get(merges, i), i, &joined);
    buffer_free(&joined);
    return ok;
}

/* Loads "added_tokens", whose options are described in added_tokens.h. hf_tokenizer.c has made the list
 * complete: each token has a text, an id and all options. */
static bool load_added(const Loader *l, const json_t *root) {
    Tokenizer *t = l->t;
    const json_t *list = json_object_get(root, "added_tokens");
    t->added.tokens = arena_alloc(&t->arena, (json_array_size(list) + 1) * sizeof *t->added.tokens);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const char *text = json_get_string(o, "content");
        json_int_t id = json_integer_value(json_object_get(o, "id"));
        if (!put_token(l, text, id)) return false;
        t->is_special[id] = tokenizer_json_flag(o, "special", false);
        t->is_added[id] = true;
        t->added.tokens[t->added.n++] =
            (AddedToken){.text = t->text[id],
                         .len = t->len[id],
                         .id = (int32_t)id,
                         .special = t->is_special[id],
                         .lstrip = tokenizer_json_flag(o, "lstrip", false),
                         .rstrip = tokenizer_json_flag(o, "rstrip", false),
                         .single_word = tokenizer_json_flag(o, "single_word", false),
                         .normalized = tokenizer_json_flag(o, "normalized", false)};
    }
    return true;
}

/* ---- BOS and EOS ---- */

/* The id of a special token: tokenizer_config.json names it by its text, config.json by its id or a list of
 * ids, of which the first one counts. -1 if neither names a token. */
static int32_t special_id(const Tokenizer *t, const json_t *tokenizer_config, const json_t *config,
                          const char *name) {
    char key[32];
    snprintf(key, sizeof key, "%s_id", name);
    /* A text in tokenizer_config.json wins over an id in config.json. */
    const json_t *o = json_object_get(tokenizer_config, name), *id = json_object_get(config, key);
    const char *text = tokenizer_json_content(o);
    for (uint32_t i = 0; text && i < t->vocab_size; i++)
        if (t->text[i] && strcmp(t->text[i], text) == 0) return (int32_t)i;
    if (json_is_array(id)) id = json_array_get(id, 0);
    bool sane = json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < t->vocab_size;
    return sane ? (int32_t)json_integer_value(id) : -1;
}

/* The class LlamaTokenizer of transformers replaces the post_processor of tokenizer.json by one of its own,
 * which goes by add_bos_token and add_eos_token of tokenizer_config.json (if neither is given, an existing
 * post_processor stays). */
static void apply_llama_class(Tokenizer *t, const json_t *tokenizer_config, bool has_template) {
    const char *class = json_get_string(tokenizer_config, "tokenizer_class");
    if (!class || strncmp(class, "LlamaTokenizer", strlen("LlamaTokenizer")) != 0) return;
    if (has_template && !json_object_get(tokenizer_config, "add_bos_token") &&
        !json_object_get(tokenizer_config, "add_eos_token"))
        return;
    /* What the post_processor said is replaced. */
    t->n_prefix = t->n_suffix = 0;
    if (tokenizer_json_flag(tokenizer_config, "add_bos_token", true) && t->bos >= 0)
        t->prefix[t->n_prefix++] = t->bos;
    if (tokenizer_json_flag(tokenizer_config, "add_eos_token", false) && t->eos >= 0)
        t->suffix[t->n_suffix++] = t->eos;
}

/* Finds BOS and EOS for those who ask, and lets the tokenizer's class decide about special tokens around a
 * text. config.json may be missing, but not damaged. */
static bool load_ids(Tokenizer *t, const Checkpoint *c, const HfTokenizer *files, Error *e) {
    Error damaged = {0};
    json_t *config = checkpoint_json(c, CONFIG_FILE, &damaged);
    t->bos = special_id(t, files->config, config, "bos_token");
    t->eos = special_id(t, files->config, config, "eos_token");
    /* What the post_processor puts around a text is the next best guess. */
    if (t->bos < 0 && t->n_prefix) t->bos = t->prefix[0];
    if (t->eos < 0 && t->n_suffix) t->eos = t->suffix[0];
    apply_llama_class(t, files->config, json_is_object(json_object_get(files->root, "post_processor")));
    json_decref(config);
    return !damaged.code || error_set(e, damaged.code, "%s", damaged.message);
}

/* The parts are loaded in an order in which each finds what it refers to: vocabulary, added tokens, steps,
 * ids. */
bool tokenizer_load_json(Tokenizer *t, const Checkpoint *c, Error *e) {
    char where[600];
    snprintf(where, sizeof where, "%.500s/%s", c->path ? c->path : "checkpoint",
             checkpoint_file(c, TOKENIZER_FILE) ? TOKENIZER_FILE : VOCAB_FILE);
    Loader l = {.t = t, .where = where, .e = e};
    HfTokenizer files;
    bool ok = hf_tokenizer_read(c, &files, e) && load_model(&l, files.root) && load_added(&l, files.root) &&
              tokenizer_load_steps(t, files.root, where, e) && load_ids(t, c, &files, e);
    hf_tokenizer_free(&files);
    return ok;
}
