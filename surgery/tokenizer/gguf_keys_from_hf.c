/* tokenizer.json, or tokenizer.model, and companions -> tokenizer.ggml.* (llama.cpp's conversion writes the
 * same keys). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "formats/text.h"
#include "surgery/tokenizer/tokenizer_keys.h"

typedef struct Vocab {
    const char **text;
    size_t *len;
    int32_t *type;
    float *score;
    size_t n;
} Vocab;

static void free_vocab(Vocab *v) {
    free(v->text);
    free(v->len);
    free(v->type);
    free(v->score);
}

static bool set_token(Vocab *v, const char *text, json_int_t id, int32_t type, const char *where, Error *e) {
    if (id < 0 || (size_t)id >= v->n)
        return error_set(e, ERR_INPUT,
                         "%s/tokenizer.json: token '%.60s' has id %lld, the model's vocabulary has %zu",
                         where, text, (long long)id, v->n);
    v->text[id] = text;
    v->len[id] = strlen(text);
    v->type[id] = type;
    return true;
}

/* What llama.cpp looks for in text before anything else: spaces are not marked yet. */
static const char *with_spaces(const char *text, size_t n, Arena *a) {
    char *out = arena_strndup(a, text, n), *to = out;
    for (const char *s = out; *s; to++)
        if (strncmp(s, "\xe2\x96\x81", 3) == 0) {
            *to = ' ';
            s += 3;
        } else {
            *to = *s++;
        }
    *to = 0;
    return out;
}

static bool is_byte_token(const char *s) {
    return strlen(s) == 6 && strncmp(s, "<0x", 3) == 0 && s[5] == '>';
}

static bool read_vocab(Vocab *v, const json_t *root, bool spm, Arena *a, const char *where, Error *e) {
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const json_t *added = json_object_get(root, "added_tokens");
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)vocab, text, id) {
        int32_t type = spm && is_byte_token(text) ? PIECE_BYTE : PIECE_NORMAL;
        if (!set_token(v, text, json_is_integer(id) ? json_integer_value(id) : -1, type, where, e))
            return false;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *t = json_array_get(added, i);
        const char *content = json_get_string(t, "content");
        uint64_t n;
        if (!content || !json_get_u64(t, "id", &n)) continue;
        bool special = json_is_true(json_object_get(t, "special"));
        int32_t type =
            special ? (spm && strcmp(content, "<unk>") == 0 ? PIECE_UNKNOWN : PIECE_CONTROL) : PIECE_USER;
        if (spm && type == PIECE_USER) content = with_spaces(content, strlen(content), a);
        if (!set_token(v, content, (json_int_t)n, type, where, e)) return false;
    }
    return true;
}

/* Ids the model has and the tokenizer has not. */
static void fill_gaps(Vocab *v, Arena *a) {
    for (size_t i = 0; i < v->n; i++)
        if (!v->text[i]) {
            v->text[i] = arena_printf(a, "[PAD%zu]", i);
            v->len[i] = strlen(v->text[i]);
            v->type[i] = PIECE_UNUSED;
        }
}

/* "a b" or ["a", "b"]; false if it is neither. */
static bool merge_halves(const json_t *merge, Buffer *joined, Buffer *spaced) {
    joined->size = spaced->size = 0;
    const char *a, *b;
    size_t n;
    if (json_is_string(merge)) {
        a = json_string_value(merge);
        b = strchr(a, ' ');
        if (!b) return false;
        n = (size_t)(b++ - a);
    } else {
        a = json_string_value(json_array_get(merge, 0));
        b = json_string_value(json_array_get(merge, 1));
        if (!a || !b) return false;
        n = strlen(a);
    }
    buffer_append(joined, a, n);
    buffer_append(joined, b, strlen(b));
    buffer_append(spaced, a, n);
    buffer_byte(spaced, ' ');
    buffer_append(spaced, b, strlen(b));
    buffer_string(joined);
    buffer_string(spaced);
    return true;
}

/* SentencePiece merges by score where tokenizer.json merges by rank: a token's score is minus the rank of the
 * merge that makes it. */
