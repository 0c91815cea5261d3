/* OLMoE with one expert: Llama's block with norms over all queries and all keys. As a mixture it is not read;
 * with one expert it is the only stock architecture that has those norms before a plain block
 * (carriers/olmoe.c). */
#include "formats/json.h"
#include "surgery/carrier.h"

const TensorName olmoe_tensors[] = {
    TENSOR(ROLE_EMBED, "model.embed_tokens.weight", "token_embd.weight"),
    TENSOR(ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"),
    TENSOR(ROLE_Q, "model.layers.%d.self_attn.q_proj.weight", "blk.%d.attn_q.weight"),
    TENSOR(ROLE_K, "model.layers.%d.self_attn.k_proj.weight", "blk.%d.attn_k.weight"),
    TENSOR(ROLE_V, "model.layers.%d.self_attn.v_proj.weight", "blk.%d.attn_v.weight"),
    TENSOR(ROLE_O, "model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight"),
    TENSOR(ROLE_Q_BIAS, "model.layers.%d.self_attn.q_proj.bias", "blk.%d.attn_q.bias"),
    TENSOR(ROLE_K_BIAS, "model.layers.%d.self_attn.k_proj.bias", "blk.%d.attn_k.bias"),
    TENSOR(ROLE_V_BIAS, "model.layers.%d.self_attn.v_proj.bias", "blk.%d.attn_v.bias"),
    TENSOR(ROLE_O_BIAS, "model.layers.%d.self_attn.o_proj.bias", ""),
    TENSOR(ROLE_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", "blk.%d.attn_q_norm.weight"),
    TENSOR(ROLE_K_NORM, "model.layers.%d.self_attn.k_norm.weight", "blk.%d.attn_k_norm.weight"),
    TENSOR(ROLE_FFN_NORM, "model.layers.%d.post_attention_layernorm.weight", "blk.%d.ffn_norm.weight"),
    TENSOR(ROLE_ROUTER, "model.layers.%d.mlp.gate.weight", "blk.%d.ffn_gate_inp.weight"),
    TENSOR(ROLE_GATE, "model.layers.%d.mlp.experts.0.gate_proj.weight", "blk.%d.ffn_gate_exps.weight"),
    TENSOR(ROLE_UP, "model.layers.%d.mlp.experts.0.up_proj.weight", "blk.%d.ffn_up_exps.weight"),
    TENSOR(ROLE_DOWN, "model.layers.%d.mlp.experts.0.down_proj.weight", "blk.%d.ffn_down_exps.weight"),
    TENSOR(ROLE_FINAL_NORM, "model.norm.weight", "output_norm.weight"),
    TENSOR(ROLE_HEAD, "lm_head.weight", "output.weight"),
    TENSORS_END,
};

static bool read_config(Model *m, const json_t *config, Error *e) {
    (void)m;
    uint64_t experts = 64;
    json_get_u64(config, "num_experts", &experts);
    if (experts != 1)
        return error_set(e, ERR_INPUT, "config.json: num_experts: a mixture of %llu experts is not supported",
                         (unsigned long long)experts);
    if (json_is_number(json_object_get(config, "clip_qkv")))
        return error_set(e, ERR_INPUT, "config.json: clip_qkv is not supported");
    return true;
}

static bool by_carrier(const Model *m, char *why, size_t size) {
    (void)m;
    return cannot(why, size, "is written by the carrier olmoe");
}

const Family family_olmoe = {
    .name = "olmoe",
    .model_types = (const char *const[]){"olmoe", NULL},
    .gguf_archs = (const char *const[]){"olmoe", NULL},
    .tensors = olmoe_tensors,
    .model = {.norm_eps = 1e-5, .context = 4096},
    .layer = {.rope_base = 10000, .q_norm = QK_NORM_FULL, .k_norm = QK_NORM_FULL, .n_experts = 1},
    .attention_bias_key = true,
    .read_config = read_config,
    .architecture = "OlmoeForCausalLM",
    .config_can = by_carrier,
    .gguf_can = by_carrier,
};
