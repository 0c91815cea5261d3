/* Llama, and what is published in its shape: SmolLM, TinyLlama, Yi, ... and Mistral, which adds a window. */
#include "surgery/family.h"

const TensorName llama_tensors[] = {
    TENSOR(ROLE_EMBED, "model.embed_tokens.weight", "token_embd.weight"),
    TENSOR(ROLE_ATTN_NORM, "model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"),
    TENSOR(ROLE_Q, "model.layers.%d.self_attn.q_proj.weight", "blk.%d.attn_q.weight"),
    TENSOR(ROLE_K, "model.layers.%d.self_attn.k_proj.weight", "blk.%d.attn_k.weight"),
    TENSOR(ROLE_V, "model.layers.%d.self_attn.v_proj.weight", "blk.%d.attn_v.weight"),
    TENSOR(ROLE_O, "model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight"),
    TENSOR(ROLE_Q_BIAS, "model.layers.%d.self_attn.q_proj.bias", "blk.%d.attn_q.bias"),
    TENSOR(ROLE_K_BIAS, "model.layers.%d.self_attn.k_proj.bias", "blk.%d.attn_k.bias"),
    TENSOR(ROLE_V_BIAS, "model.layers.%d.self_attn.v_proj.bias", "blk.%d.attn_v.bias"),
    TENSOR(ROLE_O_BIAS, "model.layers.%d.self_attn.o_proj.bias", "blk.%d.attn_output.bias"),
    TENSOR(ROLE_Q_NORM, "model.layers.%d.self_attn.q_norm.weight", "blk.%d.attn_q_norm.weight"),
    TENSOR(ROLE_K_NORM, "model.layers.%d.self_attn.k_norm.weight", "blk.%d.attn_k_norm.weight"),
    TENSOR(ROLE_SINKS, "model.layers.%d.self_attn.sinks", "blk.%d.attn_sinks.weight"),
    TENSOR(ROLE_FFN_NORM, "model.layers.%d.post_attention_layernorm.weight", "blk.%d.ffn_norm.weight"),
    TENSOR(ROLE_GATE, "model.layers.%d.mlp.gate_proj.weight", "blk.%d.ffn_gate.weight"),
    TENSOR(ROLE_UP, "model.layers.%d.mlp.up_proj.weight", "blk.%d.ffn_up.weight"),
    TENSOR(ROLE_DOWN, "model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight"),
    TENSOR(ROLE_GATE_BIAS, "model.layers.%d.mlp.gate_proj.bias", "blk.%d.ffn_gate.bias"),
    TENSOR(ROLE_UP_BIAS, "model.layers.%d.mlp.up_proj.bias", "blk.%d.ffn_up.bias"),
    TENSOR(ROLE_DOWN_BIAS, "model.layers.%d.mlp.down_proj.bias", "blk.%d.ffn_down.bias"),
    TENSOR(ROLE_FINAL_NORM, "model.norm.weight", "output_norm.weight"),
    TENSOR(ROLE_HEAD, "lm_head.weight", "output.weight"),
    TENSORS_END,
};

const Family family_llama = {
    .name = "llama",
    .model_types = (const char *const[]){"llama", NULL},
    .gguf_archs = (const char *const[]){"llama", NULL},
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .attention_bias_key = true,
    .mlp_bias_key = true,
    .gguf_interleaved = true,
    .architecture = "LlamaForCausalLM",
};

/* A window in every layer; a Llama config's key of that name is ignored everywhere. */
static bool read_mistral(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    if (!config_window(config, "sliding_window", &window, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = window;
    return true;
}

/* The same family under another model type, which has defaults of its own. */
const Family family_mistral = {
    .name = "llama",
    .model_types = (const char *const[]){"mistral", NULL},
    .gguf_archs = (const char *const[]){"llama", NULL},
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072},
    .layer = {.rope_base = 10000, .n_kv_heads = 8},
    .gguf_interleaved = true,
    .read_config = read_mistral,
    .architecture = "MistralForCausalLM",
};
