/* How text is cut before byte-level BPE, in the languages of both sides. A tokenizer.json writes the steps
 * out ("Split" by an expression, "Digits", "ByteLevel", ...). A GGUF only has a name in tokenizer.ggml.pre,
 * and llama.cpp has the expressions that belong to it built in. This table connects them. */
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
    bool llama_ignores_merges; /* llama.cpp does so */
    bool adds_bos;             /* BOS is put in front where tokenizer.ggml.add_bos_token does not say */
} PreTokenizer;

/* All that are known, ended by one without a name. */
extern const PreTokenizer pre_tokenizers[];

/* The one of that name, or NULL. Without a name: the one that llama.cpp takes then, "default". */
const PreTokenizer *pre_tokenizer_named(const char *name);
/* The one that cuts as a tokenizer.json says, or NULL. Where several do, the one that fits its normalizer and
 * ignore_merges best. */
const PreTokenizer *pre_tokenizer_of(const json_t *tokenizer);

#endif
