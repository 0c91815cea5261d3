/* What the tensors of a model do. One table of shapes serves the reader that checks a checkpoint and the net
 * that runs it. */
#ifndef DEROPE_SURGERY_ROLE_H
#define DEROPE_SURGERY_ROLE_H

#include "surgery/spec.h"

typedef enum TensorRole {
    ROLE_EMBED,
    ROLE_HEAD,
    ROLE_HEAD_BIAS,
    ROLE_FINAL_NORM,
    ROLE_FINAL_NORM_BIAS,
    ROLE_ATTN_NORM,
    ROLE_ATTN_NORM_BIAS,
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_O,
    ROLE_Q_BIAS,
    ROLE_K_BIAS,
    ROLE_V_BIAS,
    ROLE_O_BIAS,
    ROLE_Q_NORM,
    ROLE_K_NORM,
    ROLE_SINKS,
    ROLE_ATTN_POST_NORM,
    ROLE_FFN_NORM,
    ROLE_FFN_NORM_BIAS,
    ROLE_ROUTER,
    ROLE_ROUTER_BIAS,
    ROLE_GATE,
    ROLE_UP,
    ROLE_DOWN,
    ROLE_GATE_BIAS,
    ROLE_UP_BIAS,
    ROLE_DOWN_BIAS,
    ROLE_SHARED_GATE,
    ROLE_SHARED_UP,
    ROLE_SHARED_DOWN,
    ROLE_FFN_POST_NORM,
    ROLE_OTHER, /* carried, not understood (rotary inv_freq buffers, ...) */
    ROLE_COUNT
} TensorRole;

/* The shape that a model of this spec has for a role: returns the rank (1: shape[0] elements; 2: shape[0]
 * rows of shape[1]; 3: the matrices of shape[0] experts), 0 if it has no such tensor. `l` is NULL for roles
 * outside the layers. */
uint32_t role_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]);
/* What each expert has one of: the MLP's matrices and their biases. */
bool role_is_mlp(TensorRole role);
/* A projection's bias: a GGUF may have it or not, and by that says whether the model does. */
bool role_is_bias(TensorRole role);
/* A norm's weight. */
bool role_is_norm(TensorRole role);
/* What a factor of the scores can go into: the queries' projection, or the norm behind it. */
bool role_takes_scale(const LayerSpec *l, TensorRole role);
/* "q_bias" */
const char *role_name(TensorRole role);
/* True for what rotation pairs up: the rows of q and k, and their biases. */
bool role_is_rotated(TensorRole role);

#endif
