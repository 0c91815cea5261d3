/* Tensors that an output has beside the model's own, because its architecture demands them. None of them
 * changes what the model computes. */
#ifndef DEROPE_SURGERY_EXPORT_ADDED_H
#define DEROPE_SURGERY_EXPORT_ADDED_H

#include "surgery/export_state.h"

/* GGUF: the tables by which llama.cpp divides frequencies, for Llama 3's scaling and LongRoPE. */
void export_add_rope_tables(Export *x);
/* What the carrier needs in every layer: sinks that contribute nothing, a router of one expert, a bias of
 * zeros. */
bool export_add_carrier_tensors(Export *x);
/* GGUF: a copy of the embedding as output matrix, where the architecture cannot share the two. */
bool export_add_tied_head(Export *x);

#endif
