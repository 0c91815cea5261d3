/* The training loop: windows of a text -> batches -> loss and gradients (train_batch.h) -> AdamW
 * (optimizer.h), with a state on disk (state.h) from which an interrupted run goes on as if it had not been
 * interrupted. The hyper-parameters are in train_options.h. */
#ifndef DEROPE_RECAL_TRAIN_H
#define DEROPE_RECAL_TRAIN_H

#include "recal/net.h"
#include "recal/train_options.h"

/* The learning rate of optimizer step `i` (from 0) of `n`: it rises linearly over the warmup, and follows a
 * cosine from lr down to lr * min_lr_ratio over the whole run. */
double train_lr(const TrainOptions *o, uint64_t i, uint64_t n);

typedef struct TrainResult {
    uint64_t tokens;  /* trained on, over all runs */
    uint64_t steps;   /* optimizer steps taken, over all runs */
    uint64_t resumed; /* of `tokens`, those that the loaded state had been trained on */
    double seconds;   /* time in the loop, over all runs */
    double first;     /* mean loss of the first 10 steps, in nats per token */
    double last;      /* mean loss of the last 10 steps */
    json_t *losses;   /* [[tokens, loss], ...] over the run, at most about 200 points; the caller frees it */
} TrainResult;

/* Trains `n` in place on windows of `ids`, each of o->context tokens and its targets. The windows come in a
 * random order that o->seed decides; each is seen once before any is seen a second time. The same options,
 * text and number of threads give the same weights, bit for bit, also if the run was interrupted and resumed.
 * `teacher` is not NULL if the objective needs one.
 *
 * False with ERR_USAGE for options that make no sense, ERR_INPUT if the text is shorter than one window or a
 * state does not fit, ERR_FAILED if the loss is not finite or memory is short, ERR_INTERRUPTED after *o->stop
 * was set and the state was saved. Whatever it returns, the caller owns r->losses. */
bool train_run(Net *n, const Net *teacher, const int32_t *ids, size_t n_ids, const TrainOptions *o,
               TrainResult *r, Error *e);
/* Bytes that training takes beyond the model's weights (`weight_bytes`): gradients, moments, activations, and
 * the teacher's weights if the objective needs a teacher. For estimates. */
uint64_t train_bytes(const ModelSpec *s, uint64_t weight_bytes, const TrainOptions *o);

#endif
