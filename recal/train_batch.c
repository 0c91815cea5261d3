/* Loss and gradients of a batch: a forward pass that keeps what the backward pass needs, then that one. */
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/gemm.h"
#include "recal/ops/ops.h"
#include "recal/transformer_layer.h"

/* Logits of this many positions exist at a time: many, since each block goes through the whole head matrix
 * and its gradient, but no more than LOGITS floats of them. */
enum { HEAD_ROWS = 512, LOGITS = 1 << 24 };

static size_t head_rows(const ModelSpec *s) {
    size_t rows = LOGITS / s->vocab / 16 * 16;
    return rows < 64 ? 64 : rows > HEAD_ROWS ? HEAD_ROWS : rows;
}

/* What a layer keeps, (N, ...) each. Normed inputs and the activation are computed again on the way back. */
typedef struct Kept {
    float *x, *rstd1, *q, *k, *v, *out, *lse, *rstd2, *gate, *up;
    float *mid;                             /* what the MLP reads of the stream: x itself where both do */
    float *q_raw, *k_raw, *q_rstd, *k_rstd; /* QK-norm: before it; NULL where there is none */
    float *attn_raw, *attn_rstd, *ffn_raw, *ffn_rstd; /* post-norms: the same */
    Routes routes;                                    /* where there are experts */
    float *shared_gate, *shared_up;                   /* of the expert that all tokens pass */
} Kept;

typedef struct Pass {
    Net *n;
    size_t B, T, N;
    Kept *kept;
    Rope *ropes;
    float *x;                      /* (N, C): the residual stream, at the end the input of the final norm */
    float *normed, *rstd;          /* (N, C), (N) */
    float *branch;                 /* (N, C): what attention or the MLP gives */
    float *wide;                   /* (N, widest of ffn and heads) */
    float *expert_in, *expert_out; /* (N * passes, C) */
    float *block;                  /* everything kept, one allocation */
} Pass;

typedef struct Sizes {
    size_t C, q, kv, heads;
    size_t F; /* of all MLPs that a token passes */
    size_t experts, passes;
    size_t shared_F;
    bool q_norm, k_norm, post_norms, sequential, gated;
    size_t q_groups, k_groups; /* rows that QK-norm makes of a token */
} Sizes;

static Sizes sizes_of(const ModelSpec *s, uint32_t i) {
    const LayerSpec *l = &s->layers[i];
    return (Sizes){.C = s->hidden_size,
                   .q = (size_t)l->n_heads * l->head_dim,
                   .kv = (size_t)l->n_kv_heads * l->head_dim,
                   .F = mlp_passes(l) * l->ffn_dim,
                   .experts = l->n_experts,
                   .passes = mlp_passes(l),
                   .shared_F = l->shared_expert ? l->ffn_dim : 0,
                   .heads = l->n_heads,
                   .q_norm = l->q_norm != QK_NORM_NONE,
                   .k_norm = l->k_norm != QK_NORM_NONE,
                   .post_norms = l->post_norms,
                   .sequential = l->residual_layout == RESIDUAL_SEQUENTIAL,
                   .gated = !l->no_gate,
                   .q_groups = qk_norm_groups(l->q_norm, l->n_heads),
                   .k_groups = qk_norm_groups(l->k_norm, l->n_kv_heads)};
}

static size_t kept_floats(const Sizes *z) {
    size_t raw = (z->q_norm ? z->q + z->q_groups : 0) + (z->k_norm ? z->kv + z->k_groups : 0);
    size_t post = z->post_norms ? 2 * (z->C + 1) : 0;
    return z->C + 2 + 2 * z->q + 2 * z->kv + z->heads + (z->gated ? 2 : 1) * z->F + 2 * z->shared_F +
           (z->sequential ? z->C : 0) + raw + post;
}

static size_t widest(const ModelSpec *s) {
    size_t wide = s->hidden_size;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        if (z.q > wide) wide = z.q;
        if (z.F > wide) wide = z.F;
    }
    return wide;
}

/* Rows that experts read of a token; 0: there are none. */
static size_t most_passes(const ModelSpec *s) {
    size_t most = 0;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        if (z.experts && z.passes > most) most = z.passes;
    }
    return most;
}

