/* A model with its weights in fp32, ready to run and to train on the CPU. Built from a Model by its spec. */
#ifndef DEROPE_RECAL_NET_H
#define DEROPE_RECAL_NET_H

#include "surgery/model.h"

/* One parameter tensor inside Net.weights (and Net.grads, and the optimiser's moments, at the same offset).
 */
typedef struct Param32 {
    TensorRole role;
    int layer;
    const char *name; /* HF name */
    size_t offset;    /* in floats */
    size_t rows, cols;
    bool decay; /* matrices get weight decay, norms and biases do not */
} Param32;

typedef struct Net {
    const ModelSpec *spec; /* borrowed from the model */
    Param32 *params;
    size_t n_params;
    size_t n_weights; /* floats */
    float *weights;
    int n_threads;
    void *state; /* layer tables, scratch */
} Net;

/* Loads (decodes) all weights. `n_threads` 0: as many as there are processors allowed. */
Net *net_open(const Model *m, int n_threads, Error *e);
/* Random weights for a spec (normal, std 0.02, output projections scaled by 1/sqrt(2 layers)); no Model. */
void net_close(Net *n);
const Param32 *net_param(const Net *n, TensorRole role, int layer);

/* ---- running ---- */

/* Keys and values of one sequence; windowed layers keep only their window. */
typedef struct KvCache KvCache;
KvCache *kv_new(const Net *n, size_t max_tokens, Error *e);
void kv_free(KvCache *k);
/* Bytes that kv_new would take, for estimates. */
uint64_t kv_bytes(const Net *n, size_t max_tokens);
size_t kv_length(const KvCache *k);

/* Runs `n_ids` more tokens of a sequence (in chunks inside, so that memory stays bounded) and calls `sink`
 * with consecutive blocks of logits: rows first .. first+count of the new tokens, (count, vocab). `skip`
 * rows at the start need no logits and are not computed. NULL sink: nothing is. */
typedef bool (*LogitSink)(void *context, size_t first, size_t count, const float *logits, Error *e);
bool net_run(Net *n, KvCache *kv, const int32_t *ids, size_t n_ids, size_t skip, LogitSink sink,
             void *context, Error *e);

/* ---- training ---- */

/* How a batch is scored. Targets: target[i] is the token that position i should predict; -1: not scored.
 * With `teacher` (B*T, vocab) logits the loss is KL(teacher || model) averaged over scored positions,
 * otherwise cross entropy. `grads` (n_weights) is added to: dloss/dweights times `grad_scale`; NULL: no
 * backward pass. Returns mean loss (nats) in *loss. ids and targets are (B, T). */
typedef struct Batch {
    const int32_t *ids, *targets;
    size_t B, T;
    Net *teacher; /* NULL: next-token */
    float grad_scale;
    float *grads;
} Batch;
bool net_train_batch(Net *n, const Batch *b, double *loss, Error *e);
/* Bytes of activations and scratch a batch of this size takes, for estimates. */
uint64_t net_train_bytes(const Net *n, size_t B, size_t T);

#endif
