/* What the forward pass of training (forward.c), its backward pass (backward.c) and inference (inference.c)
 * have in common in a layer: where its parameters lie, the norms of the residual stream, and attention's
 * inputs. Each of the three keeps different activations, so they call these functions with buffers of their
 * own. See transformer_layer.h for shapes. */
#include "recal/transformer_layer.h"

#include <math.h>

#include "recal/layer_sizes.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/linear.h"
#include "recal/ops/norm.h"
#include "recal/ops/rope.h"

/* The weight of a QK-norm in `block`. A norm without one (QK_NORM_UNIT, as in Llama 4) multiplies by
 * n->ones; a constant has no gradient, so in a block of gradients it is NULL. */
static float *qk_norm_weight(const Net *n, float *block, QkNorm kind, TensorRole role, int layer) {
    if (kind == QK_NORM_UNIT) return block == n->weights ? n->ones : NULL;
    return net_at(n, block, role, layer);
}

/* One pointer per role into `block`, which holds weights or gradients. net_at gives NULL for roles that the
 * layer does not have, and the layers' code tests the pointers instead of the architecture. */
LayerParams layer_params(const Net *n, float *block, uint32_t layer) {
    int i = (int)layer;
    const LayerSpec *l = &n->spec->layers[layer];
    return (LayerParams){
        .attn_norm = net_at(n, block, ROLE_ATTN_NORM, i),
        .attn_norm_bias = net_at(n, block, ROLE_ATTN_NORM_BIAS, i),
        .q = net_at(n, block, ROLE_Q, i),
        .k = net_at(n, block, ROLE_K, i),
        .v = net_at(n, block, ROLE_V, i),
        .o = net_at(n, block, ROLE_O, i),
        .q_bias = net_at(n, block, ROLE_Q_BIAS, i),
        .k_bias = net_at(n, block, ROLE_K_BIAS, i),
        .v_bias = net_at(n, block, ROLE_V_BIAS, i),
        .o_bias = net_at(n, block, ROLE_O_BIAS, i),
        .q_norm = qk_norm_weight(n, block, l->q_norm, ROLE_Q_NORM, i),
        .k_norm = qk_norm_weight(n, block, l->k_norm, ROLE_K_NORM, i),
        .sinks = net_at(n, block, ROLE_SINKS, i),
        .attn_post_norm = net_at(n, block, ROLE_ATTN_POST_NORM, i),
        .ffn_norm = net_at(n, block, ROLE_FFN_NORM, i),
        .ffn_norm_bias = net_at(n, block, ROLE_FFN_NORM_BIAS, i),
        .router = net_at(n, block, ROLE_ROUTER, i),
        .router_bias = net_at(n, block, ROLE_ROUTER_BIAS, i),
        .gate = net_at(n, block, ROLE_GATE, i),
        .up = net_at(n, block, ROLE_UP, i),
        .down = net_at(n, block, ROLE_DOWN, i),
        .gate_bias = net_at(n, block, ROLE_GATE_BIAS, i),
        .up_bias = net_at(n, block, ROLE_UP_BIAS, i),
        .down_bias = net_at(n, block, ROLE_DOWN_BIAS, i),
        .shared_gate = net_at(n, block, ROLE_SHARED_GATE, i),
        .shared_up = net_at(n, block, ROLE_SHARED_UP, i),
        .shared_down = net_at(n, block, ROLE_SHARED_DOWN, i),
        .ffn_post_norm = net_at(n, block, ROLE_FFN_POST_NORM, i),
    };
}

/* ---- the residual stream ---- */

/* The model's norm with its epsilon over rows of hidden_size. */
void residual_norm_forward(const Net *n, float *y, float *rstd, const float *x, const float *w,
                           const float *b, size_t N) {
    norm_forward(n->pool, n->spec->norm, y, rstd, x, w, b, N, n->spec->hidden_size, (float)n->spec->norm_eps);
}

/* Gradients of that norm; all of them are added to what is there. */
void residual_norm_backward(const Net *n, float *dx, float *dw, float *db, const float *dy, const float *x,
                            const float *w, const float *rstd, size_t N) {
    norm_backward(n->pool, n->spec->norm, dx, dw, db, dy, x, w, rstd, N, n->spec->hidden_size);
}

/* Layers without a norm before the branch (OLMo 2) read the stream as it is, and no copy is made. */
const float *branch_input(const Net *n, float *normed, float *rstd, const float *x, const float *w,
                          const float *b, size_t N) {
    if (!w) return x;
    residual_norm_forward(n, normed, rstd, x, w, b, N);
    return normed;
}

