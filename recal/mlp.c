/* The gated MLP of a layer, hidden = act(gate) * up (arXiv 2002.05202), or act(up) without a gate, and its
 * gradients; see mlp.h. It serves the dense layers and the shared expert of a mixture; routed experts have
 * their own loops in ops/experts.c. The functions at the top of the file pick the parameters of each kind
 * from those of a layer. */
#include "recal/mlp.h"

#include "recal/ops/activation.h"
#include "recal/ops/linear.h"

/* The order of the fields is that of the struct: weights, then biases. */
MlpParams mlp_params(const LayerParams *p) {
    return (MlpParams){p->gate, p->up, p->down, p->gate_bias, p->up_bias, p->down_bias};
}

/* No supported architecture has biases in its shared expert. */
MlpParams shared_mlp_params(const LayerParams *p) {
    return (MlpParams){.gate = p->shared_gate, .up = p->shared_up, .down = p->shared_down};
}

/* `p` points at weights or at gradients, which are laid out alike. The matrices of all experts lie one
 * behind the other under one role. */
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

Experts layer_experts(const LayerSpec *l, size_t hidden_size, const LayerParams *w) {
    return (Experts){.n_experts = l->n_experts,
                     .top_k = l->top_k,
                     .hidden_size = hidden_size,
                     .ffn_dim = l->ffn_dim,
                     .activation = l->activation,
                     .routing = l->routing,
                     .w = expert_params(w)};
}

void mlp_forward(const Net *n, Activation act, const MlpParams *w, float *out, const float *in, float *gate,
                 float *up, float *hidden, size_t N, size_t F) {
    size_t C = n->spec->hidden_size;
    /* Step 1: the two linear layers side by side. */
    if (w->gate) linear_forward(n->pool, gate, in, w->gate, w->gate_bias, N, C, F);
    linear_forward(n->pool, up, in, w->up, w->up_bias, N, C, F);
    /* Step 2: hidden = act(gate) * up, or act(up). */
    activation_forward(n->pool, act, hidden, w->gate ? gate : NULL, up, N * F);
    /* Step 3: back to the hidden size. */
    linear_forward(n->pool, out, hidden, w->down, w->down_bias, N, F, C);
}

void mlp_backward(const Net *n, Activation act, const MlpParams *w, const MlpParams *g, float *din,
                  bool add_din, const float *dout, const float *in, const MlpBackwardBuffers *b, size_t N,
                  size_t F) {
    Pool *p = n->pool;
    size_t C = n->spec->hidden_size;
    float *gate = w->gate ? b->gate : NULL;
    /* Step 1: recompute the activation. Saving it in the forward pass would take N * F floats per layer, and
     * computing it is cheap compared with the matrix products. */
    activation_forward(p, act, b->hidden, gate, b->up, N * F);
    /* Step 2: back through w_down. */
    linear_backward(p, b->dhidden, false, g->down, g->down_bias, dout, b->hidden, w->down, N, F, C);
    /* Step 3: back through the activation. gate and up are overwritten with their gradients. */
    activation_backward(p, act, gate, b->up, b->dhidden, gate, b->up, N * F);
    /* Step 4: back through w_up and w_gate; both contribute to the input's gradient. */
    linear_backward(p, din, add_din, g->up, g->up_bias, b->up, in, w->up, N, C, F);
    if (gate) linear_backward(p, din, true, g->gate, g->gate_bias, gate, in, w->gate, N, C, F);
}
