/* A model with its weights in fp32, ready to run and to train on the CPU. Built from a Model by its spec. */
#ifndef DEROPE_RECAL_NET_H
#define DEROPE_RECAL_NET_H

#include "recal/threads.h"
#include "surgery/model.h"

/* A parameter tensor in Net.weights; gradients and the optimiser's moments have it at the same offset. */
typedef struct Param32 {
    TensorRole role;
    int layer;
    size_t offset; /* in floats */
    size_t rows, cols;
    bool decay; /* matrices get weight decay, norms and biases do not */
} Param32;

typedef struct Net {
    const ModelSpec *spec; /* borrowed from the model */
    Param32 *params;
    size_t n_params;
    size_t n_weights; /* floats */
    float *weights;
    float *ones;     /* the weight of norms that have none */
    size_t *offsets; /* (layer + 1, role) -> offset + 1; 0: absent */
    Pool *pool;
} Net;

/* Loads (decodes) all weights. `n_threads` 0: as many as there are processors allowed. */
Net *net_open(const Model *m, int n_threads, Error *e);
/* Random weights for a model opened from its configuration alone: normal with std initializer_range (0.02),
 * output projections by 1/sqrt(2 layers) less, norms 1, biases 0. The same `seed` gives the same weights. */
Net *net_random(const Model *m, uint64_t seed, int n_threads, Error *e);
void net_close(Net *n);
/* The same weights run by another spec of equal shapes (borrowed): a view, which must not outlive `n` and is
 * not closed. */
Net net_under(const Net *n, const ModelSpec *spec);
/* A parameter in `block`, weights or gradients laid out as those of the net; NULL if absent. */
float *net_at(const Net *n, float *block, TensorRole role, int layer);
/* Bytes of the weights a model's net would take. */
uint64_t net_weight_bytes(const Model *m);

/* ---- running ---- */

/* Keys and values of one sequence; windowed layers keep only what their window still reaches. */
typedef struct KvCache KvCache;
KvCache *kv_new(const Net *n, size_t max_tokens, Error *e);
void kv_free(KvCache *k);
/* Bytes that kv_new would take, for estimates. */
uint64_t kv_bytes(const ModelSpec *s, size_t max_tokens);
size_t kv_length(const KvCache *k);
/* Forgets the sequence; the memory stays. */
void kv_clear(KvCache *k);

/* A point of the sequence to come back to: prompts that begin alike share what they begin with. Global layers
 * are only cut back; of windowed ones the mark keeps what their window reaches. NULL with an error. */
typedef struct KvSnapshot KvSnapshot;
KvSnapshot *kv_snapshot(const KvCache *k, Error *e);
void kv_snapshot_free(KvSnapshot *m);
/* Goes back to where `m` was made. What came before it must not have been run anew since. */
void kv_restore(KvCache *k, const KvSnapshot *m);

/* net_run with this cache ends with ERR_INTERRUPTED once *stop is set. */
void kv_watch(KvCache *k, const volatile int *stop);

/* Runs `n_ids` more tokens of a sequence (in chunks inside, so that memory stays bounded) and calls `sink`
 * with consecutive blocks of logits: rows first .. first+count of the new tokens, (count, vocab), which it
 * may overwrite. The first `skip` rows need no logits and are not computed. NULL sink: none are. */
typedef bool (*LogitSink)(void *context, size_t first, size_t count, float *logits, Error *e);
bool net_run(Net *n, KvCache *kv, const int32_t *ids, size_t n_ids, size_t skip, LogitSink sink,
             void *context, Error *e);

/* ---- training ---- */

/* How a batch is scored. Targets: targets[i] is the token that position i should predict; -1: not scored.
 * With a teacher the loss is KL(teacher || model) averaged over scored positions, otherwise cross entropy.
 * `grads` (n_weights) is added to: dloss/dweights times `grad_scale`; NULL: no backward pass. ids and targets
 * are (B, T). */
typedef struct Batch {
    const int32_t *ids, *targets;
    size_t B, T;
    Net *teacher; /* NULL: next-token */
    float grad_scale;
    float *grads;
} Batch;
/* Mean loss (nats) of the scored positions in *loss. */
bool net_train_batch(Net *n, const Batch *b, double *loss, Error *e);
/* Bytes of activations and scratch a batch of this size takes, for estimates. */
uint64_t net_train_bytes(const ModelSpec *s, size_t B, size_t T);

#endif
