/* From GGUF keys to the tokenizer files of a folder. export_hf.c calls tokenizer_from_gguf when a GGUF that
 * carries no tokenizer files in keys becomes a folder. tokenizer.json is built part by part so that HF
 * `tokenizers` gives the tokens that llama.cpp gives, apart from the differences in README.md. BPE can be
 * written: byte-level ("gpt2"), whose merges are in the GGUF, and SentencePiece's ("llama"), whose merges are
 * computed from scores. Unigram models are not written. */
#include "surgery/tokenizer/gguf_to_hf.h"

#include <stdlib.h>
#include <string.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "surgery/tokenizer/chat_templates.h"
#include "surgery/tokenizer/pre_tokenizers.h"
#include "surgery/tokenizer/tokenizer_json.h"
#include "surgery/tokenizer/unicode.h"

/* The GGUF that is converted, with what several parts need of it. */
typedef struct Source {
    const Checkpoint *c;
    const char **tokens; /* (n): their texts as C strings */
    size_t n;
    bool spm; /* SentencePiece's BPE, not byte-level BPE */
} Source;

/* Writes null for a token that the GGUF does not have: an absent key would mean the default of the class. */
void tokenizer_ids_to_config(const Checkpoint *c, json_t *config) {
    for (int i = 0; i < N_SPECIAL_ROLES; i++) {
        const SpecialTokenRole *role = &special_token_roles[i];
        uint64_t id;
        if (strcmp(role->name, "unk_token") == 0) continue; /* config.json has no id for it */
        bool has = meta_u64(c, role->gguf_key, &id);
        json_object_set_new(config, role->config_key, has ? json_integer((json_int_t)id) : json_null());
    }
}

/* Copies the texts of all tokens into the arena as C strings. JSON and C strings cannot hold a NUL, so a
 * token with one is an error. */
static bool read_tokens(Source *s, Arena *a, Error *e) {
    const MetaEntry *m = meta_find(s->c, "tokenizer.ggml.tokens");
    s->n = m->count;
    s->tokens = arena_alloc(a, s->n * sizeof *s->tokens);
    uint64_t cursor = 0;
    const char *text;
    size_t len;
    for (size_t i = 0; i < s->n; i++) {
        if (!meta_array_string(m, &cursor, &text, &len) || memchr(text, 0, len))
            return error_set(e, ERR_INPUT, "%s: tokenizer.ggml.tokens: token %zu is not text", s->c->path, i);
        s->tokens[i] = arena_strndup(a, text, len);
    }
    return true;
}

/* The PieceType of token i; without the key all tokens are normal. */
static int token_type(const Source *s, size_t i) {
    const MetaEntry *m = meta_find(s->c, "tokenizer.ggml.token_type");
    double type;
    return m && meta_array_f64(m, i, &type) ? (int)type : PIECE_NORMAL;
}

/* ---- tokenizer.json: vocabulary and merges ---- */

/* "added_tokens": the tokens that llama.cpp searches in text (control, user-defined and unknown ones). All
 * but user-defined ones are special. */
static json_t *added_tokens(const Source *s) {
    const MetaEntry *types = meta_find(s->c, "tokenizer.ggml.token_type");
    json_t *list = json_array();
    for (size_t i = 0; types && i < s->n; i++) {
        int type = token_type(s, i);
        if (type != PIECE_CONTROL && type != PIECE_USER && type != PIECE_UNKNOWN) continue;
        json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i,
                                              "content", s->tokens[i], "single_word", 0, "lstrip", 0,
                                              "rstrip", 0, "normalized", 0, "special", type != PIECE_USER));
    }
    return list;
}

/* "model.vocab", {text: id}. Of several tokens with one text the last one stays, since an object has each key
 * once. */
static json_t *vocabulary(const Source *s) {
    json_t *v = json_object();
    for (size_t i = 0; i < s->n; i++)
        json_object_set_new(v, s->tokens[i], json_integer((json_int_t)i));
    return v;
}

/* The merges of a byte-level GGUF, which are in the form of tokenizer.json already. NULL with an error. */
static json_t *stored_merges(const Source *s, Error *e) {
    const MetaEntry *m = meta_find(s->c, "tokenizer.ggml.merges");
    if (!m) {
        error_set(e, ERR_INPUT, "%s: key 'tokenizer.ggml.merges' is missing", s->c->path);
        return NULL;
    }
    json_t *list = json_array();
    uint64_t cursor = 0;
    const char *text;
    size_t len;
    while (meta_array_string(m, &cursor, &text, &len))
        json_array_append_new(list, json_stringn(text, len));
    return list;
}

/* A merge computed from scores. SentencePiece merges the two neighbours that form the token of the highest
 * score; in tokenizer.json every way to split a token into two known ones is a merge, those of the highest
 * score first. */
typedef struct Merge {
    float score;          /* of the merged token */
    uint32_t left, right; /* ids of its parts */
    const char *text;     /* of the merged token */
    size_t cut;           /* bytes of the left part */
} Merge;

/* For qsort: by score, and by the ids of the parts among equal scores, so that the order is always the same.
 */
