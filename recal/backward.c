/* The backward pass of training. It goes through the layers from last to first, and undoes the steps of
 * forward.c in reverse order. N is the number of tokens, C the hidden size.
 *
 * dx (N, C) is the gradient of the loss with respect to the residual stream. In a layer, a branch (attention
 * or MLP) adds to the stream:
 *
 *     x_out = x_in + scale * branch(x_in)
 *     dx_in = dx_out + branch_backward(scale * dx_out)
 *
 * leave_branch computes the gradient of a branch's output (scale * dx_out, back through the post-norm). After
 * the branch's own backward pass, enter_branch takes the gradient of its input back through the norm before
 * it and adds the result to dx. */
#include "recal/backward.h"

#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/forward.h"
#include "recal/mlp.h"
#include "recal/ops/attention.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/experts.h"
#include "recal/ops/linear.h"
#include "recal/ops/norm.h"
#include "recal/transformer_layer.h"

/* Gradients with respect to activations. All layers reuse the same memory. */
typedef struct Gradients {
    float *dx;      /* (N, C): of the residual stream */
    float *dbranch; /* (N, C): of a branch's output, before its post-norm */
    float *din;     /* (N, C): of a branch's input; the sum for both branches if they share their norm */
    float *dq;      /* (N, n_heads * head_dim) */
    float *dout;    /* (N, n_heads * head_dim): of attention's output before w_o; later scratch for QK-norm */
    float *dk, *dv; /* (N, n_kv_heads * head_dim) each */
    float *dhidden; /* (N, widest): of the MLP's hidden activation */
    Workspace workspace;
} Gradients;

/* Counts or carves (workspace.h). */
static void lay_out(Gradients *d, const ModelSpec *s, size_t N) {
    Workspace *w = &d->workspace;
    LayerSizes z = layer_sizes_largest(s);
    d->dx = workspace_floats(w, N, z.C);
    d->dbranch = workspace_floats(w, N, z.C);
    d->din = workspace_floats(w, N, z.C);
    d->dq = workspace_floats(w, N, z.q);
    d->dout = workspace_floats(w, N, z.q);
    d->dk = workspace_floats(w, N, z.kv);
    d->dv = workspace_floats(w, N, z.kv);
    d->dhidden = workspace_floats(w, N, layer_sizes_widest(s));
}

/* d->dbranch = the gradient of a branch's output: residual_scale * dx, taken back through the post-norm if
 * there is one (w not NULL). `output` (N, C) and `rstd` (N) are what the post-norm read and saved; its
 * gradient is added to dw. */
static void leave_branch(ForwardPass *p, Gradients *d, const float *w, float *dw, const float *output,
                         const float *rstd) {
    size_t n = p->N * p->net->spec->hidden_size;
    /* p->branch is no longer needed by the forward pass, so it can hold the scaled gradient before the
     * post-norm. */
    float scale = (float)p->net->spec->residual_scale, *scaled = w ? p->branch : d->dbranch;
    memset(scaled, 0, n * sizeof *scaled);
    add_scaled(p->net->pool, scaled, d->dx, scale, n);
    if (!w) return;
    memset(d->dbranch, 0, n * sizeof *d->dbranch); /* norm_backward adds */
    residual_norm_backward(p->net, d->dbranch, dw, NULL, scaled, output, w, rstd, p->N);
}

/* dx += d->din, taken back through the norm before the branch if there is one (w not NULL). `x` (N, C) and
 * `rstd` (N) are what the norm read and saved; its gradients are added to dw and db. */
static void enter_branch(ForwardPass *p, Gradients *d, const float *x, const float *w, float *dw, float *db,
                         const float *rstd) {
    if (w)
        residual_norm_backward(p->net, d->dx, dw, db, d->din, x, w, rstd, p->N);
    else
        add_scaled(p->net->pool, d->dx, d->din, 1, p->N * p->net->spec->hidden_size);
}

/* Backward pass of the MLP or the mixture of experts. Reads the gradient of its output from d->dbranch, and
 * overwrites d->din with the gradient of its input `in` (N, C). */
