/* Perplexity: exp of the mean negative log-likelihood (NLL) per token, over windows of a text that do not
 * overlap. */
#ifndef DEROPE_RECAL_PERPLEXITY_H
#define DEROPE_RECAL_PERPLEXITY_H

#include "recal/net.h"

/* Which predictions of a window of T tokens count. */
typedef enum Score {
    SCORE_ALL,  /* of tokens 1 .. T - 1: all that have a token before them */
    SCORE_HALF, /* of tokens T/2 + 1 .. T - 1, as llama-perplexity scores: those with at least half a window
                   before them */
} Score;

typedef struct Perplexity {
    uint64_t context;  /* T: tokens of a window */
    uint64_t windows;  /* whole windows in the text */
    uint64_t tokens;   /* predictions scored */
    double nll;        /* mean NLL in nats; the perplexity is its exponential */
    double stderr_nll; /* standard error of the mean, estimated from the means of the windows; 0 for a single
                          window */
} Perplexity;

/* Scores `ids` in windows of `context` tokens; an incomplete last window is left out. With SCORE_HALF, the
 * first token of each window is replaced by `bos` if that is not -1, as llama-perplexity does. `stop` (may be
 * NULL): ends with ERR_INTERRUPTED when it is set. False with ERR_USAGE for a context that predicts nothing,
 * ERR_INPUT for a text shorter than a window or ids outside the vocabulary, ERR_FAILED if a window's loss is
 * not finite or memory is short. */
bool perplexity(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score, int32_t bos,
                const volatile int *stop, Perplexity *out, Error *e);
/* perplexity, and in by_position[i] (context elements, added to; may be NULL) the NLL in nats of the token
 * that follows position i, summed over windows: how the model gets better or worse along the window. */
bool perplexity_by_position(Net *n, const int32_t *ids, size_t n_ids, size_t context, Score score,
                            int32_t bos, const volatile int *stop, double *by_position, Perplexity *out,
                            Error *e);
/* The ends of the 95 % confidence interval of the perplexity, by Student's t distribution with one degree of
 * freedom less than there are windows; 0 and infinity for a single window. */
void perplexity_interval(const Perplexity *p, double *low, double *high);

#endif