static int by_score(const void *a, const void *b) {
    const Merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

/* "model.merges" of SentencePiece's BPE, ["left right", ...], made from the scores. Only normal tokens are
 * merged; control tokens are never made from text, and byte tokens stand for characters that have no other.
 */
static json_t *merges_from_scores(const Source *s, const json_t *vocab) {
    const MetaEntry *scores = meta_find(s->c, "tokenizer.ggml.scores");
    Merge *merges = NULL;
    size_t n = 0, capacity = 0;
    /* 1. Collect every split of every token into two known ones. */
    for (size_t i = 0; scores && i < s->n; i++) {
        const char *t = s->tokens[i];
        double score = 0;
        meta_array_f64(scores, i, &score);
        if (token_type(s, i) != PIECE_NORMAL) continue;
        for (size_t cut = 1; t[cut]; cut++) {
            if (((uint8_t)t[cut] & 0xc0) == 0x80) continue; /* not inside a character */
            char left[256]; /* longer parts do not occur and would take quadratic time */
            if (cut >= sizeof left) break;
            memcpy(left, t, cut);
            left[cut] = 0;
            /* Both parts have to be tokens for the pair to be a merge. */
            const json_t *a = json_object_get(vocab, left), *b = json_object_get(vocab, t + cut);
            if (!a || !b) continue;
            if (n == capacity) merges = xrealloc(merges, (capacity = 2 * capacity + 256) * sizeof *merges);
            merges[n++] = (Merge){(float)score, (uint32_t)json_integer_value(a),
                                  (uint32_t)json_integer_value(b), t, cut};
        }
    }
    /* 2. Order them; the place in the list is the rank. */
    if (n) qsort(merges, n, sizeof *merges, by_score);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_sprintf("%.*s %s", (int)merges[i].cut, merges[i].text,
                                                 merges[i].text + merges[i].cut));
    free(merges);
    return list;
}

/* ---- tokenizer.json: steps around the model ---- */

/* The pre-tokenizer that the GGUF names; GPT-2's, with a notice, if derope does not know the name. */
static const PreTokenizer *find_pre(const Source *s, const ConversionTarget *to) {
    const char *name = meta_string(s->c, "tokenizer.ggml.pre", NULL);
    const PreTokenizer *p = pre_tokenizer_named(name);
    if (p) return p;
    conversion_notice(
        to,
        "the pre-tokenizer '%s' of the GGUF is not one derope knows; tokenizer.json cuts text as GPT-2 does",
        name);
    return &pre_tokenizers[0];
}

/* Sets normalizer, pre_tokenizer and decoder of SentencePiece's BPE: a marker in front of the text and for
 * each space when encoding, and back again when decoding. The parts are those that transformers writes for
 * Llama 2. */
static void set_spm_parts(const Source *s, json_t *root) {
    bool prefix = true;
    meta_bool(s->c, "tokenizer.ggml.add_space_prefix", &prefix);
    json_t *normalizers = json_array(), *decoders = json_array();
    /* Encoding: Prepend "▁", then Replace " " by "▁". There is no pre-tokenizer. */
    if (prefix)
        json_array_append_new(normalizers,
                              json_pack("{s:s, s:s}", "type", "Prepend", "prepend", space_marker));
    json_array_append_new(normalizers, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
                                                 "String", " ", "content", space_marker));
    json_object_set_new(root, "normalizer",
                        json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", normalizers));
    json_object_set_new(root, "pre_tokenizer", json_null());
    /* Decoding: "▁" becomes " ", <0xXX> become bytes, tokens are joined, and the space in front is removed.
     */
    json_array_append_new(decoders, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String",
                                              space_marker, "content", " "));
    json_array_append_new(decoders, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(decoders, json_pack("{s:s}", "type", "Fuse"));
    if (prefix)
        json_array_append_new(decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ",
                                                  "start", 1, "stop", 0));
    json_object_set_new(root, "decoder", json_pack("{s:s, s:o}", "type", "Sequence", "decoders", decoders));
}

/* The special token that the boolean key `flag` asks for (`fallback` where it is absent), whose id is in
 * `key`; none if it is not asked for or does not exist. */
static AroundToken wanted_special(const Source *s, const char *flag, bool fallback, const char *key) {
    uint64_t id;
    bool wanted = fallback;
    meta_bool(s->c, flag, &wanted);
    if (!wanted || !meta_u64(s->c, key, &id) || id >= s->n) return (AroundToken){0};
    return (AroundToken){s->tokens[id], (json_int_t)id};
}

/* A template that puts BOS in front and EOS behind, where the GGUF says so; null if it says neither. */
static json_t *post_processor(const Source *s, bool adds_bos) {
    return tokenizer_json_template(
        wanted_special(s, "tokenizer.ggml.add_bos_token", adds_bos, "tokenizer.ggml.bos_token_id"),
        wanted_special(s, "tokenizer.ggml.add_eos_token", false, "tokenizer.ggml.eos_token_id"));
}

/* The member "model"; NULL with an error. SentencePiece's BPE has an unknown token and falls back on bytes,
 * byte-level BPE needs neither. */
