/* A net: the weights of a model, decoded to fp32, in one block of memory, ready to run and to train on the
 * CPU.
 *
 * All parameters are stored one after the other in `weights`. Gradients and the optimizer's moments are
 * blocks with the same layout. A parameter therefore has the same offset in all of them, and the optimizer
 * step, the training state and the gradient norm are simple loops over whole blocks. inference.h and
 * train_batch.h run a net. */
#ifndef DEROPE_RECAL_NET_H
#define DEROPE_RECAL_NET_H

#include "recal/threads.h"
#include "surgery/model.h"

/* The position and shape of one parameter in Net.weights and in blocks of the same layout. */
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
    float *ones;      /* (largest head_dim): the weight of a QK-norm without a learned one */
    size_t *offsets;  /* [(layer + 1) * ROLE_COUNT + role]: offset + 1 in floats; 0: the model has no such
                         parameter */
    Pool *pool;       /* the threads that compute */
} Net;

/* Decodes all weights of `m` to fp32. If `n_threads` is 0, the net uses all processors that this process may
 * use. The net borrows m's spec, so the model must outlive it. NULL with ERR_INPUT if a tensor is missing or
 * the weights are packed by a quantization_config, ERR_FAILED if there is not enough memory. Free with
 * net_close.
 */
Net *net_open(const Model *m, int n_threads, Error *e);
/* Makes a net with random weights, for a model that was opened from its configuration only. Matrices are
 * drawn from a normal distribution whose standard deviation is initializer_range of config.json (0.02 if
 * absent). As in GPT-2, the standard deviation of the output projections (o of attention and down of the
 * MLPs) is divided by sqrt(2 * layers). Norms are 1 and biases 0. The same `seed` gives the same weights. */
Net *net_random(const Model *m, uint64_t seed, int n_threads, Error *e);
void net_close(Net *n);

/* Returns a net with the weights of `n` and another spec of equal shapes, to run the same weights for example
 * with another context-extension method. It borrows everything from `n` and `spec`, must not outlive them,
 * and must not be closed. */
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

/* Replaces the data of the model's tensors by the trained weights of the net. The tensors point into
 * n->weights, so the net must outlive the model's export. Each tensor keeps its storage type; types that
 * derope cannot encode are replaced by q8_0, with a notice in the model. */
void net_update_model(const Net *n, Model *m);

#endif
