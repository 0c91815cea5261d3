/* A mixture of experts (arXiv 1701.06538): each token passes `top_k` of `n_experts` MLPs, chosen by a router.
 *
 *     logits = x w_router^T + b_router                                    (N, n_experts)
 *     y = sum over the chosen experts e of weight_e * MLP_e(x)            ROUTING_OF_CHOSEN, ROUTING_OF_ALL
 *     y = sum over the chosen experts e of MLP_e(weight_e * x)            ROUTING_OF_INPUT (Llama 4)
 *     MLP_e(x) = (act(x w_gate^T + b_gate) * (x w_up^T + b_up)) w_down^T + b_down
 *
 * The chosen experts are those with the top_k highest logits. The routing weight is the softmax of the logits
 * over the chosen experts or over all experts, or the sigmoid of the logit (enum Routing in surgery/spec.h).
 *
 * Dispatch: every token takes top_k *slots*, N * top_k in all, and the slots are sorted by expert. The rows
 * of one expert then lie side by side, and each expert is three matrix products over its rows. */
#ifndef DEROPE_RECAL_OPS_EXPERTS_H
#define DEROPE_RECAL_OPS_EXPERTS_H

#include <stddef.h>
#include <stdint.h>

#include "recal/threads.h"
#include "recal/workspace.h"
#include "surgery/spec.h"

/* The weights, or gradients of the same shapes. NULL where there is no bias. C is the hidden size, F =
 * ffn_dim. */
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
    size_t top_k;       /* experts that each token passes, 1 .. n_experts */
    size_t hidden_size; /* C */
    size_t ffn_dim;     /* F: width of one expert */
    Activation activation;
    Routing routing; /* what the routing weight is, and what it multiplies */
    ExpertParams w;
} Experts;

/* Which expert reads which token. The forward pass fills it, the backward pass reads it and uses it up. */
typedef struct Dispatch {
    float *probs;     /* (N, n_experts): routing weights; 0 for experts that take no part in them */
    float *weight;    /* (N * top_k): the routing weight of each slot */
    uint32_t *token;  /* (N * top_k): the token of each slot */
    uint32_t *expert; /* (N, top_k): the experts of each token, highest logit first */
    uint32_t *slot;   /* (N, top_k): the slot that each token has at each of its experts */
    uint32_t *first;  /* (n_experts + 1): the first slot of each expert; the last element is N * top_k */
} Dispatch;

/* The dispatch of up to N tokens, carved from `w` (workspace.h). */
Dispatch dispatch_lay_out(Workspace *w, size_t n_experts, size_t top_k, size_t N);

/* Activations of all slots, N * top_k rows each; the caller's memory. */
typedef struct ExpertActivations {
    float *in;         /* (N * top_k, C): the tokens that the experts read */
    float *out;        /* (N * top_k, C): what the experts give; gradients in the backward pass */
    float *gate, *up;  /* (N * top_k, F) each: kept from the forward to the backward pass */
    float *hidden;     /* (N * top_k, F): act(gate) * up; its gradient in the backward pass. May be `gate` if
                        * there     will be no backward pass. */
    float *recomputed; /* (N * top_k, F): act(gate) * up again, in the backward pass; otherwise not used */
} ExpertActivations;

/* y (N, C) from x (N, C); fills `d` and `a`. */
void experts_forward(Pool *p, const Experts *e, Dispatch *d, const ExpertActivations *a, float *y,
                     const float *x, size_t N);
/* From dy (N, C), the forward pass's x, `d`, a->gate and a->up: dx (N, C) is overwritten, the gradients of
 * the weights are added to `g`. The contents of `d` and `a` are used up. */
void experts_backward(Pool *p, const Experts *e, const ExpertParams *g, Dispatch *d,
                      const ExpertActivations *a, float *dx, const float *dy, const float *x, size_t N);

#endif
