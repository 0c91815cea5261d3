#include "recal/transformer_layer.h"

#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/gemm.h"
#include "recal/ops/ops.h"

/* A norm without a weight multiplies by 1, and has no gradient. */
static float *qk_norm_weight(const Net *n, float *block, QkNorm kind, TensorRole role, int layer) {
    if (kind == QK_NORM_UNIT) return block == n->weights ? n->ones : NULL;
    return net_at(n, block, role, layer);
}

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

static bool same_rotation(const LayerSpec *a, const LayerSpec *b) {
    return a->position != POSITION_NOPE && b->position != POSITION_NOPE && a->rotary_dim == b->rotary_dim &&
           a->rope_base == b->rope_base && rope_scaling_equal(&a->scaling, &b->scaling);
}

static const Rope *earlier(const ModelSpec *s, const Rope *ropes, uint32_t layer) {
    for (uint32_t i = 0; i < layer; i++)
        if (same_rotation(&s->layers[i], &s->layers[layer])) return &ropes[i];
    return NULL;
}

Rope *ropes_new(const ModelSpec *s, size_t first, size_t n, size_t total) {
    Rope *ropes = xcalloc(s->n_layers, sizeof *ropes);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        if (l->position == POSITION_NOPE) continue;
        const Rope *shared = earlier(s, ropes, i);
        if (shared) {
            ropes[i] = *shared;
            continue;
        }
        size_t half = l->rotary_dim / 2;
        double *inv_freq = xmalloc(half * sizeof *inv_freq);
        double scale = rope_frequencies(s, l, total, inv_freq);
        ropes[i] = (Rope){
            .cos = xmalloc(n * half * sizeof(float)), .sin = xmalloc(n * half * sizeof(float)), .half = half};
        rope_table(ropes[i].cos, ropes[i].sin, inv_freq, scale, first, n, half);
        free(inv_freq);
    }
    return ropes;
}

void ropes_free(Rope *ropes, const ModelSpec *s) {
    for (uint32_t i = 0; i < s->n_layers; i++) {
        bool shared = false;
        for (uint32_t j = 0; j < i; j++)
            shared |= ropes[j].cos && ropes[j].cos == ropes[i].cos;
        if (shared) ropes[i] = (Rope){0};
    }
    for (uint32_t i = 0; i < s->n_layers; i++) {
        free(ropes[i].cos);
        free(ropes[i].sin);
    }
    free(ropes);
}

bool tokens_known(const ModelSpec *s, const int32_t *ids, size_t n, int32_t lowest, Error *e) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < lowest || (ids[i] >= 0 && (uint32_t)ids[i] >= s->vocab))
            return error_set(e, ERR_INPUT, "token %zu is %d, the vocabulary has %u", i, ids[i], s->vocab);
    return true;
}

void stream_norm_forward(const Net *n, float *y, float *rstd, const float *x, const float *w, const float *b,
                         size_t N) {
    norm_forward(n->pool, n->spec->norm, y, rstd, x, w, b, N, n->spec->hidden_size, (float)n->spec->norm_eps);
}

void stream_norm_backward(const Net *n, float *dx, float *dw, float *db, const float *dy, const float *x,
                          const float *w, const float *rstd, size_t N) {
    norm_backward(n->pool, n->spec->norm, dx, dw, db, dy, x, w, rstd, N, n->spec->hidden_size);
}

ExpertParams expert_params(const LayerParams *p) {
    return (ExpertParams){.router = p->router,
                          .router_bias = p->router_bias,
                          .gate = p->gate,
                          .up = p->up,
                          .down = p->down,
                          .gate_bias = p->gate_bias,
                          .up_bias = p->up_bias,
                          .down_bias = p->down_bias};
}

Experts layer_experts(const LayerSpec *l, size_t width, const LayerParams *w) {
    return (Experts){.n = l->n_experts,
                     .used = l->top_k,
                     .hidden_size = width,
                     .ffn = l->ffn_dim,
                     .activation = l->activation,
                     .routing = l->routing,
                     .w = expert_params(w)};
}

MlpParams mlp_params(const LayerParams *p) {
    return (MlpParams){p->gate, p->up, p->down, p->gate_bias, p->up_bias, p->down_bias};
}

MlpParams shared_mlp_params(const LayerParams *p) {
    return (MlpParams){.gate = p->shared_gate, .up = p->shared_up, .down = p->shared_down};
}

void mlp_forward(const Net *n, Activation act, const MlpParams *w, float *out, const float *in, float *gate,
                 float *up, float *wide, size_t N, size_t F) {
    size_t C = n->spec->hidden_size;
    if (w->gate) project(n->pool, gate, in, w->gate, w->gate_bias, N, C, F);
    project(n->pool, up, in, w->up, w->up_bias, N, C, F);
    activation_forward(n->pool, act, wide, w->gate ? gate : NULL, up, N * F);
    project(n->pool, out, wide, w->down, w->down_bias, N, F, C);
}

size_t mlp_passes(const LayerSpec *l) {
    return l->n_experts ? l->top_k : 1;
}

typedef struct Temper {
    const LayerSpec *l;
    float *x;
    size_t first, T, width;
} Temper;

size_t qk_norm_groups(QkNorm norm, uint32_t heads) {
    return norm == QK_NORM_FULL ? 1 : heads;
}

static void temper_row(void *context, size_t i, int thread) {
    (void)thread;
    const Temper *t = context;
    double position = (double)(t->first + i % t->T);
    float by =
        (float)(1 + t->l->temperature_scale * log(1 + floor((position + 1) / t->l->temperature_floor)));
    for (size_t j = 0; j < t->width; j++)
        t->x[i * t->width + j] *= by;
}

void temper(Pool *p, const LayerSpec *l, float *x, size_t first, size_t N, size_t T) {
    Temper t = {.l = l, .x = x, .first = first, .T = T, .width = (size_t)l->n_heads * l->head_dim};
    if (l->temperature_scale) pool_run(p, N, temper_row, &t);
}

void project(Pool *p, float *y, const float *x, const float *w, const float *bias, size_t N, size_t in,
             size_t out) {
    linear_forward(p, y, x, w, N, in, out);
    if (bias) bias_forward(p, y, bias, N, out);
}

float *head_matrix(const Net *n, float *block) {
    return net_at(n, block, n->spec->tied_head ? ROLE_EMBED : ROLE_HEAD, -1);
}

void head_logits(const Net *n, float *logits, const float *normed, size_t rows) {
    size_t C = n->spec->hidden_size, V = n->spec->vocab;
    const float *bias = net_at(n, n->weights, ROLE_HEAD_BIAS, -1);
    gemm(n->pool, &(Gemm){.b_transposed = true,
                          .m = rows,
                          .n = V,
                          .k = C,
                          .alpha = (float)n->spec->logit_scale,
                          .a = normed,
                          .lda = C,
                          .b = head_matrix(n, n->weights),
                          .ldb = C,
                          .c = logits,
                          .ldc = V});
    if (bias) bias_forward(n->pool, logits, bias, rows, V);
    if (n->spec->logit_softcap > 0) softcap_forward(n->pool, logits, (float)n->spec->logit_softcap, rows * V);
}
