/* Special tokens without an embedding (special_ids.h). export_hf.c and export_gguf.c call this when the rest
 * of a configuration is complete. Negative ids stay: they are how some configurations say "none". */
#include "surgery/special_ids.h"

#include <string.h>

#include "formats/meta.h"
#include "formats/text.h"
#include "surgery/notices.h"

/* "pad_token_id", "tokenizer.ggml.padding_token_id". */
static bool names_an_id(const char *key) {
    return text_ends_with(key, "_token_id");
}

/* Whether a JSON value is an id beyond the vocabulary. */
static bool is_beyond(const json_t *v, uint32_t vocab) {
    return json_is_integer(v) && json_integer_value(v) >= (json_int_t)vocab;
}

static void note(json_t *notices, const char *key, long long id, uint32_t vocab) {
    notice_add(notices, "%.80s %lld is left out: the vocabulary has %u tokens", key, id, vocab);
}

/* Takes ids out of a list, from the end, so that positions before stay right. */
static void limit_list(json_t *list, const char *key, uint32_t vocab, json_t *notices) {
    for (size_t i = json_array_size(list); i-- > 0;)
        if (is_beyond(json_array_get(list, i), vocab)) {
            note(notices, key, json_integer_value(json_array_get(list, i)), vocab);
            json_array_remove(list, i);
        }
}

/* Values are replaced in place, which jansson allows while an object is walked through. */
void special_ids_limit_config(json_t *config, const char *name, uint32_t vocab, json_t *notices) {
    const char *key;
    json_t *v;
    json_object_foreach(config, key, v) {
        char place[160];
        if (!names_an_id(key)) continue;
        snprintf(place, sizeof place, "%s: %.100s", name, key);
        limit_list(v, place, vocab, notices);
        if (!is_beyond(v, vocab)) continue;
        note(notices, place, json_integer_value(v), vocab);
        json_object_set_new(config, key, json_null());
    }
}

/* From the end, because removing a key moves those behind it. */
void special_ids_limit_keys(Checkpoint *gguf, uint32_t vocab, json_t *notices) {
    for (size_t i = gguf->n_meta; i-- > 0;) {
        const char *key = gguf->meta[i].key;
        uint64_t id;
        if (strncmp(key, "tokenizer.ggml.", 15) != 0 || !names_an_id(key)) continue;
        if (!meta_u64(gguf, key, &id) || id < vocab) continue;
        note(notices, key, (long long)id, vocab);
        meta_remove(gguf, key);
    }
}
