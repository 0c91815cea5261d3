/* From tokenizer.json to GGUF keys. export_gguf.c calls tokenizer_to_gguf when a folder becomes a GGUF; a
 * folder that has tokenizer.model instead is handed to sentencepiece_to_gguf.c. llama.cpp's converter
 * (convert_hf_to_gguf.py) writes the same keys; tests/peers/test_converter.py compares them.
 *
 * A tokenizer.json with byte fallback was made from a SentencePiece model and becomes the kind "llama", whose
 * merges are expressed by scores. Any other BPE is byte-level and becomes "gpt2", with its merges and the
 * name of its pre-tokenizer. */
#include "surgery/tokenizer/hf_to_gguf.h"

#include <stdio.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/chat_templates.h"
#include "surgery/tokenizer/gguf_vocabulary.h"
#include "surgery/tokenizer/hf_tokenizer.h"
#include "surgery/tokenizer/pre_tokenizers.h"
#include "surgery/tokenizer/sentencepiece_to_gguf.h"
#include "surgery/tokenizer/tokenizer_json.h"

/* ---- vocabulary ---- */

/* Sets text and type of an id, which has to be a row of the model's embedding. `type` is a PieceType. */
static bool set_token(GgufVocabulary *v, const char *text, json_int_t id, int32_t type, const char *where,
                      Error *e) {
    if (id < 0 || (size_t)id >= v->n)
        return error_set(e, ERR_INPUT,
                         "%s/tokenizer.json: token '%.60s' has id %lld, the model's vocabulary has %zu",
                         where, text, (long long)id, v->n);
    v->text[id] = text;
    v->len[id] = strlen(text);
    v->type[id] = type;
    return true;
}

/* Whether a text is <0xXX>, a token of byte fallback. */
static bool is_byte_token(const char *s) {
    return strlen(s) == 6 && strncmp(s, "<0x", 3) == 0 && s[5] == '>';
}

/* Added tokens that have no row in the model's embedding, so that no GGUF can hold them. */
typedef struct Beyond {
    size_t n;
    const char *first; /* text of the first one */
    json_int_t id;     /* and its id */
} Beyond;

/* Reads "model.vocab" and "added_tokens"; the latter say which tokens are special. Texts are borrowed from
 * the JSON value, or live in the arena. */
static bool read_vocab(GgufVocabulary *v, const json_t *root, bool spm, Arena *a, Beyond *beyond,
                       const char *where, Error *e) {
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    const char *text;
    json_t *value;
    size_t i;
    json_object_foreach((json_t *)vocab, text, value) {
        int32_t type = spm && is_byte_token(text) ? PIECE_BYTE : PIECE_NORMAL;
        if (!set_token(v, text, json_is_integer(value) ? json_integer_value(value) : -1, type, where, e))
            return false;
    }
    /* Added tokens come second, so that their types replace those of the same ids above. */
    json_array_foreach(json_object_get(root, "added_tokens"), i, value) {
        const char *content = json_get_string(value, "content");
        json_int_t id = json_integer_value(json_object_get(value, "id"));
        if ((size_t)id < v->n && v->text[id] && strcmp(v->text[id], content) != 0)
            return error_set(e, ERR_INPUT, "%s/tokenizer.json: id %lld is both '%.40s' and '%.40s'", where,
                             (long long)id, v->text[id], content);
        if ((size_t)id >= v->n) {
            if (beyond->n++ == 0) *beyond = (Beyond){1, content, id};
            continue;
        }
        /* llama.cpp searches control and user-defined tokens in text, and leaves control tokens out of what
         * it prints. */
        bool special = json_is_true(json_object_get(value, "special")) || token_looks_special(content);
        int32_t type =
            special ? (spm && strcmp(content, "<unk>") == 0 ? PIECE_UNKNOWN : PIECE_CONTROL) : PIECE_USER;
        if (spm && type == PIECE_USER) content = marker_to_space(content, strlen(content), a);
        if (!set_token(v, content, id, type, where, e)) return false;
    }
    return true;
}