static void backward_ffn(ForwardPass *p, uint32_t layer, const LayerParams *w, const LayerParams *g,
                         const float *in, Gradients *d) {
    const LayerSpec *l = &p->net->spec->layers[layer];
    SavedActivations *s = &p->saved[layer];
    if (!l->n_experts) {
        MlpParams own = mlp_params(w), of_own = mlp_params(g);
        MlpBackwardBuffers b = {.gate = s->gate, .up = s->up, .hidden = p->hidden, .dhidden = d->dhidden};
        mlp_backward(p->net, l->activation, &own, &of_own, d->din, false, d->dbranch, in, &b, p->N,
                     l->ffn_dim);
        return;
    }
    /* A mixture of experts: first the routed experts, which overwrite d->din, then the shared expert, which
     * adds to it. */
    Experts x = layer_experts(l, p->net->spec->hidden_size, w);
    ExpertParams of = expert_params(g);
    ExpertActivations a = forward_expert_activations(p, layer, d->dhidden);
    experts_backward(p->net->pool, &x, &of, &s->dispatch, &a, d->din, d->dbranch, in, p->N);
    if (!l->shared_expert) return;
    MlpParams shared = shared_mlp_params(w), of_shared = shared_mlp_params(g);
    MlpBackwardBuffers b = {
        .gate = s->shared_gate, .up = s->shared_up, .hidden = p->hidden, .dhidden = d->dhidden};
    mlp_backward(p->net, l->activation, &shared, &of_shared, d->din, true, d->dbranch, in, &b, p->N,
                 l->ffn_dim);
}

/* Backward pass of QK-norm. `d` (N, width) has the gradient of the norm's output, and is overwritten with the
 * gradient of its input. `linear` (N, width) is the norm's input. Each token has `rows` rows that are
 * normalized separately with the same weight w (width / rows): one row per head, or a single row for a norm
 * over all heads. `scratch` is (N, width). */
static void qk_norm_backward(const ForwardPass *p, float *d, float *scratch, float *dw, const float *linear,
                             const float *w, const float *rstd, size_t rows, size_t width) {
    memset(scratch, 0, p->N * width * sizeof *scratch); /* norm_backward adds */
    norm_backward(p->net->pool, NORM_RMS, scratch, dw, NULL, d, linear, w, rstd, p->N * rows, width / rows);
    memcpy(d, scratch, p->N * width * sizeof *d);
}

/* Backward pass of softmax(q k^T) v: computes d->dq, d->dk and d->dv from d->dout, and adds to the gradients
 * of the attention sinks. */
static void attention_gradients(ForwardPass *p, uint32_t layer, const LayerParams *w, const LayerParams *g,
                                Gradients *d) {
    LayerSizes z = layer_sizes(p->net->spec, layer);
    Attention *a = forward_attention_describe(p, layer, w->sinks);
    AttentionGrad *ag = xcalloc(p->B, sizeof *ag);
    /* Sequences are processed in parallel, so each gets its own array of sink gradients. They are summed
     * below. */
    float *dsinks = g->sinks ? xcalloc(p->B * z.heads, sizeof *dsinks) : NULL;
    for (size_t b = 0; b < p->B; b++)
        ag[b] = (AttentionGrad){.dout = d->dout + b * p->T * z.q,
                                .dq = d->dq + b * p->T * z.q,
                                .dk = d->dk + b * p->T * z.kv,
                                .dv = d->dv + b * p->T * z.kv,
                                .dsinks = dsinks ? dsinks + b * z.heads : NULL};
    attention_backward(p->net->pool, a, ag, p->B);
    for (size_t j = 0; dsinks && j < p->B * z.heads; j++)
        g->sinks[j % z.heads] += dsinks[j];
    free(a);
    free(ag);
    free(dsinks);
}

/* Backward pass of the attention branch. Reads the gradient of its output from d->dbranch, and writes the
 * gradient of its input `in` (N, C) to d->din. With `add_din` it adds to d->din, which has the gradient of
 * the MLP's input if both branches share their norm. The steps are those of the forward pass in reverse
 * order. */
static void backward_attention(ForwardPass *p, uint32_t layer, const LayerParams *w, const LayerParams *g,
                               const float *in, bool add_din, Gradients *d) {
    const Net *n = p->net;
    SavedActivations *s = &p->saved[layer];
    LayerSizes z = layer_sizes(n->spec, layer);
    size_t N = p->N;
    /* Step 1: back through w_o. */
    linear_backward(n->pool, d->dout, false, g->o, g->o_bias, d->dbranch, s->attn_out, w->o, N, z.q, z.C);
    /* Step 2: back through softmax attention. */
    attention_gradients(p, layer, w, g, d);
    /* Step 3: back through the attention temperature and RoPE. The gradient of a rotation is the inverse
     * rotation. */
    attention_temperature(n->pool, &n->spec->layers[layer], d->dq, 0, N, p->T);
    rotate_qk(n, layer, d->dq, d->dk, &p->ropes[layer], N, p->T, true);
    /* Step 4: back through QK-norm. d->dout is no longer needed and serves as scratch; it is at least as wide
     * as dk. */
    if (z.q_norm)
        qk_norm_backward(p, d->dq, d->dout, g->q_norm, s->q_linear, w->q_norm, s->q_rstd, z.q_norm_rows, z.q);
    if (z.k_norm)
        qk_norm_backward(p, d->dk, d->dout, g->k_norm, s->k_linear, w->k_norm, s->k_rstd, z.k_norm_rows,
                         z.kv);
    /* Step 5: back through w_q, w_k and w_v, which all contribute to the gradient of the input. */
    linear_backward(n->pool, d->din, add_din, g->q, g->q_bias, d->dq, in, w->q, N, z.C, z.q);
    linear_backward(n->pool, d->din, true, g->k, g->k_bias, d->dk, in, w->k, N, z.C, z.kv);
    linear_backward(n->pool, d->din, true, g->v, g->v_bias, d->dv, in, w->v, N, z.C, z.kv);
}