static size_t pass_floats(const ModelSpec *s, bool keep) {
    size_t all = 0, most = 0;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        size_t floats = kept_floats(&z);
        all += floats;
        if (floats > most) most = floats;
    }
    /* without a way back each layer writes over the one before */
    return (3 + 2 * most_passes(s)) * s->hidden_size + 1 + widest(s) + (keep ? all : most);
}

static float *carve(float **at, size_t floats) {
    float *p = *at;
    *at += floats;
    return p;
}

static bool pass_new(Pass *p, Net *n, size_t B, size_t T, bool keep, Error *e) {
    const ModelSpec *s = n->spec;
    *p = (Pass){.n = n, .B = B, .T = T, .N = B * T};
    p->block = big_alloc_unset(p->N, pass_floats(s, keep) * sizeof(float), "activations", e);
    if (!p->block) return false;
    float *at = p->block;
    p->x = carve(&at, p->N * s->hidden_size);
    p->normed = carve(&at, p->N * s->hidden_size);
    p->branch = carve(&at, p->N * s->hidden_size);
    p->rstd = carve(&at, p->N);
    p->wide = carve(&at, p->N * widest(s));
    p->expert_in = carve(&at, p->N * most_passes(s) * s->hidden_size);
    p->expert_out = carve(&at, p->N * most_passes(s) * s->hidden_size);
    float *layers = at;
    p->kept = xcalloc(s->n_layers, sizeof *p->kept);
    bool ok = true;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        Kept *k = &p->kept[i];
        if (!keep) at = layers;
        k->x = carve(&at, p->N * z.C);
        k->rstd1 = carve(&at, p->N);
        k->q = carve(&at, p->N * z.q);
        k->k = carve(&at, p->N * z.kv);
        k->v = carve(&at, p->N * z.kv);
        k->out = carve(&at, p->N * z.q);
        k->lse = carve(&at, p->N * z.heads);
        k->mid = z.sequential ? carve(&at, p->N * z.C) : k->x;
        k->rstd2 = carve(&at, p->N);
        k->gate = z.gated ? carve(&at, p->N * z.F) : NULL;
        k->up = carve(&at, p->N * z.F);
        if (z.q_norm) {
            k->q_raw = carve(&at, p->N * z.q);
            k->q_rstd = carve(&at, p->N * z.q_groups);
        }
        if (z.k_norm) {
            k->k_raw = carve(&at, p->N * z.kv);
            k->k_rstd = carve(&at, p->N * z.k_groups);
        }
        if (z.post_norms) {
            k->attn_raw = carve(&at, p->N * z.C);
            k->attn_rstd = carve(&at, p->N);
            k->ffn_raw = carve(&at, p->N * z.C);
            k->ffn_rstd = carve(&at, p->N);
        }
        k->shared_gate = carve(&at, p->N * z.shared_F);
        k->shared_up = carve(&at, p->N * z.shared_F);
        Experts x = {.n = z.experts, .used = z.passes};
        ok = ok && (!z.experts || routes_new(&k->routes, &x, p->N, e));
    }
    p->ropes = ropes_new(s, 0, T, T);
    return ok;
}

static void pass_free(Pass *p) {
    if (p->ropes) ropes_free(p->ropes, p->n->spec);
    for (uint32_t i = 0; p->kept && i < p->n->spec->n_layers; i++)
        routes_free(&p->kept[i].routes);
    free(p->kept);
    free(p->block);
}

/* ---- forward ---- */

static void describe_attention(const Pass *p, uint32_t i, const float *sinks, Attention *a) {
    const LayerSpec *l = &p->n->spec->layers[i];
    const Kept *k = &p->kept[i];
    Sizes z = sizes_of(p->n->spec, i);
    for (size_t b = 0; b < p->B; b++)
        a[b] = (Attention){.heads = l->n_heads,
                           .kv_heads = l->n_kv_heads,
                           .dim = l->head_dim,
                           .queries = p->T,
                           .keys = p->T,
                           .window = l->window,
                           .chunked = l->chunked,
                           .scale = (float)l->softmax_scale,
                           .softcap = (float)l->softcap,
                           .sinks = sinks,
                           .q = k->q + b * p->T * z.q,
                           .k = k->k + b * p->T * z.kv,
                           .v = k->v + b * p->T * z.kv,
                           .out = k->out + b * p->T * z.q,
                           .lse = k->lse + b * p->T * z.heads};
}

