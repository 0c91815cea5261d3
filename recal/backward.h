/* The backward pass of training: from the gradient of the final norm's output to the gradients of all
 * weights. */
#ifndef DEROPE_RECAL_BACKWARD_H
#define DEROPE_RECAL_BACKWARD_H

#include "recal/activations.h"

/* `p` is a pass that was run with its activations kept, whose p->normed now holds the gradient of the final
 * norm's output (head_loss.h). Adds the gradients of all weights below the head to `grads`, laid out like the
 * net's weights, and uses up the activations. `ids` (B, T) are those of the forward pass. False with
 * ERR_FAILED if there is not enough memory. */
bool backward_pass_run(ForwardPass *p, const int32_t *ids, float *grads, Error *e);
/* Bytes of memory that backward_pass_run takes beside the activations, for estimates. */
uint64_t backward_pass_bytes(const ModelSpec *s, size_t B, size_t T);

#endif
