/* Small questions about tokenizer.json, shared by the loader and by the conversion to GGUF. jansson's
 * look-ups return NULL for a missing member and for a value that is no object, so none of these functions
 * needs a check of its own. */
#include "surgery/tokenizer/tokenizer_json.h"

#include <string.h>

#include "formats/json.h"

/* HF `tokenizers` names the variant of every part by its "type". */
bool tokenizer_json_is(const json_t *o, const char *type) {
    const char *t = json_get_string(o, "type");
    return t && strcmp(t, type) == 0;
}

/* A value of another type counts as missing. */
bool tokenizer_json_flag(const json_t *o, const char *key, bool fallback) {
    bool v;
    return json_get_bool(o, key, &v) ? v : fallback;
}

/* transformers writes a string for a plain token, and an object where the token has options. */
const char *tokenizer_json_content(const json_t *token) {
    return json_is_object(token) ? json_get_string(token, "content") : json_string_value(token);
}

/* Files of tokenizers before 0.20 have "left right". */
bool tokenizer_json_merge(const json_t *merge, MergePair *out) {
    if (json_is_string(merge)) {
        out->left = json_string_value(merge);
        /* A space inside of a token is written as "Ġ" or a marker, so the first one separates the two. */
        const char *space = strchr(out->left, ' ');
        if (!space) return false;
        out->left_len = (size_t)(space - out->left);
        out->right = space + 1;
        return true;
    }
    /* Files of tokenizers 0.20 and later have arrays of two texts. */
    out->left = json_string_value(json_array_get(merge, 0));
    out->right = json_string_value(json_array_get(merge, 1));
    if (!out->left || !out->right) return false;
    out->left_len = strlen(out->left);
    return true;
}