static bool write_scores(Vocab *v, const json_t *root, Checkpoint *out) {
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    Buffer joined = {0}, spaced = {0};
    for (size_t i = json_array_size(merges); i-- > 0;) {
        const json_t *id = NULL;
        if (merge_halves(json_array_get(merges, i), &joined, &spaced))
            id = json_object_get(vocab, (char *)joined.data);
        if (id) v->score[json_integer_value(id)] = -(float)i;
    }
    buffer_free(&joined);
    buffer_free(&spaced);
    meta_set_array(out, "tokenizer.ggml.scores", META_F32, v->score, v->n);
    return true;
}

static bool write_merges(const json_t *root, Checkpoint *out, const char *where, Error *e) {
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    size_t n = json_array_size(merges);
    Arena a = {0};
    const char **text = arena_alloc(&a, n * sizeof *text);
    size_t *len = arena_alloc(&a, n * sizeof *len);
    Buffer joined = {0}, spaced = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        ok = merge_halves(json_array_get(merges, i), &joined, &spaced) ||
             error_set(e, ERR_INPUT, "%s/tokenizer.json: merge %zu is not a pair", where, i);
        if (!ok) break;
        text[i] = arena_strndup(&a, (char *)spaced.data, spaced.size);
        len[i] = spaced.size;
    }
    if (ok) meta_set_string_array(out, "tokenizer.ggml.merges", text, len, n);
    buffer_free(&joined);
    buffer_free(&spaced);
    arena_free(&a);
    return ok;
}

static bool has_type(const json_t *o, const char *type) {
    const char *t = json_get_string(o, "type");
    return t && strcmp(t, type) == 0;
}

/* ---- special tokens ---- */

static bool id_of(const Vocab *v, const char *text, uint32_t *id) {
    for (size_t i = 0; text && i < v->n; i++)
        if (strcmp(v->text[i], text) == 0) {
            *id = (uint32_t)i;
            return true;
        }
    return false;
}

