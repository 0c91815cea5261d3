/* Small questions about tokenizer.json that both of its readers ask: the loader (load_json.c), and the
 * conversion to GGUF keys (hf_to_gguf.c). */
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

#endif
