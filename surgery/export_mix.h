/* The types of a GGUF whose --dtype is a mix of llama-quantize, such as q4_k_m (export_mix.c).
 * surgery/quant_mix.h has the rules of the mixes; export.c applies them before it adds the tensors. */
#ifndef DEROPE_SURGERY_EXPORT_MIX_H
#define DEROPE_SURGERY_EXPORT_MIX_H

#include "surgery/export_state.h"

/* Gives each matrix of x->tensors the type that x->mix chooses for the tensor of the output that it becomes.
 * Notices tell where another type was taken because rows are not whole blocks. */
bool export_mix_types(Export *x);
/* Gives `t`, a copy of the embedding that is written as output.weight, the type that x->mix chooses for a
 * head. Does nothing if no mix chooses types. */
void export_mix_head(const Export *x, Tensor *t);

#endif