static void rotate(const Pass *p, uint32_t i, float *q, float *k, bool inverse) {
    const LayerSpec *l = &p->n->spec->layers[i];
    const Rope *r = &p->ropes[i];
    if (!r->cos) return;
    rope_apply(p->n->pool, q, r->cos, r->sin, p->N, p->T, l->n_heads, l->head_dim, r->half, inverse);
    rope_apply(p->n->pool, k, r->cos, r->sin, p->N, p->T, l->n_kv_heads, l->head_dim, r->half, inverse);
}

/* What a branch reads: the stream, normed (in p->normed) if there is a norm. */
static const float *branch_input(Pass *p, const float *x, const float *norm, const float *bias, float *rstd) {
    if (!norm) return x;
    stream_norm_forward(p->n, p->normed, rstd, x, norm, bias, p->N);
    return p->normed;
}

/* Into p->branch, or where the input of a post-norm is kept. */
static void forward_attention(Pass *p, uint32_t i, const LayerParams *w, const float *in) {
    Net *n = p->n;
    Kept *k = &p->kept[i];
    Sizes z = sizes_of(n->spec, i);
    float eps = (float)n->spec->norm_eps;
    Attention *a = xcalloc(p->B, sizeof *a);
    project(n->pool, z.q_norm ? k->q_raw : k->q, in, w->q, w->q_bias, p->N, z.C, z.q);
    project(n->pool, z.k_norm ? k->k_raw : k->k, in, w->k, w->k_bias, p->N, z.C, z.kv);
    project(n->pool, k->v, in, w->v, w->v_bias, p->N, z.C, z.kv);
    if (z.q_norm)
        norm_forward(n->pool, NORM_RMS, k->q, k->q_rstd, k->q_raw, w->q_norm, NULL, p->N * z.q_groups,
                     z.q / z.q_groups, eps);
    if (z.k_norm)
        norm_forward(n->pool, NORM_RMS, k->k, k->k_rstd, k->k_raw, w->k_norm, NULL, p->N * z.k_groups,
                     z.kv / z.k_groups, eps);
    rotate(p, i, k->q, k->k, false);
    temper(n->pool, &n->spec->layers[i], k->q, 0, p->N, p->T);
    describe_attention(p, i, w->sinks, a);
    attention_forward(n->pool, a, p->B);
    free(a);
    project(n->pool, k->attn_raw ? k->attn_raw : p->branch, k->out, w->o, w->o_bias, p->N, z.q, z.C);
}

static ExpertRows expert_rows(const Pass *p, const Kept *k, float *wide) {
    return (ExpertRows){.in = p->expert_in,
                        .out = p->expert_out,
                        .gate = k->gate,
                        .up = k->up,
                        .wide = wide,
                        .spare = p->wide};
}

static void forward_ffn(Pass *p, uint32_t i, const LayerParams *w, const float *in) {
    const LayerSpec *l = &p->n->spec->layers[i];
    Kept *k = &p->kept[i];
    float *out = k->ffn_raw ? k->ffn_raw : p->branch;
    if (!l->n_experts) {
        MlpParams own = mlp_params(w);
        mlp_forward(p->n, l->activation, &own, out, in, k->gate, k->up, p->wide, p->N, l->ffn_dim);
        return;
    }
    Experts x = layer_experts(l, p->n->spec->hidden_size, w);
    ExpertRows rows = expert_rows(p, k, p->wide);
    experts_forward(p->n->pool, &x, &k->routes, &rows, out, in, p->N);
    if (!l->shared_expert) return;
    MlpParams shared = shared_mlp_params(w);
    mlp_forward(p->n, l->activation, &shared, p->expert_out, in, k->shared_gate, k->shared_up, p->wide, p->N,
                l->ffn_dim);
    add_scaled(p->n->pool, out, p->expert_out, 1, p->N * p->n->spec->hidden_size);
}

/* p->x += scale * branch, which is p->branch or the post-norm of `raw`. */
static void add_branch(Pass *p, const float *post_norm, const float *raw, float *rstd) {
    if (post_norm) stream_norm_forward(p->n, p->branch, rstd, raw, post_norm, NULL, p->N);
    add_scaled(p->n->pool, p->x, p->branch, (float)p->n->spec->residual_scale,
               p->N * p->n->spec->hidden_size);
}

