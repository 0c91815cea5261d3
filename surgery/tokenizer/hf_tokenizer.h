/* The tokenizer of a Hugging Face folder, put together from its files as transformers' AutoTokenizer does
 * (transformers/tokenization_utils_base.py, _from_pretrained, and tokenization_utils_tokenizers.py). Most
 * folders say everything in tokenizer.json, but tokens may also stand in tokenizer_config.json
 * (added_tokens_decoder, and the special tokens by name), in added_tokens.json or in special_tokens_map.json
 * alone, and old folders have vocab.json and merges.txt instead of tokenizer.json.
 *
 * The result has the form of a tokenizer.json, so that the loader (load_json.c) and the conversion to a GGUF
 * (hf_to_gguf.c) read one value and see the same tokens. */
#ifndef DEROPE_SURGERY_TOKENIZER_HF_TOKENIZER_H
#define DEROPE_SURGERY_TOKENIZER_HF_TOKENIZER_H

#include "formats/checkpoint.h"

typedef struct HfTokenizer {
    /* In the form of tokenizer.json: the folder's own, or one made of vocab.json and merges.txt. NULL: the
     * folder has neither. The list "added_tokens" holds the tokens of all files, each once, with the id that
     * HF `tokenizers` gives it: the one of the vocabulary if the text is in it, otherwise the next free one,
     * whatever id the file states. */
    json_t *root;
    /* tokenizer_config.json, joined with special_tokens_map.json where AutoTokenizer reads that; an empty
     * object if there is neither. */
    json_t *config;
} HfTokenizer;

/* Reads all files of `c` that describe the tokenizer. `out` has to be freed with hf_tokenizer_free, also
 * after an error. ERR_INPUT, with the file's name, if one of them is damaged: not JSON, not an object, an
 * added token without text or id, or an id that the vocabulary gives to another token. */
bool hf_tokenizer_read(const Checkpoint *c, HfTokenizer *out, Error *e);
void hf_tokenizer_free(HfTokenizer *t);

/* Whether the folder has the files that hf_tokenizer_read makes a tokenizer of. */
bool hf_tokenizer_is_there(const Checkpoint *c);

#endif
