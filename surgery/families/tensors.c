/* Tables of tensor names that several families or carriers share. The rows are macros of tensors.h. */
#include "surgery/families/tensors.h"

/* Tensors that a model lacks (biases, norms of queries and keys, sinks) are not missed: role_shape decides
 * what has to be there. */
const TensorName llama_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM, ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,    FINAL_NORM, TENSORS_END,
};

/* OLMo 2 has no norm in front of attention and MLP; its rows for them are then not asked for. */
const TensorName sandwich_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    TENSOR(ROLE_ATTN_POST_NORM, "model.layers.%d.post_attention_layernorm.weight",
           "blk.%d.post_attention_norm.weight"),
    TENSOR(ROLE_FFN_NORM, "model.layers.%d.pre_feedforward_layernorm.weight", "blk.%d.ffn_norm.weight"),
    MLP_TENSORS,
    TENSOR(ROLE_FFN_POST_NORM, "model.layers.%d.post_feedforward_layernorm.weight",
           "blk.%d.post_ffw_norm.weight"),
    FINAL_NORM,
    TENSORS_END,
};

/* OLMoE has no plain MLP in any layer. */
const TensorName olmoe_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM, ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    EXPERT_TENSORS, FINAL_NORM, TENSORS_END,
};

/* All experts' gate and up projections in one tensor. A GGUF may have them in two. */
#define GATE_UP_EXPERTS(role_, gguf_, gguf_fused_)                                                           \
    {                                                                                                        \
        .role = (role_), .hf = "model.layers.%d.block_sparse_moe.experts.gate_up_proj", .gguf = (gguf_),     \
        .hf_fused = FUSED_GATE_UP, .gguf_fused = (gguf_fused_), .experts = true                              \
    }

/* Rows for gate and up stand twice: a GGUF has them in one tensor or in two, and whichever is there counts.
 */
const TensorName granite_swa_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,
    TENSOR(ROLE_ROUTER, "model.layers.%d.block_sparse_moe.router.weight", "blk.%d.ffn_gate_inp.weight"),
    GATE_UP_EXPERTS(ROLE_GATE, "blk.%d.ffn_gate_exps.weight", FUSED_NOT),
    GATE_UP_EXPERTS(ROLE_UP, "blk.%d.ffn_up_exps.weight", FUSED_NOT),
    GATE_UP_EXPERTS(ROLE_GATE, "blk.%d.ffn_gate_up_exps.weight", FUSED_GATE_UP),
    GATE_UP_EXPERTS(ROLE_UP, "blk.%d.ffn_gate_up_exps.weight", FUSED_GATE_UP),
    TENSOR_OF_EXPERTS(ROLE_DOWN, "model.layers.%d.block_sparse_moe.experts.down_proj",
                      "blk.%d.ffn_down_exps.weight"),
    FINAL_NORM,
    TENSORS_END,
};
