/* The pre-tokenizers that cut text into pieces before byte-level BPE (pre_tokenizers.c). A tokenizer.json
 * lists the steps of its pre-tokenizer ("Split" by a regular expression, "Digits", "ByteLevel", ...). A GGUF
 * has only a name, in tokenizer.ggml.pre, and the regular expressions for each name are part of llama.cpp.
 * The table declared here maps one to the other. */
#ifndef DEROPE_SURGERY_TOKENIZER_PRE_TOKENIZERS_H
#define DEROPE_SURGERY_TOKENIZER_PRE_TOKENIZERS_H

#include <jansson.h>
#include <stdbool.h>

/* A way of cutting text. */
typedef struct PreTokenizerCut {
    const char *const *hf; /* the steps of tokenizer.json: one of PRE_* below, or the expression of a Split
                              with the behavior "Isolated"; ended by NULL */
    const char *const
        *llama; /* the expressions by which llama.cpp cuts, one after the other; ended by NULL */
} PreTokenizerCut;

#define PRE_BYTE_LEVEL "ByteLevel"    /* with GPT-2's expression */
#define PRE_DIGITS "Digits"           /* each digit by itself */
#define PRE_DIGIT_RUNS "Digits, runs" /* runs of digits */
#define PRE_PUNCTUATION "Punctuation" /* runs of punctuation */

typedef struct PreTokenizer {
    const char *gguf; /* the value of tokenizer.ggml.pre */
    const PreTokenizerCut *cut;
    bool nfc;                  /* HF normalises text to NFC first; llama.cpp never does */
    bool hf_ignores_merges;    /* HF takes a piece that is a token without merging ("ignore_merges") */
    bool llama_ignores_merges; /* llama.cpp takes such a piece without merging */
    bool adds_bos;             /* llama.cpp adds BOS if the GGUF has no tokenizer.ggml.add_bos_token */
} PreTokenizer;

/* All supported pre-tokenizers; the last entry has no name. */
extern const PreTokenizer pre_tokenizers[];

/* The pre-tokenizer whose `gguf` is `name`, or NULL if there is none. If `name` is NULL, the one called
 * "default", which llama.cpp uses for a GGUF without tokenizer.ggml.pre. */
const PreTokenizer *pre_tokenizer_named(const char *name);
/* The pre-tokenizer that cuts text like the pre_tokenizer of a tokenizer.json, or NULL if none does. If
 * several do, the one whose other fields agree best with its normalizer and ignore_merges. */
const PreTokenizer *pre_tokenizer_of(const json_t *tokenizer);
/* True if a step of one of them, as tokenizer.json has it, is this expression. */
bool pre_tokenizer_publishes(const char *expression);

/* A new pre_tokenizer for a tokenizer.json that cuts in this way and turns bytes into GPT-2's characters.
 * With `prefix`, a space is put in front of a text that has none. */
json_t *pre_tokenizer_steps(const PreTokenizerCut *cut, bool prefix);
/* A new ByteLevel, as a step with GPT-2's expression (`use_regex`) or without it, or as the decoder. */
json_t *pre_tokenizer_byte_level(bool use_regex, bool prefix);

#endif
