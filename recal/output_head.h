/* The output head: from the final norm's output to logits. Its matrix (vocabulary, C) is a parameter of its
 * own, or, with tied embeddings, the embedding matrix, whose gradient then collects both uses. C is the
 * hidden size. */
#ifndef DEROPE_RECAL_OUTPUT_HEAD_H
#define DEROPE_RECAL_OUTPUT_HEAD_H

#include "recal/net.h"

/* logits (rows, vocabulary) of `normed` (rows, C), the final norm's output: times the head's matrix and
 * logit_scale, plus the bias, soft-capped, each where the model has it. */
void head_logits(const Net *n, float *logits, const float *normed, size_t rows);
/* The gradient of head_logits, from the gradient by the logits in `dlogits` (rows, vocabulary), which is used
 * up. `capped` (rows, vocabulary) holds the logits that head_logits gave, and is read only if the model has a
 * soft cap. dnormed (rows, C) is overwritten; gradients of the head's matrix and bias are added to `grads`,
 * laid out like n->weights. */
void head_backward(const Net *n, float *grads, float *dnormed, float *dlogits, const float *capped,
                   const float *normed, size_t rows);

#endif