/* x += residual_scale * output, through the post-norm where the layer has one (Gemma 2 and 3, OLMo 2). */
void branch_add(const Net *n, float *x, float *normed, float *rstd, const float *output, const float *w,
                size_t N) {
    if (w) residual_norm_forward(n, normed, rstd, output, w, NULL, N);
    add_scaled(n->pool, x, w ? normed : output, (float)n->spec->residual_scale, N * n->spec->hidden_size);
}

/* ---- attention's inputs ---- */

void qkv_forward(const Net *n, uint32_t layer, const LayerParams *w, const QkvBuffers *b, const float *in,
                 const RopeTable *rope, size_t first, size_t N, size_t T) {
    /* The linear layers write where the QK-norm reads, or directly into q and k where there is none. */
    LayerSizes z = layer_sizes(n->spec, layer);
    float eps = (float)n->spec->norm_eps, *q = w->q_norm ? b->q_linear : b->q,
          *k = w->k_norm ? b->k_linear : b->k;
    /* Step 1: the linear layers. */
    linear_forward(n->pool, q, in, w->q, w->q_bias, N, z.C, z.q);
    linear_forward(n->pool, k, in, w->k, w->k_bias, N, z.C, z.kv);
    linear_forward(n->pool, b->v, in, w->v, w->v_bias, N, z.C, z.kv);
    /* Step 2: QK-norm (arXiv 2302.05442) is an RMSNorm of each head, or of all heads as one row, whatever the
     * norm of the residual stream is. In Llama 4 it follows the rotation; there it has no weight, and a
     * rotation keeps the length of a head, so the order makes no difference. */
    if (w->q_norm)
        norm_forward(n->pool, NORM_RMS, b->q, b->q_rstd, q, w->q_norm, NULL, N * z.q_norm_rows,
                     z.q / z.q_norm_rows, eps);
    if (w->k_norm)
        norm_forward(n->pool, NORM_RMS, b->k, b->k_rstd, k, w->k_norm, NULL, N * z.k_norm_rows,
                     z.kv / z.k_norm_rows, eps);
    /* Step 3: position. */
    rotate_qk(n, layer, b->q, b->k, rope, N, T, false);
    attention_temperature(n->pool, &n->spec->layers[layer], b->q, first, N, T);
}

void rotate_qk(const Net *n, uint32_t layer, float *q, float *k, const RopeTable *rope, size_t N, size_t T,
               bool inverse) {
    const LayerSpec *l = &n->spec->layers[layer];
    /* A layer without position encoding (NoPE) has no table. */
    if (!rope->cos) return;
    /* The inverse rotation is its transpose and therefore its backward pass. Queries and keys have different
     * numbers of heads (GQA, arXiv 2305.13245). */
    rope_apply(n->pool, q, rope->cos, rope->sin, N, T, l->n_heads, l->head_dim, rope->half, inverse);
    rope_apply(n->pool, k, rope->cos, rope->sin, N, T, l->n_kv_heads, l->head_dim, rope->half, inverse);
}

/* One call of attention_temperature. */
typedef struct TemperatureTask {
    const LayerSpec *l;
    float *x; /* (N, width) */
    size_t first, T, width;
} TemperatureTask;

/* Task: the queries of one token (Llama 4's attention temperature: layers without RoPE raise the queries
 * slowly with the position, so that the softmax stays sharp over long texts). */
static void temperature_row(void *context, size_t i, int thread) {
    (void)thread;
    const TemperatureTask *t = context;
    /* Rows are sequences of T tokens one behind the other, each beginning at position `first`. */
    double position = (double)(t->first + i % t->T);
    /* Logarithm of the position in steps of temperature_floor tokens; 1 within the first of them. */
    float factor =
        (float)(1 + t->l->temperature_scale * log(1 + floor((position + 1) / t->l->temperature_floor)));
    for (size_t j = 0; j < t->width; j++)
        t->x[i * t->width + j] *= factor;
}

void attention_temperature(Pool *p, const LayerSpec *l, float *x, size_t first, size_t N, size_t T) {
    TemperatureTask t = {.l = l, .x = x, .first = first, .T = T, .width = (size_t)l->n_heads * l->head_dim};
    if (l->temperature_scale) pool_run(p, N, temperature_row, &t);
}

/* The parts of the description that do not depend on the sequence; the caller adds rows and pointers. */
Attention layer_attention(const LayerSpec *l, const float *sinks) {
    return (Attention){.heads = l->n_heads,
                       .kv_heads = l->n_kv_heads,
                       .dim = l->head_dim,
                       .window = l->window,
                       .chunked = l->chunked,
                       .scale = (float)l->softmax_scale,
                       .softcap = (float)l->softcap,
                       .sinks = sinks};
}
