/* The MLP of a layer, forward and backward: y = (act(x w_gate^T + b_gate) * (x w_up^T + b_up)) w_down^T +
 * b_down, or without a gate y = act(x w_up^T + b_up) w_down^T + b_down. Used for the plain MLP and for the
 * shared expert; the routed experts are ops/experts.h. */
#ifndef DEROPE_RECAL_MLP_H
#define DEROPE_RECAL_MLP_H

#include "recal/ops/experts.h"
#include "recal/transformer_layer.h"

/* The weights of one MLP, or their gradients; NULL where it has none. C is the hidden size, F its ffn_dim. */
typedef struct MlpParams {
    float *gate, *up, *down;                /* (F, C) twice, (C, F) */
    float *gate_bias, *up_bias, *down_bias; /* (F) twice, (C) */
} MlpParams;

/* The layer's own MLP, and its shared expert, which every token passes beside the routed ones. */
MlpParams mlp_params(const LayerParams *p);
MlpParams shared_mlp_params(const LayerParams *p);
/* The layer's mixture of experts with the weights `w`, and the same pointers of any LayerParams (for
 * gradients). */
Experts layer_experts(const LayerSpec *l, size_t hidden_size, const LayerParams *w);
ExpertParams expert_params(const LayerParams *p);

/* out (N, C) of in (N, C). `gate` and `up` (N, F) receive the linear layers' outputs, which the backward pass
 * needs; `gate` is not touched if the MLP has none. `hidden` (N, F) is scratch for the activation; it may be
 * gate or up if there is no backward pass. */
void mlp_forward(const Net *n, Activation act, const MlpParams *w, float *out, const float *in, float *gate,
                 float *up, float *hidden, size_t N, size_t F);

/* Arrays of mlp_backward, (N, F) each. */
typedef struct MlpBackwardBuffers {
    float *gate,
        *up; /* what the forward pass left; they become the gradients of themselves. gate NULL: not gated */
    float *hidden;  /* scratch: the activation, computed again */
    float *dhidden; /* scratch: its gradient */
} MlpBackwardBuffers;

/* From dout (N, C) and the forward pass's `in` (N, C): din (N, C) is overwritten, or added to if `add_din`;
 * gradients of the weights are added to `g`. */
void mlp_backward(const Net *n, Activation act, const MlpParams *w, const MlpParams *g, float *din,
                  bool add_din, const float *dout, const float *in, const MlpBackwardBuffers *b, size_t N,
                  size_t F);

#endif
