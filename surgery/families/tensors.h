/* Rows of tensor tables that many families have in common, and whole tables that several families or carriers
 * share. Each macro expands to one or more initializers of TensorName (surgery/family.h), so that a family's
 * table is a list of macros followed by TENSORS_END. A table may have rows for tensors that a model lacks,
 * such as biases or norms of queries and keys: which tensors a model has to have is decided by role_shape
 * from the spec. */
#ifndef DEROPE_SURGERY_FAMILIES_TENSORS_H
#define DEROPE_SURGERY_FAMILIES_TENSORS_H

#include "surgery/family.h"

/* A weight and its bias; `hf` and `gguf` are the names without ".weight" and ".bias". */
#define WITH_BIAS(role, bias_role, hf, gguf)                                                                 \
    TENSOR(role, hf ".weight", gguf ".weight"), TENSOR(bias_role, hf ".bias", gguf ".bias")

/* Token embeddings and LM head. Models with tied embeddings have no head. */
#define EMBED_AND_HEAD                                                                                       \
    TENSOR(ROLE_EMBED, "model.embed_tokens.weight", "token_embd.weight"),                                    \
        WITH_BIAS(ROLE_HEAD, ROLE_HEAD_BIAS, "lm_head", "output")

/* The norm before attention. RMSNorms have no bias, LayerNorms may have one. */
#define INPUT_NORM                                                                                           \
    WITH_BIAS(ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "model.layers.%d.input_layernorm", "blk.%d.attn_norm")

/* q, k and v as separate linear layers. */
#define QKV_TENSORS                                                                                          \
    WITH_BIAS(ROLE_Q, ROLE_Q_BIAS, "model.layers.%d.self_attn.q_proj", "blk.%d.attn_q"),                     \
        WITH_BIAS(ROLE_K, ROLE_K_BIAS, "model.layers.%d.self_attn.k_proj", "blk.%d.attn_k"),                 \
        WITH_BIAS(ROLE_V, ROLE_V_BIAS, "model.layers.%d.self_attn.v_proj", "blk.%d.attn_v")

/* All of attention: q, k, v and o, norms of queries and keys, and attention sinks. */
#define ATTENTION_TENSORS                                                                                    \
    QKV_TENSORS, WITH_BIAS(ROLE_O, ROLE_O_BIAS, "model.layers.%d.self_attn.o_proj", "blk.%d.attn_output"),   \
        TENSOR(ROLE_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", "blk.%d.attn_q_norm.weight"),         \
        TENSOR(ROLE_K_NORM, "model.layers.%d.self_attn.k_norm.weight", "blk.%d.attn_k_norm.weight"),         \
        TENSOR(ROLE_SINKS, "model.layers.%d.self_attn.sinks", "blk.%d.attn_sinks.weight")

/* The norm before the MLP, which HF names by what precedes it. In models that also have a norm on attention's
 * output (sandwich_tensors), this HF name belongs to that one. */
#define POST_ATTENTION_FFN_NORM                                                                              \
    WITH_BIAS(ROLE_FFN_NORM, ROLE_FFN_NORM_BIAS, "model.layers.%d.post_attention_layernorm",                 \
              "blk.%d.ffn_norm")

/* A plain MLP: down(act(gate(x)) * up(x)). */
#define MLP_TENSORS                                                                                          \
    WITH_BIAS(ROLE_GATE, ROLE_GATE_BIAS, "model.layers.%d.mlp.gate_proj", "blk.%d.ffn_gate"),                \
        WITH_BIAS(ROLE_UP, ROLE_UP_BIAS, "model.layers.%d.mlp.up_proj", "blk.%d.ffn_up"),                    \
        WITH_BIAS(ROLE_DOWN, ROLE_DOWN_BIAS, "model.layers.%d.mlp.down_proj", "blk.%d.ffn_down")

/* The router and the experts of a layer. In HF's files each expert has tensors of its own (%e), in a GGUF all
 * experts of a layer lie in one tensor. */
#define EXPERT_TENSORS                                                                                       \
    TENSOR(ROLE_ROUTER, "model.layers.%d.mlp.gate.weight", "blk.%d.ffn_gate_inp.weight"),                    \
        TENSOR_OF_EXPERTS(ROLE_GATE, "model.layers.%d.mlp.experts.%e.gate_proj.weight",                      \
                          "blk.%d.ffn_gate_exps.weight"),                                                    \
        TENSOR_OF_EXPERTS(ROLE_UP, "model.layers.%d.mlp.experts.%e.up_proj.weight",                          \
                          "blk.%d.ffn_up_exps.weight"),                                                      \
        TENSOR_OF_EXPERTS(ROLE_DOWN, "model.layers.%d.mlp.experts.%e.down_proj.weight",                      \
                          "blk.%d.ffn_down_exps.weight")

/* The norm before the LM head. */
#define FINAL_NORM WITH_BIAS(ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "model.norm", "output_norm")

/* ---- whole tables (tensors.c) ---- */

extern const TensorName llama_tensors[]; /* Llama's block: most families */
extern const TensorName
    sandwich_tensors[];                  /* norms after attention and MLP too: Gemma 2 and 3, OLMo 2 and 3 */
extern const TensorName olmoe_tensors[]; /* every layer has experts, each with tensors of its own: OLMoE */
extern const TensorName granite_swa_tensors[]; /* Granite SWA, with experts or without */

#endif
