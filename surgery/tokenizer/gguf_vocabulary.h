/* The vocabulary of a GGUF while it is put together: what tokenizer.ggml.tokens, .token_type and .scores will
 * hold. */
#ifndef DEROPE_SURGERY_TOKENIZER_GGUF_VOCABULARY_H
#define DEROPE_SURGERY_TOKENIZER_GGUF_VOCABULARY_H

#include <jansson.h>

#include "formats/checkpoint.h"

/* Arrays by token id. Texts are borrowed, or live in an arena of the caller. */
typedef struct GgufVocabulary {
    const char **text; /* (n); NULL: no token has this id yet */
    size_t *len;       /* (n): bytes of the texts */
    int32_t *type;     /* (n): a PieceType of formats/sentencepiece.h */
    float *score;      /* (n): higher ones merge first (BPE), or log-probabilities (unigram) */
    size_t n;          /* rows of the model's embedding */
} GgufVocabulary;

/* Room for n tokens. */
GgufVocabulary gguf_vocabulary_new(size_t n);
void gguf_vocabulary_free(GgufVocabulary *v);
/* Gives ids without a token the text "[PAD<id>]" and the type "unused", as llama.cpp's converter does. */
void gguf_vocabulary_fill_gaps(GgufVocabulary *v, Arena *a);

/* A copy of a text in which each space marker is a space: so are user-defined tokens written, because
 * llama.cpp searches them in text whose spaces are not marked yet. */
const char *marker_to_space(const char *text, size_t n, Arena *a);

/* Writes the keys with the ids of special tokens: those that tokenizer_config.json names by text, else those
 * that config.json names by id. Either may be NULL. */
void gguf_write_special_ids(const GgufVocabulary *v, const json_t *tokenizer_config, const json_t *config,
                            Checkpoint *out);
/* Whether a text looks like a control token although no file says that it is one. Some models do not mark
 * theirs; llama.cpp's converter knows them by their form, and so does derope when it writes a GGUF. */
bool token_looks_special(const char *text);

#endif