static void forward_layer(Pass *p, uint32_t i) {
    LayerParams w = layer_params(p->n, p->n->weights, i);
    Kept *k = &p->kept[i];
    ResidualLayout residual_layout = p->n->spec->layers[i].residual_layout;
    size_t bytes = p->N * p->n->spec->hidden_size * sizeof(float);
    memcpy(k->x, p->x, bytes);
    const float *in = branch_input(p, k->x, w.attn_norm, w.attn_norm_bias, k->rstd1);
    forward_attention(p, i, &w, in);
    add_branch(p, w.attn_post_norm, k->attn_raw, k->attn_rstd);
    if (residual_layout == RESIDUAL_SEQUENTIAL) memcpy(k->mid, p->x, bytes);
    if (residual_layout != RESIDUAL_PARALLEL_SHARED_NORM)
        in = branch_input(p, k->mid, w.ffn_norm, w.ffn_norm_bias, k->rstd2);
    forward_ffn(p, i, &w, in);
    add_branch(p, w.ffn_post_norm, k->ffn_raw, k->ffn_rstd);
}

/* Leaves the final norm's output in p->normed. */
static void forward(Pass *p, const int32_t *ids) {
    Net *n = p->n;
    embedding_forward(n->pool, p->x, net_at(n, n->weights, ROLE_EMBED, -1), ids,
                      (float)n->spec->embedding_scale, p->N, n->spec->hidden_size);
    for (uint32_t i = 0; i < n->spec->n_layers; i++)
        forward_layer(p, i);
    stream_norm_forward(n, p->normed, p->rstd, p->x, net_at(n, n->weights, ROLE_FINAL_NORM, -1),
                        net_at(n, n->weights, ROLE_FINAL_NORM_BIAS, -1), p->N);
}

/* ---- head and loss, a block of rows at a time: all logits at once would be N x vocabulary ---- */

/* Turns p->normed into the gradient of itself where `b->grads` asks for gradients. */
static bool loss_and_head(Pass *p, const Pass *teacher, const Batch *b, double *loss, Error *e) {
    Net *n = p->n;
    size_t C = n->spec->hidden_size, V = n->spec->vocab, scored = 0, block = head_rows(n->spec);
    for (size_t i = 0; i < p->N; i++)
        scored += b->targets[i] >= 0;
    *loss = 0;
    if (!scored) memset(p->normed, 0, p->N * C * sizeof(float));
    float *logits = big_alloc_unset(block, V * sizeof(float), "logits", e);
    float *teacher_logits = logits && teacher ? big_alloc_unset(block, V * sizeof(float), "logits", e) : NULL;
    float cap = (float)n->spec->logit_softcap,
          *bias = b->grads ? net_at(n, b->grads, ROLE_HEAD_BIAS, -1) : NULL;
    bool caps = cap > 0 && b->grads;
    float *capped = logits && caps ? big_alloc_unset(block, V * sizeof(float), "logits", e) : NULL;
    float *dx = logits ? big_alloc_unset(block, C * sizeof(float), "gradient", e) : NULL, row_loss[HEAD_ROWS];
    bool ok = dx && (!teacher || teacher_logits) && (!caps || capped);
    float scale = b->grads && scored ? b->grad_scale / (float)scored : 0;
    for (size_t at = 0; ok && scored && at < p->N; at += block) {
        size_t rows = p->N - at < block ? p->N - at : block;
        head_logits(n, logits, p->normed + at * C, rows);
        if (capped) memcpy(capped, logits, rows * V * sizeof *capped);
        if (teacher) {
            head_logits(teacher->n, teacher_logits, teacher->normed + at * teacher->n->spec->hidden_size,
                        rows);
            kl_divergence(n->pool, row_loss, logits, teacher_logits, b->targets + at, scale, rows, V);
        } else {
            cross_entropy(n->pool, row_loss, logits, b->targets + at, scale, rows, V);
        }
        for (size_t i = 0; i < rows; i++)
            *loss += row_loss[i] / (double)scored;
        if (!b->grads) continue;
        if (capped) softcap_backward(n->pool, logits, capped, cap, rows * V);
        if (bias) bias_backward(n->pool, bias, logits, rows, V);
        Gemm back = {.m = rows,
                     .n = C,
                     .k = V,
                     .alpha = (float)n->spec->logit_scale,
                     .a = logits,
                     .lda = V,
                     .b = head_matrix(n, n->weights),
                     .ldb = C,
                     .c = dx,
                     .ldc = C};
        gemm(n->pool, &back);
        Gemm weights = {.a_transposed = true,
                        .m = V,
                        .n = C,
                        .k = rows,
                        .alpha = (float)n->spec->logit_scale,
                        .beta = 1,
                        .a = logits,
                        .lda = V,
                        .b = p->normed + at * C,
                        .ldb = C,
                        .c = head_matrix(n, b->grads),
                        .ldc = C};
        gemm(n->pool, &weights);
        memcpy(p->normed + at * C, dx, rows * C * sizeof(float));
    }
    free(logits);
    free(teacher_logits);
    free(capped);
    free(dx);
    return ok;
}