/* ---- merges ---- */

/* SentencePiece merges by score where tokenizer.json merges by rank. A token's score becomes minus the rank
 * of the merge that makes it; the merges are gone through backwards, so that the first of several such merges
 * counts. */
static void write_scores(GgufVocabulary *v, const json_t *root, Checkpoint *out) {
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    Buffer merged = {0};
    for (size_t i = json_array_size(merges); i-- > 0;) {
        MergePair p;
        if (!tokenizer_json_merge(json_array_get(merges, i), &p)) continue;
        merged.size = 0;
        buffer_append(&merged, p.left, p.left_len);
        buffer_append(&merged, p.right, strlen(p.right));
        /* A merge whose result is no token of the vocabulary has no score to set. */
        const json_t *id = json_object_get(vocab, buffer_string(&merged));
        if (id) v->score[json_integer_value(id)] = -(float)i;
    }
    buffer_free(&merged);
    meta_set_array(out, "tokenizer.ggml.scores", META_F32, v->score, v->n);
}

/* Writes the merges as "left right", in their order, which is their rank. */
static bool write_merges(const json_t *root, Checkpoint *out, const char *where, Error *e) {
    const json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    /* The texts live in an arena until they were copied into the key. */
    size_t n = json_array_size(merges);
    Arena a = {0};
    const char **text = arena_alloc(&a, n * sizeof *text);
    size_t *len = arena_alloc(&a, n * sizeof *len);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        MergePair p;
        ok = tokenizer_json_merge(json_array_get(merges, i), &p) ||
             error_set(e, ERR_INPUT, "%s/tokenizer.json: merge %zu is not a pair", where, i);
        if (!ok) break;
        text[i] = arena_printf(&a, "%.*s %s", (int)p.left_len, p.left, p.right);
        len[i] = strlen(text[i]);
    }
    if (ok) meta_set_string_array(out, "tokenizer.ggml.merges", text, len, n);
    arena_free(&a);
    return ok;
}

/* ---- the other keys ---- */

/* Whether the post_processor puts a special token in front of a text, or behind it. */
static bool template_adds_special(const json_t *post, bool at_end) {
    const json_t *list = json_object_get(post, "processors"), *single = json_object_get(post, "single");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (template_adds_special(json_array_get(list, i), at_end)) return true;
    /* A TemplateProcessing: its first or last entry is a special token. */
    size_t last = json_array_size(single);
    return last > 0 && json_object_get(json_array_get(single, at_end ? last - 1 : 0), "SpecialToken") != NULL;
}

/* Whether encoding puts a space in front of a text: by a normalizer Prepend, somewhere in a Sequence, or by
 * Metaspace. */
static bool prepends_space(const json_t *root) {
    Buffer text = {0};
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *pre = json_object_get(root, "pre_tokenizer");
    if (normalizer) json_print(normalizer, 0, &text);
    bool found = strstr(buffer_string(&text), "\"Prepend\"") != NULL;
    /* Metaspace puts a marker in front unless its scheme is "never". */
    const char *scheme = json_get_string(pre, "prepend_scheme");
    if (tokenizer_json_is(pre, "Metaspace")) found |= !scheme || strcmp(scheme, "never") != 0;
    buffer_free(&text);
    return found;
}

/* Writes all keys. `tokenizer_config` may be NULL; `v` is empty and is filled here; texts that have to be
 * made live in `a` until the caller has finished. */
