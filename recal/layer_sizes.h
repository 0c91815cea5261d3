/* How wide the activations of a layer are, in floats per token. Whatever allocates activations (inference.c,
 * activations.c, backward.c) takes its sizes from here. */
#ifndef DEROPE_RECAL_LAYER_SIZES_H
#define DEROPE_RECAL_LAYER_SIZES_H

#include <stddef.h>

#include "surgery/spec.h"

/* 0 stands for what the layer does not have. */
typedef struct LayerSizes {
    size_t C;     /* hidden size */
    size_t q;     /* queries: n_heads * head_dim */
    size_t kv;    /* keys, and values: n_kv_heads * head_dim */
    size_t heads; /* query heads */
    size_t mlps;  /* MLPs that a token passes: top_k experts, or 1 */
    size_t up;    /* hidden activations of those MLPs: mlps * ffn_dim */
    size_t gate;  /* equal to `up` if the MLP is gated */
    size_t n_experts;
    size_t top_k;
    size_t shared_up;   /* the shared expert's hidden activations: ffn_dim */
    size_t q_norm_rows; /* rows that the QK-norm makes of a token's queries: one per head, or one in all */
    size_t k_norm_rows; /* rows that it makes of the keys */
    size_t q_norm;      /* queries before QK-norm: equal to `q` if they are normed */
    size_t k_norm;      /* keys before QK-norm: equal to `kv` if they are normed */
    size_t post_norm;   /* a branch's output before its post-norm: equal to C if there are post-norms */
    size_t mid;         /* the residual stream between attention and MLP: C if they run one after the other */
} LayerSizes;

LayerSizes layer_sizes(const ModelSpec *s, uint32_t layer);
/* The largest of each size over all layers, for memory that the layers use in turn. */
LayerSizes layer_sizes_largest(const ModelSpec *s);
/* The larger of the hidden size and of the largest q and up of all layers: a row that can hold any of them.
 */
size_t layer_sizes_widest(const ModelSpec *s);

#endif
