/* Qwen2, Qwen2.5: q/k/v biases. Qwen3: none, but norms of each query and key. In both a window from layer
 * max_window_layers on, if use_sliding_window says so. */
#include "formats/json.h"
#include "surgery/family.h"

static bool read_config(Model *m, const json_t *config, Error *e) {
    bool use = false;
    uint32_t window = 4096;
    uint64_t from = 28;
    json_get_bool(config, "use_sliding_window", &use);
    json_get_u64(config, "max_window_layers", &from);
    if (!use) return true;
    if (!config_window(config, "sliding_window", &window, e)) return false;
    for (uint64_t i = from; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = window;
    return read_layer_types(m, config, window, e);
}

const Family family_qwen2 = {
    .name = "qwen2",
    .model_types = (const char *const[]){"qwen2", NULL},
    .gguf_archs = (const char *const[]){"qwen2", NULL},
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000, .n_kv_heads = 32, .q_bias = true, .k_bias = true, .v_bias = true},
    .read_config = read_config,
    .architecture = "Qwen2ForCausalLM",
    .no_o_bias = true,
};

const Family family_qwen3 = {
    .name = "qwen3",
    .model_types = (const char *const[]){"qwen3", NULL},
    .gguf_archs = (const char *const[]){"qwen3", NULL},
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 32,
              .head_dim = 128,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD},
    .attention_bias_key = true,
    .read_config = read_config,
    .architecture = "Qwen3ForCausalLM",
    .gguf_no_o_bias = true,
};