/* ---- backward ---- */

/* Gradients on their way back through a layer, (N, ...) each. */
typedef struct Back {
    float *dx;  /* of the residual stream: in and out */
    float *din; /* of what a branch read; both add to it where they share their norm */
    float *dy, *dq, *dk, *dv, *dout, *dwide;
} Back;

/* d->dy: the gradient of what a branch gave, before its post-norm. */
static void leave_branch(Pass *p, Back *d, const float *post_norm, float *g_post_norm, const float *raw,
                         const float *rstd) {
    size_t n = p->N * p->n->spec->hidden_size;
    float scale = (float)p->n->spec->residual_scale, *scaled = post_norm ? p->branch : d->dy;
    memset(scaled, 0, n * sizeof *scaled);
    add_scaled(p->n->pool, scaled, d->dx, scale, n);
    if (!post_norm) return;
    memset(d->dy, 0, n * sizeof *d->dy);
    stream_norm_backward(p->n, d->dy, g_post_norm, NULL, scaled, raw, post_norm, rstd, p->N);
}

/* d->din into d->dx, through the norm if there is one. */
static void enter_branch(Pass *p, Back *d, const float *x, const float *norm, float *g_norm, float *g_bias,
                         const float *rstd) {
    if (norm)
        stream_norm_backward(p->n, d->dx, g_norm, g_bias, d->din, x, norm, rstd, p->N);
    else
        add_scaled(p->n->pool, d->dx, d->din, 1, p->N * p->n->spec->hidden_size);
}

/* d->dy through a plain MLP into d->din, added to what is there if `more`; `g`: gradients of the weights. */
static void backward_mlp(Pass *p, const LayerSpec *l, const MlpParams *w, const MlpParams *g, float *gate,
                         float *up, const float *in, bool more, Back *d) {
    Pool *pool = p->n->pool;
    size_t N = p->N, C = p->n->spec->hidden_size, F = l->ffn_dim;
    if (!w->gate) gate = NULL;
    activation_forward(pool, l->activation, p->wide, gate, up, N * F);
    if (g->down_bias) bias_backward(pool, g->down_bias, d->dy, N, C);
    linear_backward(pool, d->dwide, false, g->down, d->dy, p->wide, w->down, N, F, C);
    activation_backward(pool, l->activation, gate, up, d->dwide, gate, up, N * F);
    if (g->gate_bias) bias_backward(pool, g->gate_bias, gate, N, F);
    if (g->up_bias) bias_backward(pool, g->up_bias, up, N, F);
    linear_backward(pool, d->din, more, g->up, up, in, w->up, N, C, F);
    if (gate) linear_backward(pool, d->din, true, g->gate, gate, in, w->gate, N, C, F);
}

/* `in` is what the MLP read; d->din receives its gradient. */
static void backward_ffn(Pass *p, uint32_t i, const LayerParams *w, const LayerParams *g, const float *in,
                         Back *d) {
    const LayerSpec *l = &p->n->spec->layers[i];
    Kept *k = &p->kept[i];
    if (!l->n_experts) {
        MlpParams own = mlp_params(w), of_own = mlp_params(g);
        backward_mlp(p, l, &own, &of_own, k->gate, k->up, in, false, d);
        return;
    }
    Experts x = layer_experts(l, p->n->spec->hidden_size, w);
    ExpertParams of = expert_params(g);
    ExpertRows rows = expert_rows(p, k, d->dwide);
    experts_backward(p->n->pool, &x, &of, &k->routes, &rows, d->din, d->dy, in, p->N);
    if (!l->shared_expert) return;
    MlpParams shared = shared_mlp_params(w), of_shared = shared_mlp_params(g);
    backward_mlp(p, l, &shared, &of_shared, k->shared_gate, k->shared_up, in, true, d);
}

