/* Tables of tensor names that several families or carriers share. Families with names of their own have their
 * table in their own file. The rows are macros of tensors.h. */
#include "surgery/families/tensors.h"

/* The block of Llama, with rows for everything that its relatives add: biases, norms of queries and keys,
 * sinks. A model that lacks these tensors is still complete, because role_shape decides by the spec what has
 * to be there. */
const TensorName llama_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM, ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,    FINAL_NORM, TENSORS_END,
};

/* Norms before and after attention and MLP. OLMo 2 has none before them, so its spec (no_pre_norms) does not
 * ask for the rows INPUT_NORM and ROLE_FFN_NORM. HF's post_attention_layernorm is attention's output norm
 * here, not the norm before the MLP as in Llama. */
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

/* The block of OLMoE, which has experts in every layer and therefore no rows of a plain MLP. */
const TensorName olmoe_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM, ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    EXPERT_TENSORS, FINAL_NORM, TENSORS_END,
};

/* A row for gate or up of all experts, which HF's file has in one tensor. A GGUF may have them in one tensor
 * (`gguf_fused_` FUSED_GATE_UP) or in two (FUSED_NOT). */
#define GATE_UP_EXPERTS(role_, gguf_, gguf_fused_)                                                           \
    {                                                                                                        \
        .role = (role_), .hf = "model.layers.%d.block_sparse_moe.experts.gate_up_proj", .gguf = (gguf_),     \
        .hf_fused = FUSED_GATE_UP, .gguf_fused = (gguf_fused_), .experts = true                              \
    }

/* Gate and up have two rows each, because a GGUF has them in one tensor or in two; whichever names the file
 * has are used. */
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
