/* From tokenizer.model to GGUF keys. Two callers: hf_to_gguf.c, when a folder without tokenizer.json becomes
 * a GGUF, and load_sentencepiece.c, which loads a tokenizer through these keys. llama.cpp's converter
 * (convert_hf_to_gguf.py, _create_vocab_sentencepiece) writes the same keys, down to the scores of tokens
 * that have none; tests/peers/test_converter.py compares them. Pieces come first, then the tokens of
 * added_tokens.json and of tokenizer_config.json take their places among them or behind them. */
#include "surgery/tokenizer/sentencepiece_to_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/gguf_vocabulary.h"

/* The scores that llama.cpp's converter gives to ids without a piece, and to added tokens. */
static const float no_score = -10000, added_score = -1000;

/* ---- vocabulary ---- */

/* Sets all that the vocabulary has about one id. The text is borrowed. */
static void put_piece(GgufVocabulary *v, size_t id, const char *text, PieceType type, float score) {
    v->text[id] = text;
    v->len[id] = strlen(text);
    v->type[id] = type;
    v->score[id] = score;
}

/* A function that receives an added token. It returns false to end the walk, with an error. */
typedef bool (*AddedSink)(void *context, uint64_t id, const char *text, bool special, Error *e);

/* Calls `each` for the tokens of added_tokens.json, {text: id}, and then for those of tokenizer_config.json,
 * "added_tokens_decoder": {"id": {"content", "special"}}. The latter also says which are special, so it comes
 * second and overrides the former. Either value may be NULL. */
static bool each_added(const json_t *added, const json_t *tokenizer_config, AddedSink each, void *context,
                       Error *e) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)added, key, value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return error_set(e, ERR_INPUT, "added_tokens.json: the id of '%.60s' is not a number", key);
        if (!each(context, (uint64_t)json_integer_value(value), key, false, e)) return false;
    }
    json_object_foreach(json_object_get(tokenizer_config, "added_tokens_decoder"), key, value) {
        char *end;
        unsigned long long id = strtoull(key, &end, 10);
        const char *text = json_get_string(value, "content");
        if (end == key || *end || !text || !*text)
            return error_set(
                e, ERR_INPUT,
                "tokenizer_config.json: added_tokens_decoder: '%.60s' is not an id, or has no content", key);
        bool special = json_is_true(json_object_get(value, "special"));
        if (!each(context, id, text, special || token_looks_special(text), e)) return false;
    }
    return true;
}

/* Context of put_added. */
typedef struct Putting {
    GgufVocabulary *v;
    Arena *a; /* for their texts */
} Putting;

/* Context of count_added. */
typedef struct Counting {
    size_t n;      /* largest id + 1 so far */
    size_t pieces; /* of tokenizer.model */
} Counting;

/* An AddedSink that finds how large a vocabulary with all added tokens is. Memory is needed for the largest
 * id, so a file may not name one far behind its pieces. */
static bool count_added(void *context, uint64_t id, const char *text, bool special, Error *e) {
    (void)special;
    Counting *c = context;
    enum { MAX_ADDED = 1 << 20 };
    if (id >= c->pieces + MAX_ADDED)
        return error_set(e, ERR_INPUT, "token '%.60s' has id %llu in a vocabulary of %zu", text,
                         (unsigned long long)id, c->pieces);
    if (id >= c->n) c->n = (size_t)id + 1;
    return true;
}

/* An AddedSink that puts a token into the vocabulary. It replaces a piece of the same id. User-defined tokens
 * are searched in the original text, so their markers become spaces. */
static bool put_added(void *context, uint64_t id, const char *text, bool special, Error *e) {
    Putting *x = context;
    if (id >= x->v->n)
        return error_set(e, ERR_INPUT, "token '%.60s' has id %llu, the model's vocabulary has %zu", text,
                         (unsigned long long)id, x->v->n);
    put_piece(x->v, (size_t)id,
              special ? arena_strdup(x->a, text) : marker_to_space(text, strlen(text), x->a),
              special ? PIECE_CONTROL : PIECE_USER, added_score);
    return true;
}

/* Puts the pieces of tokenizer.model into the vocabulary, and fills ids without a piece up to its size,
 * because a GGUF has a token for every row of the embedding. */
