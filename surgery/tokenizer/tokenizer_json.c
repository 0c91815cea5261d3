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

/* Appends an entry of a template: a special token, or the text of that name. */
static void put_piece(json_t *list, const char *special, const char *sequence, int type_id) {
    json_array_append_new(
        list, special ? json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", special, "type_id", type_id)
                      : json_pack("{s:{s:s, s:i}}", "Sequence", "id", sequence, "type_id", type_id));
}

/* Appends a text (or the second one of a pair) between the special tokens. */
static void put_text(json_t *list, AroundToken before, AroundToken behind, const char *sequence,
                     int type_id) {
    if (before.text) put_piece(list, before.text, NULL, type_id);
    put_piece(list, NULL, sequence, type_id);
    if (behind.text) put_piece(list, behind.text, NULL, type_id);
}

/* Adds a token to the table of ids of a template. */
static void put_id(json_t *table, AroundToken token) {
    if (token.text)
        json_object_set_new(
            table, token.text,
            json_pack("{s:s, s:[I], s:[s]}", "id", token.text, "ids", token.id, "tokens", token.text));
}

/* HF `tokenizers` wants the form for a pair of texts as well. */
json_t *tokenizer_json_template(AroundToken before, AroundToken behind) {
    if (!before.text && !behind.text) return json_null();
    json_t *table = json_object(), *single = json_array(), *pair = json_array();
    put_id(table, before);
    put_id(table, behind);
    put_text(single, before, behind, "A", 0);
    put_text(pair, before, behind, "A", 0);
    put_text(pair, before, behind, "B", 1);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", table);
}
