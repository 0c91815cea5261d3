/* The parts of a transformer layer that running with a KV cache (inference.c) and training (forward.c,
 * backward.c) have in common: its parameters, the norms of the residual stream, and the way from a branch's
 * input to queries and keys.
 *
 * A layer adds two branches, attention and the MLP, to the residual stream x (N, C):
 *     x += residual_scale * post_norm(branch(norm(x)))
 * where either norm may be missing. How the two branches follow each other is the spec's ResidualLayout. */
#ifndef DEROPE_RECAL_TRANSFORMER_LAYER_H
#define DEROPE_RECAL_TRANSFORMER_LAYER_H

#include "recal/net.h"
#include "recal/ops/attention.h"
#include "recal/rope_tables.h"

/* Pointers to a layer's parameters, or to their gradients; NULL where the layer has none. C is the hidden
 * size, F the MLP's ffn_dim; with experts, the MLP's parameters are those of all experts, one after the other
 * (ops/experts.h). */
typedef struct LayerParams {
    float *attn_norm, *attn_norm_bias; /* (C) each: before attention */
    float *q, *k, *v;                  /* (n_heads * head_dim, C), (n_kv_heads * head_dim, C) twice */
    float *q_bias, *k_bias, *v_bias;   /* a float per output */
    float *q_norm, *k_norm; /* QK-norm: (head_dim), or (heads * head_dim) if it norms all heads at once */
    float *sinks;           /* (n_heads) */
    float *o, *o_bias;      /* (C, n_heads * head_dim), (C) */
    float *attn_post_norm;  /* (C): after attention */
    float *ffn_norm, *ffn_norm_bias;              /* (C) each: before the MLP */
    float *router, *router_bias;                  /* (n_experts, C), (n_experts) */
    float *gate, *up, *down;                      /* (F, C) twice, (C, F) */
    float *gate_bias, *up_bias, *down_bias;       /* (F) twice, (C) */
    float *shared_gate, *shared_up, *shared_down; /* the shared expert's: (F, C) twice, (C, F) */
    float *ffn_post_norm;                         /* (C): after the MLP */
} LayerParams;

/* The layer's parameters in `block`, which is n->weights or laid out like it (gradients). */
LayerParams layer_params(const Net *n, float *block, uint32_t layer);

/* ---- the residual stream ---- */

/* The model's kind of norm over N rows of the residual stream; arguments as in ops/norm.h. */
void residual_norm_forward(const Net *n, float *y, float *rstd, const float *x, const float *w,
                           const float *b, size_t N);
void residual_norm_backward(const Net *n, float *dx, float *dw, float *db, const float *dy, const float *x,
                            const float *w, const float *rstd, size_t N);
/* What a branch reads of the stream x (N, C): its norm, computed into `normed` (N, C) with `rstd` (N), or x
 * itself if the layer has no such norm (w NULL). */
const float *branch_input(const Net *n, float *normed, float *rstd, const float *x, const float *w,
                          const float *b, size_t N);
/* x (N, C) += residual_scale * the post-norm of `output` (N, C), or `output` itself if there is none (w
 * NULL). The post-norm is computed into `normed` (N, C), which may be `output`, with `rstd` (N). */
void branch_add(const Net *n, float *x, float *normed, float *rstd, const float *output, const float *w,
                size_t N);

/* ---- attention's inputs ---- */

/* Where queries, keys and values go. With QK-norm, q_linear and k_linear receive the linear layers' outputs,
 * which training needs later; they may be q and k. Without, they are not used. Shapes: layer_sizes.h. */
typedef struct QkvBuffers {
    float *q, *q_linear; /* (N, n_heads * head_dim) */
    float *k, *k_linear; /* (N, n_kv_heads * head_dim) */
    float *v;            /* (N, n_kv_heads * head_dim) */
    float *q_rstd;       /* (N * q_norm_rows): 1/rms of the QK-norm's rows */
    float *k_rstd;       /* (N * k_norm_rows) */
} QkvBuffers;

/* Queries, keys and values of `in` (N, C): linear layers, QK-norm, rotation, attention temperature. Row i
 * stands at position first + i % T, and is rotated by row i % T of `rope`. */
void qkv_forward(const Net *n, uint32_t layer, const LayerParams *w, const QkvBuffers *b, const float *in,
                 const RopeTable *rope, size_t first, size_t N, size_t T);
/* Rotates q and k, or their gradients back (`inverse`); nothing happens in layers that do not rotate. */
void rotate_qk(const Net *n, uint32_t layer, float *q, float *k, const RopeTable *rope, size_t N, size_t T,
               bool inverse);
/* Attention temperature (Llama 4): multiplies queries (N, n_heads * head_dim) at position p by
 * 1 + temperature_scale * ln(1 + floor((p + 1) / temperature_floor)); nothing happens where the layer has
 * none. The factor is a constant, so gradients of queries are multiplied by the same function. */
void attention_temperature(Pool *p, const LayerSpec *l, float *x, size_t first, size_t N, size_t T);
/* What the spec says of the layer's attention; the caller adds the sequence's shapes and arrays. */
Attention layer_attention(const LayerSpec *l, const float *sinks);

#endif
