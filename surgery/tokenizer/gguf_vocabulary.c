/* The vocabulary of a GGUF while it is put together, and the keys that both conversions to a GGUF write: from
 * tokenizer.json (hf_to_gguf.c) and from tokenizer.model (sentencepiece_to_gguf.c). */
#include "surgery/tokenizer/gguf_vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "formats/sentencepiece.h"
#include "formats/text.h"
#include "surgery/tokenizer/conversion.h"
#include "surgery/tokenizer/tokenizer_json.h"
#include "surgery/tokenizer/unicode.h"

/* Texts are NULL until they are set; an id that keeps NULL is a gap. */
GgufVocabulary gguf_vocabulary_new(size_t n) {
    return (GgufVocabulary){.text = xcalloc(n, sizeof(const char *)),
                            .len = xcalloc(n, sizeof(size_t)),
                            .type = xcalloc(n, sizeof(int32_t)),
                            .score = xcalloc(n, sizeof(float)),
                            .n = n};
}

void gguf_vocabulary_free(GgufVocabulary *v) {
    free(v->text);
    free(v->len);
    free(v->type);
    free(v->score);
    *v = (GgufVocabulary){0};
}

/* llama.cpp needs a token for every row of the embedding. The names are those of its converter. */
void gguf_vocabulary_fill_gaps(GgufVocabulary *v, Arena *a) {
    for (size_t i = 0; i < v->n; i++)
        if (!v->text[i]) {
            v->text[i] = arena_printf(a, "[PAD%zu]", i);
            v->len[i] = strlen(v->text[i]);
            v->type[i] = PIECE_UNUSED;
        }
}

/* The result is never longer than the text, so the copy is changed in place: a marker of three bytes becomes
 * one space. */
const char *marker_to_space(const char *text, size_t n, Arena *a) {
    char *out = arena_strndup(a, text, n), *to = out;
    for (const char *s = out; *s; to++)
        if (strncmp(s, space_marker, SPACE_MARKER_SIZE) == 0) {
            *to = ' ';
            s += SPACE_MARKER_SIZE;
        } else {
            *to = *s++;
        }
    *to = 0;
    return out;
}

/* Finds the id of the token with that text; false if `text` is NULL or not in the vocabulary. */
static bool id_of(const GgufVocabulary *v, const char *text, uint32_t *id) {
    for (size_t i = 0; text && i < v->n; i++)
        if (strcmp(v->text[i], text) == 0) {
            *id = (uint32_t)i;
            return true;
        }
    return false;
}

/* llama.cpp ends a generation at EOS and begins a text with BOS by these keys. A token that
 * tokenizer_config.json names by text may not be in the vocabulary, and config.json may name a list of ids or
 * one that is out of range; then no key is written. */
void gguf_write_special_ids(const GgufVocabulary *v, const json_t *tokenizer_config, const json_t *config,
                            Checkpoint *out) {
    for (size_t i = 0; i < N_SPECIAL_ROLES; i++) {
        const SpecialTokenRole *role = &special_token_roles[i];
        const char *text = tokenizer_json_content(json_object_get(tokenizer_config, role->name));
        const json_t *c = json_object_get(config, role->config_key);
        uint32_t id;
        if (id_of(v, text, &id))
            meta_set_u32(out, role->gguf_key, id);
        else if (json_is_integer(c) && json_integer_value(c) >= 0 && (size_t)json_integer_value(c) < v->n)
            meta_set_u32(out, role->gguf_key, (uint32_t)json_integer_value(c));
    }
}

/* Whether text `s` begins with `start` and ends with `end`. With `end` NULL, whether it is `start`. */
static bool has_form(const char *s, const char *start, const char *end) {
    if (!end) return strcmp(s, start) == 0;
    size_t a = strlen(start);
    return strncmp(s, start, a) == 0 && text_ends_with(s + a, end);
}

/* The forms are those of the converter's does_token_look_special. The second one has full-width bars, as in
 * DeepSeek's tokens. */
bool token_looks_special(const char *text) {
    static const struct {
        const char *start, *end;
    } forms[] = {{"<|", "|>"},     {"<\xef\xbd\x9c", "\xef\xbd\x9c>"},
                 {"<unused", ">"}, {"<pad>", NULL},
                 {"<mask>", NULL}, {"<2mass>", NULL},
                 {"[@BOS@]", NULL}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (has_form(text, forms[i].start, forms[i].end)) return true;
    return false;
}
