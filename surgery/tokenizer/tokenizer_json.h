/* Small questions about tokenizer.json that its readers ask: the loader (load_json.c), the conversion to GGUF
 * keys (hf_to_gguf.c) and what joins the files of a folder (hf_tokenizer.c); and the part of it that two
 * writers make. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_JSON_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether the member "type" of an object is `type`. False for anything that is no object. */
bool tokenizer_json_is(const json_t *o, const char *type);
/* A member that is true or false; `fallback` if it is missing or something else. */
bool tokenizer_json_flag(const json_t *o, const char *key, bool fallback);
/* The text of a special token in tokenizer_config.json, which is a string or an object with the member
 * "content". NULL if there is none. */
const char *tokenizer_json_content(const json_t *token);

/* One entry of model.merges, "left right" or ["left", "right"]. The texts are borrowed from the JSON value.
 */
typedef struct MergePair {
    const char *left;
    size_t left_len; /* bytes; `left` need not end there */
    const char *right;
} MergePair;

/* False if the value is neither of the two forms. */
bool tokenizer_json_merge(const json_t *merge, MergePair *out);

/* A special token before or behind a text. `text` NULL: none. */
typedef struct AroundToken {
    const char *text;
    json_int_t id;
} AroundToken;

/* A new post_processor, TemplateProcessing, that puts `before` in front of each text and `behind` behind it;
 * a JSON null if neither exists. */
json_t *tokenizer_json_template(AroundToken before, AroundToken behind);

#endif
