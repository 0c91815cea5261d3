/* Continuing a text token by token (`derope generate`). */
#ifndef DEROPE_RECAL_SAMPLING_H
#define DEROPE_RECAL_SAMPLING_H

#include "recal/net.h"

typedef struct GenerateOptions {
    size_t tokens;      /* at most this many new tokens */
    double temperature; /* logits are divided by it before the softmax; 0: always the likeliest token */
    uint64_t seed;      /* the same seed gives the same text */
    int32_t stop_token; /* ends the text and is not passed on; -1: none */
    size_t known; /* only ids below this are drawn, because the tokenizer has text for them alone: embeddings
                   * are often padded to a round size. 0: all */
    const volatile int *stop; /* not 0: ends with ERR_INTERRUPTED; may be NULL */
} GenerateOptions;

/* Receives each new token as it comes; false with an error ends the text. */
typedef bool (*TokenSink)(void *context, int32_t token, Error *e);
/* Runs the prompt (at least one token, otherwise ERR_USAGE) and then draws tokens one by one. */
bool generate_tokens(Net *n, const int32_t *prompt, size_t n_prompt, const GenerateOptions *o, TokenSink sink,
                     void *context, Error *e);

#endif
