/* The order of the rows of q and k within a head. RoPE rotates pairs of dimensions; implementations pair them
 * in two ways: dimension i with i + head_dim/2 ("halves": transformers, and every Model here), or 2i with 2i
 * + 1
 * ("interleaved": llama.cpp's llama and granite, Cohere in HF). Since q and k are permuted alike, their
 * products stay the same; only the pairing has to go with the runtime. */
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