static bool read_pieces(GgufVocabulary *v, const SentencePiece *sp, Arena *a, Error *e) {
    if (sp->n > v->n)
        return error_set(e, ERR_INPUT, "tokenizer.model has %zu pieces, the model's vocabulary has %zu",
                         sp->n, v->n);
    for (size_t i = 0; i < v->n; i++)
        if (i >= sp->n)
            put_piece(v, i, arena_printf(a, "[PAD%zu]", i), PIECE_UNUSED, no_score);
        else if (sp->pieces[i].type == PIECE_USER)
            put_piece(v, i, marker_to_space(sp->pieces[i].text, sp->pieces[i].len, a), PIECE_USER,
                      sp->pieces[i].score);
        else
            put_piece(v, i, arena_strndup(a, sp->pieces[i].text, sp->pieces[i].len), sp->pieces[i].type,
                      sp->pieces[i].score);
    return true;
}

/* ---- keys ---- */

/* Writes the id that tokenizer.model itself names under `key`, if no other file named one. -1 means that the
 * model has no such token. */
static void write_default_id(Checkpoint *out, const char *key, int32_t id) {
    if (id >= 0 && !meta_find(out, key)) meta_set_u32(out, key, (uint32_t)id);
}

/* Writes all keys. If tokenizer_config.json says nothing else, BPE models put BOS in
 * front of a text and unigram models (T5) put EOS behind it. */
static void write_pieces(const SentencePiece *sp, const GgufVocabulary *v, const json_t *tokenizer_config,
                         const json_t *config, Checkpoint *out) {
    /* 1. The kind, which decides how llama.cpp encodes. */
    bool unigram = sp->model == PIECES_UNIGRAM, bos = !unigram, eos = unigram;
    const char *kind = unigram ? "t5" : "llama";
    meta_set_string(out, "tokenizer.ggml.model", kind, strlen(kind));
    meta_set_string(out, "tokenizer.ggml.pre", "default", 7);
    /* 2. Tokens with their scores and types, by id. */
    meta_set_string_array(out, "tokenizer.ggml.tokens", v->text, v->len, v->n);
    meta_set_array(out, "tokenizer.ggml.scores", META_F32, v->score, v->n);
    meta_set_array(out, "tokenizer.ggml.token_type", META_I32, v->type, v->n);
    /* 3. Special tokens: the configurations first, then what tokenizer.model says. */
    gguf_write_special_ids(v, tokenizer_config, config, out);
    write_default_id(out, "tokenizer.ggml.bos_token_id", sp->bos);
    write_default_id(out, "tokenizer.ggml.eos_token_id", sp->eos);
    write_default_id(out, "tokenizer.ggml.unknown_token_id", sp->unk);
    write_default_id(out, "tokenizer.ggml.padding_token_id", sp->pad);
    /* The flags are only set for tokens that exist. */
    json_get_bool(tokenizer_config, "add_bos_token", &bos);
    json_get_bool(tokenizer_config, "add_eos_token", &eos);
    meta_set_bool(out, "tokenizer.ggml.add_bos_token", bos && meta_find(out, "tokenizer.ggml.bos_token_id"));
    meta_set_bool(out, "tokenizer.ggml.add_eos_token", eos && meta_find(out, "tokenizer.ggml.eos_token_id"));
    /* 4. The normalizer_spec: what happens to text before it is encoded. */
    meta_set_bool(out, "tokenizer.ggml.add_space_prefix", sp->dummy_prefix);
    meta_set_bool(out, "tokenizer.ggml.remove_extra_whitespaces", sp->squeeze_spaces);
    if (sp->charsmap)
        meta_set_array(out, "tokenizer.ggml.precompiled_charsmap", META_U8, sp->charsmap, sp->charsmap_size);
}

/* ---- the whole ---- */

/* The property of a tokenizer.model that neither llama.cpp nor derope implements, in words for a message;
 * NULL if there is none. */
static const char *unsupported(const SentencePiece *sp) {
    return sp->model == PIECES_WORD   ? "a model of words"
           : sp->model == PIECES_CHAR ? "a model of characters"
           : sp->space_behind         ? "spaces marked behind words (treat_whitespace_as_suffix)"
           : !sp->mark_spaces         ? "spaces that are not marked (escape_whitespaces is false)"
                                      : sp->decodes_otherwise;
}

