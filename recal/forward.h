/* The forward pass of training: embedding, layers, final norm. */
#ifndef DEROPE_RECAL_FORWARD_H
#define DEROPE_RECAL_FORWARD_H

#include "recal/activations.h"
#include "recal/ops/attention.h"

/* Runs ids (B, T), which the caller has checked against the vocabulary. Leaves the residual stream in p->x,
 * the final norm of it in p->normed, and the layers' activations in p->saved. */
void forward_pass_run(ForwardPass *p, const int32_t *ids);

/* Describes the attention of all B sequences of `layer`, reading and writing p->saved; the backward pass
 * needs it as well. The caller frees the array. */
Attention *forward_attention_describe(const ForwardPass *p, uint32_t layer, const float *sinks);
/* The arrays of a layer's experts. `hidden` is what they use for the activation. */
ExpertActivations forward_expert_activations(const ForwardPass *p, uint32_t layer, float *hidden);

#endif
