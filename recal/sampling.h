/* Continuing a text with a KV cache. */
#ifndef DEROPE_RECAL_SAMPLING_H
#define DEROPE_RECAL_SAMPLING_H

#include "recal/net.h"

typedef struct GenerateOptions {
    size_t tokens;      /* at most this many new ones */
    double temperature; /* 0: the likeliest token each time */
    uint64_t seed;
    int32_t stop_token; /* ends the text; -1: none */
    size_t known;       /* ids below this have text; rows beyond them only fill the embedding up. 0: all */
    const volatile int *stop;
} GenerateOptions;

/* Calls `sink` with each new token as it comes. */
typedef bool (*TokenSink)(void *context, int32_t token, Error *e);
bool generate_tokens(Net *n, const int32_t *prompt, size_t n_prompt, const GenerateOptions *o, TokenSink sink,
                     void *context, Error *e);

#endif
