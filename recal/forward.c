/* The forward pass of training, layer by layer. It computes what inference.c computes, for whole sequences at
 * once and with the activations kept that backward.c needs. */
#include "recal/forward.h"

#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/mlp.h"
#include "recal/ops/attention.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/experts.h"
#include "recal/ops/linear.h"
#include "recal/transformer_layer.h"

/* One description per sequence of the batch, all over the saved activations of the layer; the caller frees
 * the array. Backward uses the same descriptions, with the log-sum-exp that forward wrote. */
Attention *forward_attention_describe(const ForwardPass *p, uint32_t layer, const float *sinks) {
    const SavedActivations *s = &p->saved[layer];
    LayerSizes z = layer_sizes(p->net->spec, layer);
    Attention *a = xcalloc(p->B, sizeof *a);
    for (size_t b = 0; b < p->B; b++) {
        size_t row = b * p->T; /* of the sequence's first token */
        a[b] = layer_attention(&p->net->spec->layers[layer], sinks);
        a[b].queries = a[b].keys = p->T;
        a[b].q = s->q + row * z.q;
        a[b].k = s->k + row * z.kv;
        a[b].v = s->v + row * z.kv;
        a[b].out = s->attn_out + row * z.q;
        a[b].lse = s->lse + row * z.heads;
    }
    return a;
}

/* Attention of one layer, from `in` (N, C) to p->branch, or to s->attn_branch if a post-norm reads it. */
static void forward_attention(ForwardPass *p, uint32_t layer, const LayerParams *w, const float *in) {
    const Net *n = p->net;
    SavedActivations *s = &p->saved[layer];
    LayerSizes z = layer_sizes(n->spec, layer);
    QkvBuffers qkv = {.q = s->q,
                      .q_linear = s->q_linear,
                      .k = s->k,
                      .k_linear = s->k_linear,
                      .v = s->v,
                      .q_rstd = s->q_rstd,
                      .k_rstd = s->k_rstd};
    /* Step 1: queries, keys and values, of all sequences at once. */
    qkv_forward(n, layer, w, &qkv, in, &p->ropes[layer], 0, p->N, p->T);
    /* Step 2: attention, which must not look from one sequence into another. */
    Attention *a = forward_attention_describe(p, layer, w->sinks);
    attention_forward(n->pool, a, p->B);
    free(a);
    /* Step 3: back to the hidden size. */
    linear_forward(n->pool, s->attn_branch ? s->attn_branch : p->branch, s->attn_out, w->o, w->o_bias, p->N,
                   z.q, z.C);
}

/* The rows of the experts' inputs and outputs are shared by all layers; gate and up are the layer's own. */
ExpertActivations forward_expert_activations(const ForwardPass *p, uint32_t layer, float *hidden) {
    const SavedActivations *s = &p->saved[layer];
    return (ExpertActivations){.in = p->expert_in,
                               .out = p->expert_out,
                               .gate = s->gate,
                               .up = s->up,
                               .hidden = hidden,
                               .recomputed = p->hidden};
}

/* The MLP or the experts of one layer, from `in` (N, C) to p->branch, or to s->ffn_branch if a post-norm
 * reads it. */
static void forward_ffn(ForwardPass *p, uint32_t layer, const LayerParams *w, const float *in) {
    const LayerSpec *l = &p->net->spec->layers[layer];
    SavedActivations *s = &p->saved[layer];
    float *out = s->ffn_branch ? s->ffn_branch : p->branch;
    if (!l->n_experts) {
        MlpParams own = mlp_params(w);
        mlp_forward(p->net, l->activation, &own, out, in, s->gate, s->up, p->hidden, p->N, l->ffn_dim);
        return;
    }
    Experts x = layer_experts(l, p->net->spec->hidden_size, w);
    ExpertActivations a = forward_expert_activations(p, layer, p->hidden);
    experts_forward(p->net->pool, &x, &s->dispatch, &a, out, in, p->N);
    if (!l->shared_expert) return;
    /* The shared expert's output goes through the routed experts' memory, which is free again. */
    MlpParams shared = shared_mlp_params(w);
    mlp_forward(p->net, l->activation, &shared, p->expert_out, in, s->shared_gate, s->shared_up, p->hidden,
                p->N, l->ffn_dim);
    add_scaled(p->net->pool, out, p->expert_out, 1, p->N * p->net->spec->hidden_size);
}

/* x += the branch that p->branch holds, or the post-norm of `before_norm` where the layer has one. */
static void add_to_stream(ForwardPass *p, const float *before_norm, float *rstd, const float *post_norm) {
    branch_add(p->net, p->x, p->branch, rstd, before_norm ? before_norm : p->branch, post_norm, p->N);
}

/* One layer: p->x is the stream before it and becomes the stream after it. */
static void forward_layer(ForwardPass *p, uint32_t layer) {
    const Net *n = p->net;
    LayerParams w = layer_params(n, n->weights, layer);
    SavedActivations *s = &p->saved[layer];
    ResidualLayout residual_layout = n->spec->layers[layer].residual_layout;
    size_t bytes = p->N * n->spec->hidden_size * sizeof(float);
    /* Attention reads the layer's input, which the backward pass needs again. */
    memcpy(s->x, p->x, bytes);
    const float *in =
        branch_input(n, p->normed, s->attn_norm_rstd, s->x, w.attn_norm, w.attn_norm_bias, p->N);
    forward_attention(p, layer, &w, in);
    add_to_stream(p, s->attn_branch, s->attn_post_rstd, w.attn_post_norm);
    /* In a sequential layer the MLP reads the stream with attention's output in it. In a parallel one it
     * reads the layer's input, s->mid being s->x, through a norm of its own or through attention's, whose
     * output `in` still is. */
    if (residual_layout == RESIDUAL_SEQUENTIAL) memcpy(s->mid, p->x, bytes);
    if (residual_layout != RESIDUAL_PARALLEL_SHARED_NORM)
        in = branch_input(n, p->normed, s->ffn_norm_rstd, s->mid, w.ffn_norm, w.ffn_norm_bias, p->N);
    forward_ffn(p, layer, &w, in);
    add_to_stream(p, s->ffn_branch, s->ffn_post_rstd, w.ffn_post_norm);
}

void forward_pass_run(ForwardPass *p, const int32_t *ids) {
    const Net *n = p->net;
    /* The head is not part of this pass: head_loss.c runs it on p->normed in blocks of rows. */
    embedding_forward(n->pool, p->x, net_at(n, n->weights, ROLE_EMBED, -1), ids,
                      (float)n->spec->embedding_scale, p->N, n->spec->hidden_size);
    for (uint32_t i = 0; i < n->spec->n_layers; i++)
        forward_layer(p, i);
    residual_norm_forward(n, p->normed, p->final_rstd, p->x, net_at(n, n->weights, ROLE_FINAL_NORM, -1),
                          net_at(n, n->weights, ROLE_FINAL_NORM_BIAS, -1), p->N);
}
