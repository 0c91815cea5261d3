/* The tiny Llama of tiny_model.h with a tokenizer, and texts that it can read: for tests of verbs that take
 * text. */
#ifndef DEROPE_TESTS_TEXT_MODEL_H
#define DEROPE_TESTS_TEXT_MODEL_H

#include "formats/json.h"
#include "tests/tiny_model.h"

/* A byte-level tokenizer.json: lower-case letters, a full stop, space, newline, and four merges. It has 36
 * tokens, fewer than the 40 rows of the model's embedding, as it is with many real models. */
static inline Buffer text_tokenizer(void) {
    static const char *const more[] = {".", "\xc4\xa0", "\xc4\x8a", "th", "the", "an", "in"};
    Buffer b = {0};
    buffer_printf(&b, "{\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true},\n"
                      "  {\"id\": 2, \"content\": \"</s>\", \"special\": true}],\n"
                      " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},\n"
                      " \"decoder\": {\"type\": \"ByteLevel\"},\n"
                      " \"model\": {\"type\": \"BPE\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0");
    for (int i = 0; i < 26; i++)
        buffer_printf(&b, ", \"%c\": %d", 'a' + i, 3 + i);
    for (int i = 0; i < 7; i++)
        buffer_printf(&b, ", \"%s\": %d", more[i], 29 + i);
    buffer_printf(&b, "},\n  \"merges\": [\"t h\", \"th e\", \"a n\", \"i n\"]}}\n");
    return b;
}

/* Writes the model with its tokenizer as an HF folder of that name and returns its path. */
static inline const char *text_folder(const char *name) {
    static const char config[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}\n";
    Checkpoint *c = tiny_checkpoint(tiny_config, false);
    Buffer tokenizer = text_tokenizer();
    checkpoint_set_file(c, "tokenizer.json", tokenizer.data, tokenizer.size);
    checkpoint_set_file(c, "tokenizer_config.json", config, sizeof config - 1);
    buffer_free(&tokenizer);
    return tiny_write(c, name);
}

/* Writes a file of `words` random words, a dozen to a sentence, and returns its path. The same seed gives the
 * same file. */
static inline const char *text_file(const char *name, uint32_t seed, int words) {
    static const char *const list[] = {"the", "an", "inn", "thin", "sea", "was", "there", "and", "in"};
    Buffer b = {0};
    for (int i = 0; i < words; i++) {
        seed = seed * 1664525 + 1013904223;
        buffer_printf(&b, "%s%s", list[(seed >> 16) % 9], i % 12 == 11 ? ".\n" : " ");
    }
    const char *path = scratch_file(name, b.data, b.size);
    buffer_free(&b);
    return path;
}

#endif
