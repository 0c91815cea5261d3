/* Perplexity over windows that do not overlap. */
#ifndef DEROPE_RECAL_PERPLEXITY_H
#define DEROPE_RECAL_PERPLEXITY_H

#include "recal/net.h"

typedef enum Score { SCORE_ALL, SCORE_HALF } Score;

typedef struct Perplexity {
    uint64_t context, tokens, windows; /* tokens scored */
    double nll;                        /* mean, nats */
    double stderr_nll;                 /* over windows */
} Perplexity;

/* SCORE_ALL: positions 1..T-1 of each window. SCORE_HALF: as llama-perplexity, positions T/2+1..T-1, each
 * window's first token replaced by `bos` if that is >= 0. An incomplete last window is left out. */
bool perplexity(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score, int32_t bos,
                const volatile int *stop, Perplexity *out, Error *e);
/* The same; `by_position` (context), unless NULL, receives the sum over windows of what token i + 1 cost. */
bool perplexity_by_position(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score,
                            int32_t bos, const volatile int *stop, double *by_position, Perplexity *out,
                            Error *e);
/* Ends of the 95 % interval of the perplexity, by Student's t over windows; 0 and infinity for one window. */
void perplexity_interval(const Perplexity *p, double *low, double *high);

#endif
