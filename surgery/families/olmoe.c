/* OLMoE with one expert: Llama's block with norms over all queries and all keys. As a mixture it is not read;
 * with one expert it is the only stock architecture that has those norms before a plain block
 * (carriers/olmoe.c). */
#include "formats/json.h"
#include "surgery/families/tensors.h"

const TensorName olmoe_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    POST_ATTENTION_FFN_NORM,
    TENSOR(ROLE_ROUTER, "model.layers.%d.mlp.gate.weight", "blk.%d.ffn_gate_inp.weight"),
    TENSOR(ROLE_GATE, "model.layers.%d.mlp.experts.0.gate_proj.weight", "blk.%d.ffn_gate_exps.weight"),
    TENSOR(ROLE_UP, "model.layers.%d.mlp.experts.0.up_proj.weight", "blk.%d.ffn_up_exps.weight"),
    TENSOR(ROLE_DOWN, "model.layers.%d.mlp.experts.0.down_proj.weight", "blk.%d.ffn_down_exps.weight"),
    FINAL_NORM,
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
    .carrier = "olmoe",
};