/* Backward pass of one layer. On entry d->dx is the gradient of the residual stream after the layer, on
 * return the gradient of the stream before it. */
static void backward_layer(ForwardPass *p, uint32_t layer, float *grads, Gradients *d) {
    const Net *n = p->net;
    LayerParams w = layer_params(n, n->weights, layer), g = layer_params(n, grads, layer);
    SavedActivations *s = &p->saved[layer];
    ResidualLayout residual_layout = n->spec->layers[layer].residual_layout;
    bool shared_norm = residual_layout == RESIDUAL_PARALLEL_SHARED_NORM;
    /* Step 1: the MLP. Its input is recomputed from the saved input of its norm. */
    leave_branch(p, d, w.ffn_post_norm, g.ffn_post_norm, s->ffn_branch, s->ffn_post_rstd);
    const float *in =
        shared_norm ? branch_input(n, p->normed, s->attn_norm_rstd, s->x, w.attn_norm, w.attn_norm_bias, p->N)
                    : branch_input(n, p->normed, s->ffn_norm_rstd, s->mid, w.ffn_norm, w.ffn_norm_bias, p->N);
    backward_ffn(p, layer, &w, &g, in, d);
    /* Step 2: add the gradient of the MLP's input to dx, and take the gradient of attention's output from dx.
     * In the sequential layout the MLP's input contains attention's output, so the addition comes first. In
     * parallel layouts both branches only see the gradient of the layer's output, so it comes second. If the
     * branches share their norm, d->din sums up the gradients of both before it is added to dx at the end. */
    if (residual_layout == RESIDUAL_SEQUENTIAL)
        enter_branch(p, d, s->mid, w.ffn_norm, g.ffn_norm, g.ffn_norm_bias, s->ffn_norm_rstd);
    leave_branch(p, d, w.attn_post_norm, g.attn_post_norm, s->attn_branch, s->attn_post_rstd);
    if (residual_layout == RESIDUAL_PARALLEL)
        enter_branch(p, d, s->mid, w.ffn_norm, g.ffn_norm, g.ffn_norm_bias, s->ffn_norm_rstd);
    /* Step 3: attention. If the branches share their norm, `in` is also attention's input. */
    if (!shared_norm)
        in = branch_input(n, p->normed, s->attn_norm_rstd, s->x, w.attn_norm, w.attn_norm_bias, p->N);
    backward_attention(p, layer, &w, &g, in, shared_norm, d);
    enter_branch(p, d, s->x, w.attn_norm, g.attn_norm, g.attn_norm_bias, s->attn_norm_rstd);
}

bool backward_pass_run(ForwardPass *p, const int32_t *ids, float *grads, Error *e) {
    const Net *n = p->net;
    const ModelSpec *s = n->spec;
    Gradients d = {0};
    lay_out(&d, s, p->N);
    if (!workspace_alloc(&d.workspace, "gradients of activations", e)) return false;
    lay_out(&d, s, p->N);
    /* The final norm is the only reader of the residual stream after the last layer. dx starts as 0, and the
     * norm's backward pass adds to it. */
    memset(d.dx, 0, p->N * s->hidden_size * sizeof *d.dx);
    residual_norm_backward(n, d.dx, net_at(n, grads, ROLE_FINAL_NORM, -1),
                           net_at(n, grads, ROLE_FINAL_NORM_BIAS, -1), p->normed, p->x,
                           net_at(n, n->weights, ROLE_FINAL_NORM, -1), p->final_rstd, p->N);
    for (uint32_t i = s->n_layers; i-- > 0;)
        backward_layer(p, i, grads, &d);
    embedding_backward(net_at(n, grads, ROLE_EMBED, -1), d.dx, ids, (float)s->embedding_scale, p->N,
                       s->hidden_size);
    workspace_free(&d.workspace);
    return true;
}

uint64_t backward_pass_bytes(const ModelSpec *s, size_t B, size_t T) {
    Gradients d = {0};
    size_t N;
    if (__builtin_mul_overflow(B, T, &N)) return WORKSPACE_UNREACHABLE;
    lay_out(&d, s, N);
    return workspace_bytes(&d.workspace);
}
