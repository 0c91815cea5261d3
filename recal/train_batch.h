/* Loss and gradients of one batch: forward pass (forward.h), head and loss (head_loss.h), backward pass
 * (backward.h). */
#ifndef DEROPE_RECAL_TRAIN_BATCH_H
#define DEROPE_RECAL_TRAIN_BATCH_H

#include "recal/net.h"
#include "recal/objectives.h"

/* B sequences of T tokens each, one after the other, and how they are scored. */
typedef struct Batch {
    const int32_t *ids; /* (B, T) */
    const int32_t
        *targets; /* (B, T): the token that each position should predict; -1: the position is not scored */
    size_t B, T;
    const Objective *objective; /* what the loss is */
    const Net *teacher; /* for objectives that need one, with the model's vocabulary; otherwise not used */
    float grad_scale;   /* of the gradients; 1 / parts where a batch is run in several parts */
    float *grads;       /* laid out like the net's weights; NULL: only the loss is wanted */
} Batch;

/* The mean loss over the scored positions in *loss, in nats (0 if none is scored). Adds grad_scale *
 * dloss/dweights to b->grads. The result does not depend on what b->grads held, nor on the number of threads
 * beyond the order of sums inside matrix products. False with ERR_INPUT for ids outside the vocabulary or a
 * teacher of another vocabulary, ERR_USAGE for an objective without its teacher, ERR_FAILED if there is not
 * enough memory. */
bool net_train_batch(const Net *n, const Batch *b, double *loss, Error *e);
/* Bytes of activations and scratch memory that a batch of B sequences of T tokens takes, a teacher's
 * included, for estimates. Linear in T. */
uint64_t net_train_bytes(const ModelSpec *s, size_t B, size_t T);

#endif
