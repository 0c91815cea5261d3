/* The softmax scale in an output. A model's spec has the scale of every layer; a stock architecture computes
 * with 1/sqrt(head_dim), with a constant of its own, or with what a key says. The difference is multiplied
 * into the queries, since scores are linear in them: softmax(s * q . k) = softmax((s * q) . k). */
#ifndef DEROPE_SURGERY_EXPORT_SCALE_H
#define DEROPE_SURGERY_EXPORT_SCALE_H

#include "surgery/export_state.h"

/* What the queries of a layer are multiplied by; 1 where the output says the layer's scale by itself. */
double export_query_factor(const Export *x, int layer);
/* Multiplies `t` by it if it is the tensor that takes it (role_takes_scale): q_proj and its bias, or the
 * weight of the norm behind them. */
void export_scale_queries(const Export *x, TensorRole role, int layer, Tensor *t);
/* False with an error where the factor would have to go into weights that can only be copied (GPTQ, ...). */
bool export_check_scale(const Export *x);

#endif
