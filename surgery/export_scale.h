/* The softmax scale in an output. A model's spec has the scale of every layer; a stock architecture computes
 * with 1/sqrt(head_dim), with a constant of its own, or with what a key says. The difference is multiplied
 * into the queries, since scores are linear in them: softmax(s * q . k) = softmax((s * q) . k). */
#ifndef DEROPE_SURGERY_EXPORT_SCALE_H
#define DEROPE_SURGERY_EXPORT_SCALE_H

#include "surgery/export_state.h"

/* The factor that the queries of a layer have to be multiplied by; 1 if the output's architecture computes
 * with the scale of the layer. */
double export_query_factor(const Export *x, int layer);
/* Multiplies `t` by export_query_factor if its role takes the factor (role_takes_scale): q_proj and its bias,
 * or the weight of the norm on queries if there is one. */
void export_scale_queries(const Export *x, TensorRole role, int layer, Tensor *t);
/* Fails if queries would have to be multiplied but the weights can only be copied (GPTQ and other formats
 * that derope cannot decode). */
bool export_check_scale(const Export *x);

#endif