/* QK-norm's way back: d (N, width), in place by way of `spare`. */
static void unnorm(const Pass *p, float *d, float *spare, float *dw, const float *raw, const float *w,
                   const float *rstd, size_t groups, size_t width) {
    memset(spare, 0, p->N * width * sizeof *spare);
    norm_backward(p->n->pool, NORM_RMS, spare, dw, NULL, d, raw, w, rstd, p->N * groups, width / groups);
    memcpy(d, spare, p->N * width * sizeof *d);
}

/* The same of attention; `more`: d->din holds the MLP's share already. */
static void backward_attention(Pass *p, uint32_t i, const LayerParams *w, const LayerParams *g,
                               const float *in, bool more, Back *d) {
    Net *n = p->n;
    Kept *k = &p->kept[i];
    Sizes z = sizes_of(n->spec, i);
    size_t N = p->N;
    Attention *a = xcalloc(p->B, sizeof *a);
    AttentionGrad *ag = xcalloc(p->B, sizeof *ag);
    /* one set of sink gradients per sequence: they run side by side */
    float *dsinks = g->sinks ? xcalloc(p->B * z.heads, sizeof *dsinks) : NULL;
    if (g->o_bias) bias_backward(n->pool, g->o_bias, d->dy, N, z.C);
    linear_backward(n->pool, d->dout, false, g->o, d->dy, k->out, w->o, N, z.q, z.C);
    describe_attention(p, i, w->sinks, a);
    for (size_t b = 0; b < p->B; b++)
        ag[b] = (AttentionGrad){.dout = d->dout + b * p->T * z.q,
                                .dq = d->dq + b * p->T * z.q,
                                .dk = d->dk + b * p->T * z.kv,
                                .dv = d->dv + b * p->T * z.kv,
                                .dsinks = dsinks ? dsinks + b * z.heads : NULL};
    attention_backward(n->pool, a, ag, p->B);
    for (size_t j = 0; dsinks && j < p->B * z.heads; j++)
        g->sinks[j % z.heads] += dsinks[j];
    temper(n->pool, &n->spec->layers[i], d->dq, 0, N, p->T);
    rotate(p, i, d->dq, d->dk, true);
    if (z.q_norm) unnorm(p, d->dq, d->dout, g->q_norm, k->q_raw, w->q_norm, k->q_rstd, z.q_groups, z.q);
    if (z.k_norm) unnorm(p, d->dk, d->dout, g->k_norm, k->k_raw, w->k_norm, k->k_rstd, z.k_groups, z.kv);
    if (g->q_bias) bias_backward(n->pool, g->q_bias, d->dq, N, z.q);
    if (g->k_bias) bias_backward(n->pool, g->k_bias, d->dk, N, z.kv);
    if (g->v_bias) bias_backward(n->pool, g->v_bias, d->dv, N, z.kv);
    linear_backward(n->pool, d->din, more, g->q, d->dq, in, w->q, N, z.C, z.q);
    linear_backward(n->pool, d->din, true, g->k, d->dk, in, w->k, N, z.C, z.kv);
    linear_backward(n->pool, d->din, true, g->v, d->dv, in, w->v, N, z.C, z.kv);
    free(a);
    free(ag);
    free(dsinks);
}

/* In a parallel layer both branches take the gradient of its output before either adds to it. */
static void backward_layer(Pass *p, uint32_t i, float *grads, Back *d) {
    LayerParams w = layer_params(p->n, p->n->weights, i), g = layer_params(p->n, grads, i);
    Kept *k = &p->kept[i];
    ResidualLayout residual_layout = p->n->spec->layers[i].residual_layout;
    leave_branch(p, d, w.ffn_post_norm, g.ffn_post_norm, k->ffn_raw, k->ffn_rstd);
    const float *in = residual_layout == RESIDUAL_PARALLEL_SHARED_NORM
                          ? branch_input(p, k->x, w.attn_norm, w.attn_norm_bias, k->rstd1)
                          : branch_input(p, k->mid, w.ffn_norm, w.ffn_norm_bias, k->rstd2);
    backward_ffn(p, i, &w, &g, in, d);
    if (residual_layout == RESIDUAL_SEQUENTIAL)
        enter_branch(p, d, k->mid, w.ffn_norm, g.ffn_norm, g.ffn_norm_bias, k->rstd2);
    leave_branch(p, d, w.attn_post_norm, g.attn_post_norm, k->attn_raw, k->attn_rstd);
    if (residual_layout == RESIDUAL_PARALLEL)
        enter_branch(p, d, k->mid, w.ffn_norm, g.ffn_norm, g.ffn_norm_bias, k->rstd2);
    if (residual_layout != RESIDUAL_PARALLEL_SHARED_NORM)
        in = branch_input(p, k->x, w.attn_norm, w.attn_norm_bias, k->rstd1);
    backward_attention(p, i, &w, &g, in, residual_layout == RESIDUAL_PARALLEL_SHARED_NORM, d);
    enter_branch(p, d, k->x, w.attn_norm, g.attn_norm, g.attn_norm_bias, k->rstd1);
}

