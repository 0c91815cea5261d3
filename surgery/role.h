/* Roles: what each tensor of a model is for, whatever a family calls it. One table of shapes (role_shape)
 * serves the reader, which checks a checkpoint against it, and the net in recal/, which lays out weights and
 * gradients by it.
 *
 * Shapes below are [rows, columns] of a matrix W that is applied as y = W x, so rows are outputs. d:
 * hidden_size, h: query heads, g: key/value heads, k: head_dim, f: ffn_dim, E: experts, V: vocabulary. A
 * layer with experts has the MLP's tensors once for each, stacked in front: [E, f, d] instead of [f, d]. */
#ifndef DEROPE_SURGERY_ROLE_H
#define DEROPE_SURGERY_ROLE_H

#include "surgery/spec.h"

typedef enum TensorRole {
    /* outside the layers */
    ROLE_EMBED,           /* [V, d] token embeddings */
    ROLE_HEAD,            /* [V, d] output matrix; absent where the embeddings serve (tied_head) */
    ROLE_HEAD_BIAS,       /* [V] added to the logits */
    ROLE_FINAL_NORM,      /* [d] norm before the output matrix */
    ROLE_FINAL_NORM_BIAS, /* [d] of a LayerNorm */
    /* attention */
    ROLE_ATTN_NORM,      /* [d] norm before attention; also before the MLP where both read one norm */
    ROLE_ATTN_NORM_BIAS, /* [d] of a LayerNorm */
    ROLE_Q,              /* [h * k, d] */
    ROLE_K,              /* [g * k, d] */
    ROLE_V,              /* [g * k, d] */
    ROLE_O,              /* [d, h * k] */
    ROLE_Q_BIAS,         /* [h * k] */
    ROLE_K_BIAS,         /* [g * k] */
    ROLE_V_BIAS,         /* [g * k] */
    ROLE_O_BIAS,         /* [d] */
    ROLE_Q_NORM,         /* QK-norm of queries: [k], one for all heads, or [h * k], over all heads together */
    ROLE_K_NORM,         /* of keys: [k] or [g * k] */
    ROLE_SINKS,          /* [h] a logit for each head that joins the softmax's denominator alone */
    ROLE_ATTN_POST_NORM, /* [d] norm of attention's output, before it is added to the residual stream */
    /* MLP */
    ROLE_FFN_NORM,      /* [d] norm before the MLP */
    ROLE_FFN_NORM_BIAS, /* [d] of a LayerNorm */
    ROLE_ROUTER,        /* [E, d] logits by which experts are chosen */
    ROLE_ROUTER_BIAS,   /* [E] */
    ROLE_GATE,          /* [f, d] down(act(gate(x)) * up(x)); absent where no_gate */
    ROLE_UP,            /* [f, d] */
    ROLE_DOWN,          /* [d, f] */
    ROLE_GATE_BIAS,     /* [f] */
    ROLE_UP_BIAS,       /* [f] */
    ROLE_DOWN_BIAS,     /* [d] */
    ROLE_SHARED_GATE,   /* [f, d] of the expert that every token passes */
    ROLE_SHARED_UP,     /* [f, d] */
    ROLE_SHARED_DOWN,   /* [d, f] */
    ROLE_FFN_POST_NORM, /* [d] norm of the MLP's output, before it is added to the residual stream */
    ROLE_OTHER,         /* copied without being understood: rotary inv_freq buffers, heads of other tasks */
    ROLE_COUNT
} TensorRole;

/* The shape that a model of this spec has for a role. Returns the rank and sets as many elements of `shape`;
 * 0 if the model has no such tensor. `l` is the layer, NULL for roles outside the layers. */
uint32_t role_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]);
/* The MLP's matrices and biases, which every expert has: ROLE_GATE to ROLE_DOWN_BIAS. */
bool role_is_mlp(TensorRole role);
/* The bias of a projection. A GGUF has no keys about these: it has the tensor or not. */
bool role_is_bias(TensorRole role);
/* The weight of a norm. */
bool role_is_norm(TensorRole role);
/* The tensors that a factor of the attention scores can be multiplied into: the weight of the norm on queries
 * if there is one (it would cancel a factor in q_proj), else q_proj and its bias. */
bool role_takes_scale(const LayerSpec *l, TensorRole role);
/* The tensors whose rows RoPE rotates in pairs: q and k and their biases. */
bool role_is_rotated(TensorRole role);
/* "q_bias", for messages */
const char *role_name(TensorRole role);

#endif
