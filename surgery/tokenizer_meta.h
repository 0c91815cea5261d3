/* Tokenizers between their two forms: HF's files (tokenizer.json, tokenizer_config.json) and GGUF's keys
 * (tokenizer.ggml.*). Stock runtimes must find in each what they need to tokenise the same. */
#ifndef DEROPE_SURGERY_TOKENIZER_META_H
#define DEROPE_SURGERY_TOKENIZER_META_H

#include "surgery/model.h"

/* Keys for `out` from the HF files of `source`. A source without a tokenizer gives a notice and no keys. */
bool tokenizer_to_gguf(const Checkpoint *source, Model *m, Checkpoint *out, Error *e);
/* Files for `out` from the keys of the GGUF `source`. */
bool tokenizer_from_gguf(const Checkpoint *source, Model *m, Checkpoint *out, Error *e);
/* bos_token_id, eos_token_id, pad_token_id into a config.json, from a GGUF's keys. */
void tokenizer_ids_to_config(const Checkpoint *gguf, json_t *config);

/* The pre-tokenizers both sides have a name for. */
typedef struct PreTokenizer {
    const char *gguf;    /* tokenizer.ggml.pre */
    const char *pattern; /* the regular expression of a Split, NULL if ByteLevel's own is used */
    bool digits;         /* single digits are split off first */
    bool nfc;            /* text is normalised to NFC first */
    bool ignore_merges;
    bool adds_bos; /* where tokenizer.ggml.add_bos_token does not say */
} PreTokenizer;
extern const PreTokenizer pre_tokenizers[]; /* ends with a NULL gguf */

#endif
