/* Sizes of a layer's activations in floats per token, computed from its spec. Layouts of memory
 * (activations.c, backward.c, inference.c) and the code of a layer take their shapes from here, so they
 * cannot differ. A size of 0 stands for "the layer has no such thing": a piece of a workspace with 0 columns
 * takes no memory and is NULL, so that layout functions need no conditions. */
#include "recal/layer_sizes.h"

/* How many rows the QK-norm makes of one token: one for all heads together, or one for each head. */
static size_t norm_rows(QkNorm norm, uint32_t heads) {
    if (norm == QK_NORM_NONE) return 0;
    return norm == QK_NORM_FULL ? 1 : heads;
}

LayerSizes layer_sizes(const ModelSpec *s, uint32_t layer) {
    const LayerSpec *l = &s->layers[layer];
    /* A mixture of experts runs top_k MLPs per token, so its MLP activations are top_k times as wide. */
    LayerSizes z = {.C = s->hidden_size,
                    .q = (size_t)l->n_heads * l->head_dim,
                    .kv = (size_t)l->n_kv_heads * l->head_dim,
                    .heads = l->n_heads,
                    .mlps = l->n_experts ? l->top_k : 1,
                    .n_experts = l->n_experts,
                    .top_k = l->n_experts ? l->top_k : 0,
                    .shared_up = l->shared_expert ? l->ffn_dim : 0,
                    .q_norm_rows = norm_rows(l->q_norm, l->n_heads),
                    .k_norm_rows = norm_rows(l->k_norm, l->n_kv_heads),
                    .post_norm = l->post_norms ? s->hidden_size : 0,
                    .mid = l->residual_layout == RESIDUAL_SEQUENTIAL ? s->hidden_size : 0};
    /* What follows from the others. */
    z.up = z.mlps * l->ffn_dim;
    z.gate = l->no_gate ? 0 : z.up;
    z.q_norm = z.q_norm_rows ? z.q : 0;
    z.k_norm = z.k_norm_rows ? z.kv : 0;
    return z;
}

/* *most = max(*most, size) */
static void raise(size_t *most, size_t size) {
    if (size > *most) *most = size;
}

LayerSizes layer_sizes_largest(const ModelSpec *s) {
    /* The hidden size is the same in all layers. Norms of the stream need a row even in a model without
     * layers. */
    LayerSizes most = {.C = s->hidden_size, .heads = 1};
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSizes z = layer_sizes(s, i);
        raise(&most.q, z.q);
        raise(&most.kv, z.kv);
        raise(&most.heads, z.heads);
        raise(&most.mlps, z.mlps);
        raise(&most.up, z.up);
        raise(&most.gate, z.gate);
        raise(&most.n_experts, z.n_experts);
        raise(&most.top_k, z.top_k);
        raise(&most.shared_up, z.shared_up);
        raise(&most.q_norm_rows, z.q_norm_rows);
        raise(&most.k_norm_rows, z.k_norm_rows);
        raise(&most.q_norm, z.q_norm);
        raise(&most.k_norm, z.k_norm);
        raise(&most.post_norm, z.post_norm);
        raise(&most.mid, z.mid);
    }
    return most;
}

size_t layer_sizes_widest(const ModelSpec *s) {
    /* Buffers that hold either queries or an MLP's activation, one after the other, need the largest of
     * these widths. */
    LayerSizes most = layer_sizes_largest(s);
    size_t widest = most.C;
    /* With a shared expert, shared_up is one MLP's width and never more than `up`. */
    raise(&widest, most.q);
    raise(&widest, most.up);
    return widest;
}