static json_t *bpe_model(const Source *s, bool ignore_merges, Error *e) {
    json_t *vocab = vocabulary(s), *merges = s->spm ? merges_from_scores(s, vocab) : stored_merges(s, e);
    if (!merges) {
        json_decref(vocab);
        return NULL;
    }
    uint64_t unk;
    bool has_unk = s->spm && meta_u64(s->c, "tokenizer.ggml.unknown_token_id", &unk) && unk < s->n;
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", has_unk ? json_string(s->tokens[unk]) : json_null(),
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", s->spm, "byte_fallback",
                     s->spm, "ignore_merges", ignore_merges, "vocab", vocab, "merges", merges);
}

/* The whole of tokenizer.json; NULL with an error, or without one if a text is not UTF-8, which JSON cannot
 * hold. */
static json_t *build_tokenizer(const Source *s, const ConversionTarget *to, Error *e) {
    const PreTokenizer *pre = s->spm ? &pre_tokenizers[0] : find_pre(s, to);
    json_t *model = bpe_model(s, !s->spm && pre->hf_ignores_merges, e);
    if (!model) return NULL;
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:n, s:n, s:o, s:n}", "version", "1.0", "truncation",
                             "padding", "added_tokens", added_tokens(s), "normalizer", "pre_tokenizer",
                             "post_processor", post_processor(s, s->spm || pre->adds_bos), "decoder");
    if (s->spm) {
        set_spm_parts(s, root);
    } else {
        if (pre->nfc) json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", "NFC"));
        json_object_set_new(root, "pre_tokenizer", pre_tokenizer_steps(pre->cut, false));
        json_object_set_new(root, "decoder", pre_tokenizer_byte_level(true, false));
    }
    json_object_set_new(root, "model", model);
    return root;
}

/* ---- the files ---- */

/* tokenizer_config.json, and special_tokens_map.json in `*map`. Both name the special tokens by text. The
 * class PreTrainedTokenizerFast takes everything else from tokenizer.json. */
static json_t *build_config(const Source *s, const ConversionTarget *to, const json_t *templates,
                            json_t **map) {
    json_t *c = json_object();
    *map = json_object();
    for (int i = 0; i < N_SPECIAL_ROLES; i++) {
        const SpecialTokenRole *role = &special_token_roles[i];
        uint64_t id;
        if (!meta_u64(s->c, role->gguf_key, &id) || id >= s->n) continue;
        json_object_set_new(c, role->name, json_string(s->tokens[id]));
        json_object_set_new(*map, role->name, json_string(s->tokens[id]));
    }
    /* transformers would otherwise remove spaces before punctuation from decoded text, which llama.cpp does
     * not. */
    json_object_set_new(c, "clean_up_tokenization_spaces", json_false());
    json_object_set_new(c, "model_max_length", json_integer((json_int_t)to->context));
    json_object_set_new(c, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    chat_templates_to_config(templates, c);
    return c;
}

/* Writes a JSON value as a side file and releases it. */
static void set_file(Checkpoint *out, const char *name, json_t *value, int indent) {
    Buffer text = {0};
    json_print(value, indent, &text);
    buffer_byte(&text, '\n');
    checkpoint_set_file(out, name, text.data, text.size);
    buffer_free(&text);
    json_decref(value);
}

/* A tokenizer that cannot be written is no error: the folder gets the weights, and a notice says what is
 * missing. */
bool tokenizer_from_gguf(const Checkpoint *c, const ConversionTarget *to, Checkpoint *out, Error *e) {
    const char *model = meta_string(c, "tokenizer.ggml.model", NULL);
    const MetaEntry *tokens = meta_find(c, "tokenizer.ggml.tokens");
    /* 1. Is it a kind that can be written? */
    Source s = {.c = c, .spm = model && strcmp(model, "llama") == 0};
    if (model && strcmp(model, "none") == 0) return true; /* a model without a tokenizer stays one */
    if (!model || !tokens || tokens->elem_type != META_STRING || (!s.spm && strcmp(model, "gpt2") != 0)) {
        conversion_notice(to, "the GGUF's tokenizer '%s' is not one derope can write as tokenizer.json",
                          model ? model : "(none)");
        return true;
    }
    Arena a = {0};
    /* 2. Build the three files, and add them once all of them are complete. */
    json_t *templates = chat_templates_read(c, e), *map = NULL;
    json_t *root = templates && read_tokens(&s, &a, e) ? build_tokenizer(&s, to, e) : NULL;
    if (root) {
        json_t *config = build_config(&s, to, templates, &map);
        set_file(out, TOKENIZER_FILE, root, 2);
        set_file(out, TOKENIZER_CONFIG_FILE, config, 2);
        set_file(out, SPECIAL_TOKENS_FILE, map, 2);
    }
    json_decref(templates);
    arena_free(&a);
    if (!root && e->code == ERR_NONE)
        error_set(e, ERR_INPUT, "%s: a special token of tokenizer.ggml.tokens is not UTF-8", c->path);
    return root != NULL;
}
