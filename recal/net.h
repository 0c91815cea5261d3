/* A net: the weights of a model, decoded to fp32, in one block of memory, ready to run and to train on the
 * CPU.
 *
 * All parameters lie one after the other in `weights`. Gradients and the optimizer's moments are blocks of
 * the same layout, so that one offset finds a parameter in all of them, and the optimizer, the training state
 * and the gradient's norm are loops over the whole block. What runs on a net: inference.h, train_batch.h. */
#ifndef DEROPE_RECAL_NET_H
#define DEROPE_RECAL_NET_H

#include "recal/threads.h"
#include "surgery/model.h"

/* A parameter: where it lies in Net.weights and in blocks laid out like it. */
typedef struct Param32 {
    TensorRole role;
    int layer;         /* -1: outside the layers (embedding, final norm, head) */
    size_t offset;     /* in floats, a multiple of 16 */
    size_t rows, cols; /* as a matrix; three-dimensional stacks of experts have (experts * rows) rows, vectors
                          have 1 */
    bool decay;        /* matrices get weight decay, norms and biases do not */
} Param32;

typedef struct Net {
    const ModelSpec *spec; /* borrowed from the model */
    Param32 *params;
    size_t n_params;
    size_t n_weights; /* floats in `weights`, the gaps between parameters included; gaps hold 0 */
    float *weights;   /* (n_weights) */
    float *ones;      /* (largest head_dim): the weight of QK-norms that have none */
    size_t *offsets;  /* [(layer + 1) * ROLE_COUNT + role]: offset + 1 in floats; 0: the model has no such
                         parameter */
    Pool *pool;       /* the threads that compute */
} Net;

/* Decodes all weights of `m` to fp32. `n_threads` 0: as many as there are processors that may be used. The
 * net borrows m's spec, so the model must outlive it. NULL with ERR_INPUT if a tensor is missing or the
 * weights are packed by a quantization_config, ERR_FAILED if there is not enough memory. Free with net_close.
 */
Net *net_open(const Model *m, int n_threads, Error *e);
/* A net with random weights, for a model that was opened from its configuration alone: matrices are normal
 * with a standard deviation of config.json's initializer_range (0.02 if it states none); output projections
 * (attention's o and the MLPs' down) with that divided by sqrt(2 * layers), as GPT-2 does; norms are 1 and
 * biases 0. The same `seed` gives the same weights. */
Net *net_random(const Model *m, uint64_t seed, int n_threads, Error *e);
void net_close(Net *n);

/* The same weights run by another spec with equal shapes: a view that borrows everything from `n` and `spec`.
 * It must not outlive them and must not be closed. */
Net net_under(const Net *n, const ModelSpec *spec);
/* The parameter `role` of `layer` (-1: outside the layers) in `block`, which is n->weights or a block laid
 * out like it. NULL if the model has none. */
float *net_at(const Net *n, float *block, TensorRole role, int layer);

/* Bytes of the weights that a net of this model takes, for estimates; WORKSPACE_UNREACHABLE (workspace.h) if
 * no address can reach them. */
uint64_t net_weight_bytes(const Model *m);
/* True if lowest <= ids[i] < vocabulary for all i < n. Otherwise an ERR_INPUT that names the first id that is
 * not. */
bool tokens_known(const ModelSpec *s, const int32_t *ids, size_t n, int32_t lowest, Error *e);

/* Puts the net's weights back into the model after training, as tensors over n->weights: the net must outlive
 * the model's export. Each tensor will be written in its own type; types that cannot be encoded become q8_0,
 * with a notice in the model. */
void net_update_model(const Net *n, Model *m);

#endif
