/* A mixture of experts (arXiv 1701.06538): each token is processed by `top_k` of `n_experts` MLPs, which a
 * router chooses.
 *
 *     logits = x w_router^T + b_router                                    (N, n_experts)
 *     y = sum over the chosen experts e of weight_e * MLP_e(x)            ROUTING_OF_CHOSEN, ROUTING_OF_ALL
 *     y = sum over the chosen experts e of MLP_e(weight_e * x)            ROUTING_OF_INPUT (Llama 4)
 *     MLP_e(x) = (act(x w_gate^T + b_gate) * (x w_up^T + b_up)) w_down^T + b_down
 *
 * The chosen experts are those with the top_k highest logits. The routing weight is the softmax of the logits
 * over the chosen experts or over all experts, or the sigmoid of the logit (enum Routing in surgery/spec.h).
 *
 * Dispatch: every token has top_k *slots*, one for each of its experts, so there are N * top_k slots. They
 * are sorted by expert. The rows of one expert are therefore contiguous, and its MLP is three matrix products
 * over these rows. */
#ifndef DEROPE_RECAL_OPS_EXPERTS_H
#define DEROPE_RECAL_OPS_EXPERTS_H

#include <stddef.h>
#include <stdint.h>

#include "recal/threads.h"
#include "recal/workspace.h"
#include "surgery/spec.h"

/* The weights, or their gradients, which have the same shapes. An absent bias is NULL. C is the hidden size,
 * F is ffn_dim. */
typedef struct ExpertParams {
    float *router;              /* (n_experts, C) */
    float *router_bias;         /* (n_experts) */
    float *gate, *up;           /* (n_experts, F, C) each */
    float *down;                /* (n_experts, C, F) */
    float *gate_bias, *up_bias; /* (n_experts, F) each */
    float *down_bias;           /* (n_experts, C) */
} ExpertParams;

typedef struct Experts {
    size_t n_experts;
    size_t top_k;       /* experts per token, 1 .. n_experts */
    size_t hidden_size; /* C */
    size_t ffn_dim;     /* F: intermediate size of one expert */
    Activation activation;
    Routing routing; /* what the routing weight is, and what it multiplies */
    ExpertParams w;
} Experts;

/* The assignment of tokens to experts. The forward pass writes it. The backward pass reads it and overwrites
 * it. */
typedef struct Dispatch {
    float *probs;     /* (N, n_experts): routing weights; 0 for experts that the routing ignores */
    float *weight;    /* (N * top_k): the routing weight of each slot */
    uint32_t *token;  /* (N * top_k): the token of each slot */
    uint32_t *expert; /* (N, top_k): the experts of each token, highest logit first */
    uint32_t *slot;   /* (N, top_k): the slot of each token for each of its experts */
    uint32_t *first;  /* (n_experts + 1): the first slot of each expert; the last element is N * top_k */
} Dispatch;

/* Returns a dispatch for up to N tokens, whose arrays are pieces of the workspace `w` (workspace.h). */
Dispatch dispatch_lay_out(Workspace *w, size_t n_experts, size_t top_k, size_t N);

/* Activations of all slots, with N * top_k rows each. The memory belongs to the caller. */
typedef struct ExpertActivations {
    float *in;         /* (N * top_k, C): inputs of the experts */
    float *out;        /* (N * top_k, C): outputs of the experts; gradients in the backward pass */
    float *gate, *up;  /* (N * top_k, F) each: saved by the forward pass for the backward pass */
    float *hidden;     /* (N * top_k, F): act(gate) * up; its gradient in the backward pass. May be `gate` if
                        * there is no backward pass. */
    float *recomputed; /* (N * top_k, F): act(gate) * up, recomputed by the backward pass; not used by the
                          forward pass */
} ExpertActivations;

/* Computes y (N, C) from x (N, C), and writes `d` and `a`. */
void experts_forward(Pool *p, const Experts *e, Dispatch *d, const ExpertActivations *a, float *y,
                     const float *x, size_t N);
/* The backward pass. Reads dy (N, C), and x, `d`, a->gate and a->up from the forward pass. Overwrites dx (N,
 * C) with the gradient of x, and adds the gradients of the weights to `g`. `d` and `a` are overwritten with
 * intermediate results. */
void experts_backward(Pool *p, const Experts *e, const ExpertParams *g, Dispatch *d,
                      const ExpertActivations *a, float *dx, const float *dy, const float *x, size_t N);

#endif
