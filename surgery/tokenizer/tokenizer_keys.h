/* Tokenizers between their two forms: HF's files (tokenizer.json, tokenizer_config.json) and GGUF's keys
 * (tokenizer.ggml.*). Stock runtimes must find in each what they need to tokenise the same. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_KEYS_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_KEYS_H

#include "surgery/model.h"

/* Keys for `out` from the HF files of `source`. A source without a tokenizer gives a notice and no keys. */
bool tokenizer_to_gguf(const Checkpoint *source, Model *m, Checkpoint *out, Error *e);
/* Keys for `out` from tokenizer.model, added_tokens.json and tokenizer_config.json of `source`. `config`:
 * config.json, or NULL. Without `m` the vocabulary is as large as these files say, and what no runtime does
 * is an error; with it, as large as the model's, and that is a notice. */
bool sentencepiece_to_keys(const Checkpoint *source, Model *m, const json_t *config, Checkpoint *out,
                           Error *e);
/* Files for `out` from the keys of the GGUF `source`. */
bool tokenizer_from_gguf(const Checkpoint *source, Model *m, Checkpoint *out, Error *e);
/* bos_token_id, eos_token_id, pad_token_id into a config.json, from a GGUF's keys. */
void tokenizer_ids_to_config(const Checkpoint *gguf, json_t *config);

/* A way of cutting text before byte-level BPE. */
typedef struct PreCut {
    const char *const *hf; /* tokenizer.json's steps: one of PRE_*, or the expression of a Split; NULL ends */
    const char *const *llama; /* the expressions by which llama.cpp cuts, one after the other; NULL ends */
} PreCut;

#define PRE_BYTE_LEVEL "ByteLevel" /* with GPT-2's expression */
#define PRE_DIGITS "Digits"        /* single digits */
#define PRE_DIGIT_RUNS "Digits, runs"
#define PRE_PUNCTUATION "Punctuation" /* runs of it */

/* The pre-tokenizers both sides have a name for. */
typedef struct PreTokenizer {
    const char *gguf; /* tokenizer.ggml.pre */
    const PreCut *cut;
    bool nfc;      /* HF normalises text to NFC first; llama.cpp never does */
    bool hf_whole; /* HF takes a piece that is a token without merging ("ignore_merges") */
    bool whole;    /* so does llama.cpp */
    bool adds_bos; /* where tokenizer.ggml.add_bos_token does not say */
} PreTokenizer;
extern const PreTokenizer pre_tokenizers[]; /* ends with a NULL gguf */
/* The one of that name, or NULL; without a name, the one that llama.cpp takes then. */
const PreTokenizer *pre_tokenizer_named(const char *name);
/* The one that cuts as a tokenizer.json says, or NULL. */
const PreTokenizer *pre_tokenizer_of(const json_t *tokenizer);

#endif