static void write_special_ids(const Vocab *v, const json_t *tokenizer_config, const json_t *config,
                              Checkpoint *out) {
    static const struct {
        const char *name, *config, *gguf;
    } roles[] = {{"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
                 {"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
                 {"unk_token", "unk_token_id", "tokenizer.ggml.unknown_token_id"},
                 {"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        const json_t *t = json_object_get(tokenizer_config, roles[i].name);
        const char *text = json_is_object(t) ? json_get_string(t, "content") : json_string_value(t);
        const json_t *c = json_object_get(config, roles[i].config);
        uint32_t id;
        if (id_of(v, text, &id))
            meta_set_u32(out, roles[i].gguf, id);
        else if (json_is_integer(c) && json_integer_value(c) >= 0 && (size_t)json_integer_value(c) < v->n)
            meta_set_u32(out, roles[i].gguf, (uint32_t)json_integer_value(c));
    }
}

/* Whether the template of one text begins (or ends) with a special token. */
static bool template_adds_special(const json_t *post, bool at_end) {
    const json_t *list = json_object_get(post, "processors"), *single = json_object_get(post, "single");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (template_adds_special(json_array_get(list, i), at_end)) return true;
    size_t last = json_array_size(single);
    return last > 0 && json_object_get(json_array_get(single, at_end ? last - 1 : 0), "SpecialToken") != NULL;
}

static bool prepends_space(const json_t *root) {
    Buffer text = {0};
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *pre = json_object_get(root, "pre_tokenizer");
    if (normalizer) json_print(normalizer, 0, &text);
    bool found = strstr(buffer_string(&text), "\"Prepend\"") != NULL;
    const char *scheme = json_get_string(pre, "prepend_scheme");
    if (has_type(pre, "Metaspace")) found |= !scheme || strcmp(scheme, "never") != 0;
    buffer_free(&text);
    return found;
}

static void write_chat_template(const Checkpoint *source, const json_t *tokenizer_config, Checkpoint *out) {
    const SideFile *jinja = checkpoint_file(source, "chat_template.jinja");
    const char *text = json_get_string(tokenizer_config, "chat_template");
    if (jinja)
        meta_set_string(out, "tokenizer.chat_template", (const char *)jinja->bytes, jinja->size);
    else if (text)
        meta_set_string(out, "tokenizer.chat_template", text, strlen(text));
}

static bool write_all(const Checkpoint *source, Model *m, const json_t *root, const json_t *tokenizer_config,
                      Vocab *v, Checkpoint *out, Error *e) {
    const json_t *model = json_object_get(root, "model");
    const char *type = json_get_string(model, "type");
    bool spm = json_is_true(json_object_get(model, "byte_fallback"));
    if (!json_is_object(json_object_get(model, "vocab")) || (type && strcmp(type, "BPE") != 0)) {
        model_notice(m, "tokenizer.json is of type %s; the GGUF gets no tokenizer of its own",
                     type ? type : "(none)");
        meta_set_string(out, "tokenizer.ggml.model", "none", 4);
        return true;
    }
    if (!read_vocab(v, root, spm, &m->arena, source->path, e)) return false;
    fill_gaps(v, &m->arena);
    const PreTokenizer *known = spm ? NULL : pre_tokenizer_of(root);
    const char *kind = spm ? "llama" : "gpt2", *pre = known ? known->gguf : "default";
    if (!spm && !known)
        model_notice(
            m, "the pre-tokenizer of tokenizer.json is not one llama.cpp has a name for that derope knows; "
               "'default' was written, and llama.cpp may cut text differently");
    meta_set_string(out, "tokenizer.ggml.model", kind, strlen(kind));
    meta_set_string(out, "tokenizer.ggml.pre", pre, strlen(pre));
    meta_set_string_array(out, "tokenizer.ggml.tokens", v->text, v->len, v->n);
    if (spm) write_scores(v, root, out);
    meta_set_array(out, "tokenizer.ggml.token_type", META_I32, v->type, v->n);
    if (!spm && !write_merges(root, out, source->path, e)) return false;
    write_special_ids(v, tokenizer_config, m->config, out);
    const json_t *post = json_object_get(root, "post_processor");
    meta_set_bool(out, "tokenizer.ggml.add_bos_token", template_adds_special(post, false));
    if (template_adds_special(post, true)) meta_set_bool(out, "tokenizer.ggml.add_eos_token", true);
    if (spm) meta_set_bool(out, "tokenizer.ggml.add_space_prefix", prepends_space(root));
    write_chat_template(source, tokenizer_config, out);
    return true;
}

/* ---- tokenizer.model ---- */

static const float no_score = -10000, added_score = -1000; /* llama.cpp's */

static void put_piece(Vocab *v, size_t id, const char *text, PieceType type, float score) {
    v->text[id] = text;
    v->len[id] = strlen(text);
    v->type[id] = type;
    v->score[id] = score;
}

static bool has_form(const char *s, const char *start, const char *end) {
    if (!end) return strcmp(s, start) == 0;
    size_t a = strlen(start);
    return strncmp(s, start, a) == 0 && text_ends_with(s + a, end);
}

/* Some models do not call their control tokens special. */
static bool looks_special(const char *s) {
    static const struct {
        const char *start, *end;
    } forms[] = {{"<|", "|>"},     {"<\xef\xbd\x9c", "\xef\xbd\x9c>"},
                 {"<unused", ">"}, {"<pad>", NULL},
                 {"<mask>", NULL}, {"<2mass>", NULL},
                 {"[@BOS@]", NULL}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (has_form(s, forms[i].start, forms[i].end)) return true;
    return false;
}

/* Calls `each` for the tokens of added_tokens.json and of tokenizer_config.json, which knows better. */
typedef bool (*AddedSink)(void *context, uint64_t id, const char *text, bool special, Error *e);

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
                "tokenizer_config.json: added_tokens_decoder: '%.60s' is no id, or has no content", key);
        bool special = json_is_true(json_object_get(value, "special"));
        if (!each(context, id, text, special || looks_special(text), e)) return false;
    }
    return true;
}

typedef struct AddedTokens {
    Vocab *v;
    Arena *a;
} AddedTokens;

typedef struct Count {
    size_t n, pieces;
} Count;

static bool count_added(void *context, uint64_t id, const char *text, bool special, Error *e) {
    (void)special;
    Count *c = context;
    enum { SPARE = 1 << 20 };
    if (id >= c->pieces + SPARE)
        return error_set(e, ERR_INPUT, "token '%.60s' has id %llu in a vocabulary of %zu", text,
                         (unsigned long long)id, c->pieces);
    if (id >= c->n) c->n = (size_t)id + 1;
    return true;
}

static bool put_added(void *context, uint64_t id, const char *text, bool special, Error *e) {
    AddedTokens *x = context;
    if (id >= x->v->n)
        return error_set(e, ERR_INPUT, "token '%.60s' has id %llu, the model's vocabulary has %zu", text,
                         (unsigned long long)id, x->v->n);
    put_piece(x->v, (size_t)id, special ? arena_strdup(x->a, text) : with_spaces(text, strlen(text), x->a),
              special ? PIECE_CONTROL : PIECE_USER, added_score);
    return true;
}

static bool read_pieces(Vocab *v, const SentencePiece *sp, Arena *a, Error *e) {
    if (sp->n > v->n)
        return error_set(e, ERR_INPUT, "tokenizer.model has %zu pieces, the model's vocabulary has %zu",
                         sp->n, v->n);
    for (size_t i = 0; i < v->n; i++)
        if (i >= sp->n)
            put_piece(v, i, arena_printf(a, "[PAD%zu]", i), PIECE_UNUSED, no_score);
        else if (sp->pieces[i].type == PIECE_USER)
            put_piece(v, i, with_spaces(sp->pieces[i].text, sp->pieces[i].len, a), PIECE_USER,
                      sp->pieces[i].score);
        else
            put_piece(v, i, arena_strndup(a, sp->pieces[i].text, sp->pieces[i].len), sp->pieces[i].type,
                      sp->pieces[i].score);
    return true;
}

static void allocate_vocab(Vocab *v) {
    v->text = xcalloc(v->n, sizeof *v->text);
    v->len = xcalloc(v->n, sizeof *v->len);
    v->type = xcalloc(v->n, sizeof *v->type);
    v->score = xcalloc(v->n, sizeof *v->score);
}

static void default_id(Checkpoint *out, const char *key, int32_t id) {
    if (id >= 0 && !meta_find(out, key)) meta_set_u32(out, key, (uint32_t)id);
}

static void write_pieces(const SentencePiece *sp, const Vocab *v, const json_t *tokenizer_config,
                         const json_t *config, Checkpoint *out) {
    bool unigram = sp->model == PIECES_UNIGRAM, bos = !unigram, eos = unigram;
    const char *kind = unigram ? "t5" : "llama";
    meta_set_string(out, "tokenizer.ggml.model", kind, strlen(kind));
    meta_set_string(out, "tokenizer.ggml.pre", "default", 7);
    meta_set_string_array(out, "tokenizer.ggml.tokens", v->text, v->len, v->n);
    meta_set_array(out, "tokenizer.ggml.scores", META_F32, v->score, v->n);
    meta_set_array(out, "tokenizer.ggml.token_type", META_I32, v->type, v->n);
    write_special_ids(v, tokenizer_config, config, out);
    default_id(out, "tokenizer.ggml.bos_token_id", sp->bos);
    default_id(out, "tokenizer.ggml.eos_token_id", sp->eos);
    default_id(out, "tokenizer.ggml.unknown_token_id", sp->unk);
    default_id(out, "tokenizer.ggml.padding_token_id", sp->pad);
    json_get_bool(tokenizer_config, "add_bos_token", &bos);
    json_get_bool(tokenizer_config, "add_eos_token", &eos);
    meta_set_bool(out, "tokenizer.ggml.add_bos_token", bos && meta_find(out, "tokenizer.ggml.bos_token_id"));
    meta_set_bool(out, "tokenizer.ggml.add_eos_token", eos && meta_find(out, "tokenizer.ggml.eos_token_id"));
    meta_set_bool(out, "tokenizer.ggml.add_space_prefix", sp->dummy_prefix);
    meta_set_bool(out, "tokenizer.ggml.remove_extra_whitespaces", sp->squeeze_spaces);
    if (sp->charsmap)
        meta_set_array(out, "tokenizer.ggml.precompiled_charsmap", META_U8, sp->charsmap, sp->charsmap_size);
}

static const char *unsupported(const SentencePiece *sp) {
    return sp->model == PIECES_WORD   ? "a model of words"
           : sp->model == PIECES_CHAR ? "a model of characters"
           : sp->space_behind         ? "spaces marked behind words (treat_whitespace_as_suffix)"
           : !sp->mark_spaces         ? "spaces that are not marked (escape_whitespaces is false)"
                                      : sp->decodes_otherwise;
}

/* The library splits such a piece again after it was made; llama.cpp lets it be. */
static bool has_unused(const SentencePiece *sp) {
    for (size_t i = 0; i < sp->n; i++)
        if (sp->pieces[i].type == PIECE_UNUSED) return sp->model == PIECES_BPE;
    return false;
}

typedef struct Companions {
    json_t *added, *tokenizer_config;
} Companions;

static bool read_companions(const Checkpoint *source, Companions *x, Error *e) {
    Error damaged = {0};
    x->added = checkpoint_json(source, "added_tokens.json", &damaged);
    if (!damaged.code) x->tokenizer_config = checkpoint_json(source, TOKENIZER_CONFIG_FILE, &damaged);
    return !damaged.code || error_set(e, damaged.code, "%s", damaged.message);
}

static bool write_sentencepiece(const Checkpoint *source, const SentencePiece *sp, Model *m,
                                const json_t *config, Checkpoint *out, Error *e) {
    Companions x = {0};
    Arena a = {0};
    Count count = {.n = sp->n, .pieces = sp->n};
    bool ok = read_companions(source, &x, e) &&
              (m || each_added(x.added, x.tokenizer_config, count_added, &count, e));
    Vocab v = {.n = m ? m->spec.vocab : count.n};
    if (ok) {
        allocate_vocab(&v);
        ok = read_pieces(&v, sp, &a, e) &&
             each_added(x.added, x.tokenizer_config, put_added, &(AddedTokens){&v, &a}, e);
    }
    if (ok) {
        write_pieces(sp, &v, x.tokenizer_config, config, out);
        write_chat_template(source, x.tokenizer_config, out);
    } else {
        error_place(e, "%s", source->path ? source->path : "checkpoint");
    }
    free_vocab(&v);
    arena_free(&a);
    json_decref(x.added);
    json_decref(x.tokenizer_config);
    return ok;
}

bool sentencepiece_to_keys(const Checkpoint *source, Model *m, const json_t *config, Checkpoint *out,
                           Error *e) {
    const SideFile *f = checkpoint_file(source, SENTENCEPIECE_FILE);
    char where[600];
    snprintf(where, sizeof where, "%.500s/tokenizer.model", source->path ? source->path : "checkpoint");
    SentencePiece sp;
    if (!sentencepiece_read(&sp, f->bytes, f->size, where, e)) return false;
    const char *odd = unsupported(&sp);
    if (!odd && !m && has_unused(&sp)) odd = "pieces that may not be used";
    bool ok = true;
    if (odd && !m) {
        ok = error_set(e, ERR_INPUT, "%s: %s: not supported", where, odd);
    } else if (odd) {
        model_notice(m, "tokenizer.model has %s; the GGUF gets no tokenizer", odd);
        meta_set_string(out, "tokenizer.ggml.model", "none", 4);
    } else {
        ok = write_sentencepiece(source, &sp, m, config, out, e);
        if (m && sp.model == PIECES_BPE && (sp.charsmap || sp.squeeze_spaces))
            model_notice(m, "tokenizer.model %s before it makes tokens; llama.cpp does not",
                         sp.charsmap ? "normalises text" : "drops spaces");
    }
    sentencepiece_free(&sp);
    return ok;
}

bool tokenizer_to_gguf(const Checkpoint *source, Model *m, Checkpoint *out, Error *e) {
    json_t *root = checkpoint_json(source, TOKENIZER_FILE, e);
    if (!root) {
        if (e->code) return false;
        if (checkpoint_file(source, SENTENCEPIECE_FILE))
            return sentencepiece_to_keys(source, m, m->config, out, e);
        model_notice(m,
                     "the source has neither tokenizer.json nor tokenizer.model; the GGUF gets no tokenizer");
        meta_set_string(out, "tokenizer.ggml.model", "none", 4);
        return true;
    }
    json_t *config = checkpoint_json(source, TOKENIZER_CONFIG_FILE, e);
    bool ok = config || e->code == ERR_NONE;
    Vocab v = {.n = m->spec.vocab};
    allocate_vocab(&v);
    ok = ok && write_all(source, m, root, config, &v, out, e);
    free_vocab(&v);
    json_decref(config);
    json_decref(root);
    return ok;
}
