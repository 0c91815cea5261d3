/* The head (the projection to logits), the loss, and the gradient of the loss. They are computed for one
 * block of rows at a time, because the logits of a whole batch are N x vocabulary floats, often more than all
 * other activations together. */
#ifndef DEROPE_RECAL_HEAD_LOSS_H
#define DEROPE_RECAL_HEAD_LOSS_H

#include "recal/activations.h"
#include "recal/objectives.h"

/* Scores the forward pass `p` against `targets` (B, T; -1: not scored) and gives the mean loss of the scored
 * positions in *loss, in nats; 0 if none is scored. `teacher` is a forward pass over the same tokens for
 * objectives that need one, otherwise NULL.
 *
 * If `grads` is not NULL, the gradient of grad_scale * mean loss is computed as well. The gradient of the
 * head's weights is added to `grads`, which has the layout of the net's weights. p->normed (N, C), the output
 * of the final norm, is overwritten with the gradient with respect to it; the backward pass (backward.h)
 * starts from there. False with ERR_FAILED if there is not enough memory. */
bool head_loss(ForwardPass *p, const ForwardPass *teacher, const Objective *objective, const int32_t *targets,
               float *grads, float grad_scale, double *loss, Error *e);
/* Bytes of memory that head_loss takes with a teacher and with gradients, for estimates. */
uint64_t head_loss_bytes(const ModelSpec *s);

#endif