static bool write_keys(const Checkpoint *source, const ConversionTarget *to, const json_t *root,
                       const json_t *tokenizer_config, GgufVocabulary *v, Arena *a, Checkpoint *out,
                       Error *e) {
    const json_t *model = json_object_get(root, "model");
    /* Byte fallback tells the two kinds of BPE apart. */
    const char *type = json_get_string(model, "type");
    bool spm = json_is_true(json_object_get(model, "byte_fallback"));
    Beyond beyond = {0};
    /* 1. Only BPE can be expressed; unigram models need the charsmap and scores of tokenizer.model. */
    if (type && strcmp(type, "BPE") != 0) {
        conversion_notice(to, "tokenizer.json is of type %.60s; the GGUF gets no tokenizer of its own", type);
        meta_set_string(out, "tokenizer.ggml.model", "none", 4);
        return true;
    }
    if (!json_is_object(json_object_get(model, "vocab")))
        return error_set(e, ERR_INPUT, "%s/tokenizer.json: model.vocab is not an object", source->path);
    /* 2. The vocabulary, filled up to the rows of the embedding. */
    if (!read_vocab(v, root, spm, a, &beyond, source->path, e)) return false;
    if (beyond.n)
        conversion_notice(
            to,
            "%zu added tokens are left out of the GGUF (first '%.60s' with id %lld): the model's "
            "vocabulary has %zu rows, so it cannot read them",
            beyond.n, beyond.first, (long long)beyond.id, v->n);
    gguf_vocabulary_fill_gaps(v, a);
    /* 3. Kind and pre-tokenizer. */
    const PreTokenizer *known = spm ? NULL : pre_tokenizer_of(root);
    const char *kind = spm ? "llama" : "gpt2", *pre = known ? known->gguf : "default";
    if (!spm && !known)
        conversion_notice(to,
                          "llama.cpp has no name, or none that derope knows, for the pre-tokenizer of "
                          "tokenizer.json; 'default' was written, and llama.cpp may cut text differently");
    meta_set_string(out, "tokenizer.ggml.model", kind, strlen(kind));
    meta_set_string(out, "tokenizer.ggml.pre", pre, strlen(pre));
    /* 4. Tokens with scores or merges. */
    meta_set_string_array(out, "tokenizer.ggml.tokens", v->text, v->len, v->n);
    if (spm) write_scores(v, root, out);
    meta_set_array(out, "tokenizer.ggml.token_type", META_I32, v->type, v->n);
    if (!spm && !write_merges(root, out, source->path, e)) return false;
    /* 5. Special tokens and how they are put around a text. */
    gguf_write_special_ids(v, tokenizer_config, to->config, out);
    const json_t *post = json_object_get(root, "post_processor");
    meta_set_bool(out, "tokenizer.ggml.add_bos_token", template_adds_special(post, false));
    if (template_adds_special(post, true)) meta_set_bool(out, "tokenizer.ggml.add_eos_token", true);
    if (spm) meta_set_bool(out, "tokenizer.ggml.add_space_prefix", prepends_space(root));
    return true;
}

/* Writes the keys of tokenizer.json, or of vocab.json and merges.txt. */
static bool files_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e) {
    HfTokenizer files;
    Arena a = {0};
    GgufVocabulary v = gguf_vocabulary_new(to->vocab_size);
    bool ok = hf_tokenizer_read(source, &files, e) &&
              write_keys(source, to, files.root, files.config, &v, &a, out, e);
    gguf_vocabulary_free(&v);
    arena_free(&a);
    hf_tokenizer_free(&files);
    return ok;
}

/* A folder without a tokenizer gives a GGUF without one: llama.cpp accepts the kind "none" and then takes
 * token ids. The order of the files is that of tokenizer_open. */
static bool vocabulary_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out,
                               Error *e) {
    if (checkpoint_file(source, TOKENIZER_FILE)) return files_to_gguf(source, to, out, e);
    if (checkpoint_file(source, SENTENCEPIECE_FILE)) return sentencepiece_to_gguf(source, to, out, e);
    if (hf_tokenizer_is_there(source)) return files_to_gguf(source, to, out, e);
    conversion_notice(to, "the source has no tokenizer (neither tokenizer.json nor tokenizer.model, nor "
                          "vocab.json with merges.txt), and the GGUF gets none");
    meta_set_string(out, "tokenizer.ggml.model", "none", 4);
    return true;
}

bool tokenizer_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e) {
    if (!vocabulary_to_gguf(source, to, out, e)) return false;
    json_t *templates = chat_templates_read(source, e);
    if (templates) chat_templates_to_gguf(templates, out);
    json_decref(templates);
    return templates != NULL;
}
