/* The order of the rows of q and k within a head. RoPE rotates pairs of dimensions, and implementations pair
 * them in two ways. In "halves", dimension i is paired with i + head_dim / 2 (transformers, and every Model
 * of this program). "Interleaved", dimension 2i is paired with 2i + 1 (llama.cpp's llama and granite, Cohere
 * in transformers). Permuting q and k in the same way does not change their products, but the order of the
 * rows has to be the one that the runtime pairs by. */
#ifndef DEROPE_SURGERY_ROTARY_ROWS_H
#define DEROPE_SURGERY_ROTARY_ROWS_H

#include "formats/tensor.h"
#include "surgery/role.h"

/* Reorders the rows of each head of `t`, a q or k projection [heads * head_dim, hidden_size] or its bias,
 * from halves to interleaved pairs or back. The tensor's description changes, no byte is moved; `a` holds the
 * new order. */
bool rotary_rows_permute(Arena *a, Tensor *t, TensorRole role, const LayerSpec *l, bool to_interleaved,
                         Error *e);

#endif
