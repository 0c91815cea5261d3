/* One transformer layer, wired by its LayerSpec: what the run with a KV cache and the training pass share. */
#ifndef DEROPE_RECAL_TRANSFORMER_LAYER_H
#define DEROPE_RECAL_TRANSFORMER_LAYER_H

#include "recal/net.h"
#include "recal/ops/ops.h"

/* The layer's parameters in a block laid out like Net.weights; NULL where the layer has none. */
typedef struct LayerParams {
    float *attn_norm, *attn_norm_bias, *q, *k, *v, *o, *q_bias, *k_bias, *v_bias, *o_bias, *q_norm, *k_norm,
        *sinks, *attn_post_norm;
    float *ffn_norm, *ffn_norm_bias, *router, *router_bias, *gate, *up, *down, *gate_bias, *up_bias,
        *down_bias, *ffn_post_norm, *shared_gate, *shared_up, *shared_down;
} LayerParams;

LayerParams layer_params(const Net *n, float *block, uint32_t layer);

/* cos and sin of a layer's positions, shared by layers that rotate alike; NULL where it does not rotate. */
typedef struct Rope {
    float *cos, *sin;
    size_t half;
} Rope;

/* One per layer, for positions first .. first+n of a text of `total` tokens. Free with ropes_free. */
Rope *ropes_new(const ModelSpec *s, size_t first, size_t n, size_t total);
void ropes_free(Rope *r, const ModelSpec *s);

/* All of lowest <= ids[i] < vocabulary, or an error that names the first that is not. */
bool tokens_known(const ModelSpec *s, const int32_t *ids, size_t n, int32_t lowest, Error *e);

/* The model's kind of norm over rows of the residual stream; `b` may be NULL. */
void stream_norm_forward(const Net *n, float *y, float *rstd, const float *x, const float *w, const float *b,
                         size_t N);
/* dx, dw and db are added to. */
void stream_norm_backward(const Net *n, float *dx, float *dw, float *db, const float *dy, const float *x,
                          const float *w, const float *rstd, size_t N);

/* A layer's mixture of experts, with its parameters or with their gradients. */
Experts layer_experts(const LayerSpec *l, size_t width, const LayerParams *w);
ExpertParams expert_params(const LayerParams *p);
/* An MLP's weights, or their gradients; NULL where it has none. */
typedef struct MlpParams {
    float *gate, *up, *down, *gate_bias, *up_bias, *down_bias;
} MlpParams;

/* The layer's own, and the expert that every token passes. */
MlpParams mlp_params(const LayerParams *p);
MlpParams shared_mlp_params(const LayerParams *p);
/* out (N, hidden_size) of in (N, hidden_size); `gate` (untouched without a gate), `up` and `wide` (N, F) are
 * left with what they held on the way. `wide` may be gate or up. */
void mlp_forward(const Net *n, Activation act, const MlpParams *w, float *out, const float *in, float *gate,
                 float *up, float *wide, size_t N, size_t F);

/* How many MLPs a token passes: the experts that it uses, or one. */
size_t mlp_passes(const LayerSpec *l);

/* Rows that QK-norm makes of one token's heads: each head its own, or all together. */
size_t qk_norm_groups(QkNorm norm, uint32_t heads);

/* Queries, or their gradients, (N, heads * head_dim), times what the layer has for their positions: row i is
 * at first + i % T. */
void temper(Pool *p, const LayerSpec *l, float *x, size_t first, size_t N, size_t T);

/* y (N, out) = x w^T + bias; bias may be NULL. */
void project(Pool *p, float *y, const float *x, const float *w, const float *bias, size_t N, size_t in,
             size_t out);

/* Logits (rows, vocabulary) of final-normed rows (rows, hidden_size): head, scale, bias, soft cap. */
void head_logits(const Net *n, float *logits, const float *normed, size_t rows);
/* The matrix that does it, in a block laid out like Net.weights. */
float *head_matrix(const Net *n, float *block);

#endif