static size_t back_floats(const ModelSpec *s) {
    size_t q = 0, kv = 0;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        if (z.q > q) q = z.q;
        if (z.kv > kv) kv = z.kv;
    }
    return 3 * s->hidden_size + 2 * q + 2 * kv + widest(s);
}

static bool backward(Pass *p, const Batch *b, Error *e) {
    Net *n = p->n;
    const ModelSpec *s = n->spec;
    size_t N = p->N, q = 0, kv = 0;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        Sizes z = sizes_of(s, i);
        if (z.q > q) q = z.q;
        if (z.kv > kv) kv = z.kv;
    }
    float *block = big_alloc_unset(N, back_floats(s) * sizeof(float), "gradients of activations", e),
          *at = block;
    if (!block) return false;
    Back d = {
        .dx = carve(&at, N * s->hidden_size), .dy = carve(&at, N * s->hidden_size), .dq = carve(&at, N * q)};
    d.din = carve(&at, N * s->hidden_size);
    d.dout = carve(&at, N * q);
    d.dk = carve(&at, N * kv);
    d.dv = carve(&at, N * kv);
    d.dwide = carve(&at, N * widest(s));
    memset(d.dx, 0, N * s->hidden_size * sizeof(float));
    stream_norm_backward(n, d.dx, net_at(n, b->grads, ROLE_FINAL_NORM, -1),
                         net_at(n, b->grads, ROLE_FINAL_NORM_BIAS, -1), p->normed, p->x,
                         net_at(n, n->weights, ROLE_FINAL_NORM, -1), p->rstd, N);
    for (uint32_t i = s->n_layers; i-- > 0;)
        backward_layer(p, i, b->grads, &d);
    embedding_backward(net_at(n, b->grads, ROLE_EMBED, -1), d.dx, b->ids, (float)s->embedding_scale, N,
                       s->hidden_size);
    free(block);
    return true;
}

static bool same_vocabulary(const Net *n, const Net *teacher, Error *e) {
    if (n->spec->vocab == teacher->spec->vocab) return true;
    return error_set(e, ERR_INPUT, "the teacher's vocabulary has %u tokens, the model's %u",
                     teacher->spec->vocab, n->spec->vocab);
}

bool net_train_batch(Net *n, const Batch *b, double *loss, Error *e) {
    Pass p = {0}, t = {0};
    size_t N = b->B * b->T;
    if (!tokens_known(n->spec, b->ids, N, 0, e) || !tokens_known(n->spec, b->targets, N, -1, e) ||
        (b->teacher && !same_vocabulary(n, b->teacher, e)))
        return false;
    bool ok = pass_new(&p, n, b->B, b->T, b->grads != NULL, e);
    if (ok && b->teacher) ok = pass_new(&t, b->teacher, b->B, b->T, false, e);
    if (ok) {
        if (b->teacher) forward(&t, b->ids);
        forward(&p, b->ids);
        ok = loss_and_head(&p, b->teacher ? &t : NULL, b, loss, e);
    }
    if (t.n) pass_free(&t);
    ok = ok && (!b->grads || backward(&p, b, e));
    pass_free(&p);
    return ok;
}

uint64_t net_train_bytes(const ModelSpec *s, size_t B, size_t T) {
    uint64_t floats = pass_floats(s, true) + pass_floats(s, false) + back_floats(s);
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].n_experts) floats += 2 * routes_floats(s->layers[i].n_experts, s->layers[i].top_k);
    floats *= (uint64_t)B * T;
    size_t of_logits =
        s->logit_softcap > 0 ? 3 : 2; /* the model's, the teacher's, those before the gradient */
    return (floats + head_rows(s) * (of_logits * (uint64_t)s->vocab + s->hidden_size)) * sizeof(float);
}
