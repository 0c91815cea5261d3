/* The recalibration loop: packed tokens -> batches -> AdamW, resumable. */
#ifndef DEROPE_RECAL_TRAIN_H
#define DEROPE_RECAL_TRAIN_H

#include "recal/net.h"
#include "recal/train_options.h"

/* Learning rate of step `i` (from 0) of `n`. */
double train_lr(const TrainOptions *o, uint64_t i, uint64_t n);

typedef struct TrainResult {
    uint64_t tokens, steps;
    uint64_t resumed;   /* of these tokens, what the state brought */
    double seconds;     /* of this process; a resumed run adds what came before */
    double first, last; /* mean loss of the first and last 10 steps */
    json_t *losses;     /* [[tokens, loss], ...], at most 200 points */
} TrainResult;

/* Trains in place on windows of `ids` in a seeded random order (each seen once before any is seen again). The
 * same options, data and thread count give the same weights. `teacher` if the objective needs one, else NULL.
 * On a stop: saves the state and fails with ERR_INTERRUPTED. */
bool train_run(Net *n, const Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o,
               TrainResult *r, Error *e);
/* Bytes training takes beyond the weights: gradients, moments, activations, and the teacher's weights. */
uint64_t train_bytes(const ModelSpec *s, uint64_t weight_bytes, const TrainOptions *o);

#endif