/* Whether a BPE model has pieces of the type "unused". The library splits such a piece again after merging
 * made it, which is not implemented here; llama.cpp leaves it as it is. */
static bool has_unused(const SentencePiece *sp) {
    for (size_t i = 0; i < sp->n; i++)
        if (sp->pieces[i].type == PIECE_UNUSED) return sp->model == PIECES_BPE;
    return false;
}

/* The files beside tokenizer.model that add tokens; NULL where there is none. */
typedef struct Companions {
    json_t *added;            /* added_tokens.json */
    json_t *tokenizer_config; /* tokenizer_config.json */
} Companions;

/* Reads both files. A missing one is no error, a damaged one is. */
static bool read_companions(const Checkpoint *source, Companions *x, Error *e) {
    Error damaged = {0};
    x->added = checkpoint_json(source, ADDED_TOKENS_FILE, &damaged);
    if (!damaged.code) x->tokenizer_config = checkpoint_json(source, TOKENIZER_CONFIG_FILE, &damaged);
    return !damaged.code || error_set(e, damaged.code, "%s", damaged.message);
}

/* Writes all keys. With `to`, the vocabulary has the size of the model's embedding; without it (NULL), the
 * size that the files need. */
static bool write_keys(const Checkpoint *source, const SentencePiece *sp, const ConversionTarget *to,
                       const json_t *config, Checkpoint *out, Error *e) {
    Companions x = {0};
    Arena a = {0};
    Counting count = {.n = sp->n, .pieces = sp->n};
    bool ok = read_companions(source, &x, e) &&
              (to || each_added(x.added, x.tokenizer_config, count_added, &count, e));
    GgufVocabulary v = {0};
    if (ok) {
        v = gguf_vocabulary_new(to ? to->vocab_size : count.n);
        ok = read_pieces(&v, sp, &a, e) &&
             each_added(x.added, x.tokenizer_config, put_added, &(Putting){&v, &a}, e);
    }
    if (ok)
        write_pieces(sp, &v, x.tokenizer_config, config, out);
    else
        error_place(e, "%s", source->path ? source->path : "checkpoint");
    gguf_vocabulary_free(&v);
    arena_free(&a);
    json_decref(x.added);
    json_decref(x.tokenizer_config);
    return ok;
}

/* Parses tokenizer.model, which the caller knows to be there. `where` begins messages. */
static bool read_model(const Checkpoint *source, const char *where, SentencePiece *sp, Error *e) {
    const SideFile *f = checkpoint_file(source, SENTENCEPIECE_FILE);
    return sentencepiece_read(sp, f->bytes, f->size, where, e);
}

/* For loading: what cannot be done exactly is an error. */
bool sentencepiece_to_keys(const Checkpoint *source, const json_t *config, Checkpoint *out, Error *e) {
    char where[600];
    SentencePiece sp;
    snprintf(where, sizeof where, "%.500s/tokenizer.model", source->path ? source->path : "checkpoint");
    if (!read_model(source, where, &sp, e)) return false;
    const char *missing = unsupported(&sp);
    if (!missing && has_unused(&sp)) missing = "pieces that may not be used";
    bool ok = missing ? error_set(e, ERR_INPUT, "%s: %s: not supported", where, missing)
                      : write_keys(source, &sp, NULL, config, out, e);
    sentencepiece_free(&sp);
    return ok;
}

/* For an output: a tokenizer that llama.cpp cannot have leaves a GGUF without one, and a notice. */
bool sentencepiece_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e) {
    char where[600];
    SentencePiece sp;
    snprintf(where, sizeof where, "%.500s/tokenizer.model", source->path ? source->path : "checkpoint");
    if (!read_model(source, where, &sp, e)) return false;
    const char *missing = unsupported(&sp);
    bool ok = true;
    if (missing) {
        conversion_notice(to, "tokenizer.model has %s; the GGUF gets no tokenizer", missing);
        meta_set_string(out, "tokenizer.ggml.model", "none", 4);
    } else {
        ok = write_keys(source, &sp, to, to->config, out, e);
        if (sp.model == PIECES_BPE && (sp.charsmap || sp.squeeze_spaces))
            conversion_notice(to, "tokenizer.model %s before it makes tokens; llama.cpp does not",
                              sp.charsmap ? "normalises text" : "drops spaces");
    }
    sentencepiece_free(&sp);
    return ok;
}
