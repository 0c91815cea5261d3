/* A role says what a tensor is for in a model, independently of the name that a family gives it: the
 * embedding matrix, the query projection of a layer, the bias of a router. The function role_shape computes
 * the shape of each role from the spec. The reader (model_bind.c) checks the tensors of a checkpoint against
 * these shapes, and the net in recal/ allocates weights and gradients by them. The functions are defined in
 * role.c.
 *
 * Shapes are written [rows, columns] for a matrix W that is applied as y = W x, so a row belongs to one
 * output. The letters stand for these fields of ModelSpec and LayerSpec:
 *
 *   d hidden_size    h n_heads    g n_kv_heads    k head_dim    f ffn_dim    E n_experts    V vocab
 *
 * In a layer with experts, the tensors from ROLE_GATE to ROLE_DOWN_BIAS have one more dimension E in front,
 * the index of the expert: [E, f, d] instead of [f, d]. */
#ifndef DEROPE_SURGERY_ROLE_H
#define DEROPE_SURGERY_ROLE_H

#include "surgery/spec.h"

typedef enum TensorRole {
    /* ---- outside the layers ---- */
    ROLE_EMBED,           /* [V, d] one embedding for each token of the vocabulary */
    ROLE_HEAD,            /* [V, d] output projection; absent if the spec has tied_head */
    ROLE_HEAD_BIAS,       /* [V] bias of the logits */
    ROLE_FINAL_NORM,      /* [d] weight of the norm before the output projection */
    ROLE_FINAL_NORM_BIAS, /* [d] bias of the final norm, if it is a LayerNorm with bias */
    /* ---- attention ---- */
    ROLE_ATTN_NORM,      /* [d] weight of the norm before attention; with RESIDUAL_PARALLEL_SHARED_NORM the
                            MLP reads the output of this norm too */
    ROLE_ATTN_NORM_BIAS, /* [d] bias of the norm before attention, if it is a LayerNorm with bias */
    ROLE_Q,              /* [h * k, d] query projection */
    ROLE_K,              /* [g * k, d] key projection */
    ROLE_V,              /* [g * k, d] value projection */
    ROLE_O,              /* [d, h * k] output projection of attention */
    ROLE_Q_BIAS,         /* [h * k] bias of the query projection */
    ROLE_K_BIAS,         /* [g * k] bias of the key projection */
    ROLE_V_BIAS,         /* [g * k] bias of the value projection */
    ROLE_O_BIAS,         /* [d] bias of the output projection of attention */
    ROLE_Q_NORM, /* weight of the RMSNorm of queries: [k] with QK_NORM_HEAD, [h * k] with QK_NORM_FULL */
    ROLE_K_NORM, /* weight of the RMSNorm of keys: [k] with QK_NORM_HEAD, [g * k] with QK_NORM_FULL */
    ROLE_SINKS,  /* [h] one logit for each query head that adds to the softmax's denominator only */
    ROLE_ATTN_POST_NORM, /* [d] weight of the norm of attention's output, before it is added to the residual
                            stream */
    /* ---- MLP ---- */
    ROLE_FFN_NORM,      /* [d] weight of the norm before the MLP */
    ROLE_FFN_NORM_BIAS, /* [d] bias of the norm before the MLP, if it is a LayerNorm with bias */
    ROLE_ROUTER,        /* [E, d] projection to one logit for each expert, by which experts are chosen */
    ROLE_ROUTER_BIAS,   /* [E] bias of the router's logits */
    ROLE_GATE,          /* [f, d] gate of down(act(gate(x)) * up(x)); absent if the spec has no_gate */
    ROLE_UP,            /* [f, d] projection to the f inner elements of the MLP */
    ROLE_DOWN,          /* [d, f] projection back to the residual stream */
    ROLE_GATE_BIAS,     /* [f] bias of the gate */
    ROLE_UP_BIAS,       /* [f] bias of the up projection */
    ROLE_DOWN_BIAS,     /* [d] bias of the down projection */
    ROLE_SHARED_GATE,   /* [f, d] gate of the shared expert, which is applied to every token */
    ROLE_SHARED_UP,     /* [f, d] up projection of the shared expert */
    ROLE_SHARED_DOWN,   /* [d, f] down projection of the shared expert */
    ROLE_FFN_POST_NORM, /* [d] weight of the norm of the MLP's output, before it is added to the residual
                           stream */
    ROLE_HEAD_COPY,     /* [V, d] output projection of a model with tied_head whose file has the embedding a
                           second time under that name; not read, and written from ROLE_EMBED */
    ROLE_OTHER,         /* any shape; not used in the forward pass and only copied, such as stored inv_freq
                           buffers of RoPE or classification heads */
    ROLE_COUNT          /* number of roles */
} TensorRole;

/* Computes the shape of the tensor with this role. Returns its rank and stores its dimensions in `shape`, in
 * the order of the table above. Returns 0 if a model of this spec has no tensor with the role. `l` is the
 * layer of the tensor, or NULL for the roles outside the layers. */
uint32_t role_shape(const ModelSpec *s, const LayerSpec *l, TensorRole role, uint64_t shape[3]);
/* Returns true for the matrices and biases of the MLP, ROLE_GATE to ROLE_DOWN_BIAS. In a layer with experts
 * every expert has these tensors. */
bool role_is_mlp(TensorRole role);
/* Returns true for the biases of the projections in a layer, including the router, but not for biases of
 * norms. A GGUF has no key that says whether a projection has a bias, so the reader looks for the tensor. */
bool role_is_bias(TensorRole role);
/* Returns true for the weights of norms, but not for their biases. */
bool role_is_norm(TensorRole role);
/* Returns true for the tensors into which a factor of the attention scores can be multiplied. If queries have
 * a norm, this is the weight of the norm, because the norm would cancel a factor in the query projection.
 * Otherwise these are ROLE_Q and ROLE_Q_BIAS. */
bool role_takes_scale(const LayerSpec *l, TensorRole role);
/* Returns true for the weights and biases of the query and key projections, whose rows RoPE rotates in
 * pairs. */
bool role_is_rotated(TensorRole role);
/* Returns the name of a role for messages, such as "q_bias". */
const char *role_name(TensorRole role);

#endif
