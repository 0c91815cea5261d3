/* Qwen2, Qwen2.5: q/k/v biases. Qwen3: none, but norms of each query and key. In both a window from layer
 * max_window_layers on, if use_sliding_window says so. Qwen3-MoE: experts, though not in all layers. */
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/families/tensors.h"

static bool read_config(Model *m, const json_t *config, Error *e) {
    bool use = false;
    uint32_t window = 4096, from = 28;
    json_get_bool(config, "use_sliding_window", &use);
    if (!use) return true;
    if (!config_count(config, "max_window_layers", 0, INT32_MAX, &from, e) ||
        !config_window(config, "sliding_window", &window, e))
        return false;
    for (uint32_t i = from; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = window;
    return read_layer_types(m, config, window, e);
}

const Family family_qwen2 = {
    .name = "qwen2",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000, .n_kv_heads = 32, .q_bias = true, .k_bias = true, .v_bias = true},
    .hf = {.model_type = "qwen2",
           .architecture = "Qwen2ForCausalLM",
           .quirks = HF_NO_O_BIAS,
           .read = read_config},
    .gguf = {.arch = "qwen2"},
};

const Family family_qwen3 = {
    .name = "qwen3",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 32,
              .head_dim = 128,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD},
    .hf = {.model_type = "qwen3",
           .architecture = "Qwen3ForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_config},
    .gguf = {.arch = "qwen3", .quirks = GGUF_NO_O_BIAS},
};

static const TensorName moe_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM,     ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,    EXPERT_TENSORS, FINAL_NORM,        TENSORS_END,
};

/* Every `step`-th layer has experts, unless it is listed; the others have an MLP of another width. */
static bool read_moe(Model *m, const json_t *config, Error *e) {
    bool use = false, among_chosen = false;
    bool *plain = arena_alloc(&m->arena, m->spec.n_layers * sizeof *plain);
    uint32_t window = 4096, step = 1, width = 768;
    json_get_bool(config, "use_sliding_window", &use);
    if (!config_flag(config, "norm_topk_prob", &among_chosen, e) ||
        !config_count(config, "decoder_sparse_step", 1, INT32_MAX, &step, e) ||
        !config_count(config, "moe_intermediate_size", 1, 1 << 22, &width, e) ||
        !config_layers(m, config, "mlp_only_layers", plain, e) ||
        !config_window(config, "sliding_window", &window, e) || !config_experts(m, config, "num_experts", e))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        l->window = use ? window : 0;
        if ((i + 1) % step == 0 && !plain[i]) {
            l->ffn_dim = width;
            l->routing = among_chosen ? ROUTING_OF_CHOSEN : ROUTING_OF_ALL;
        } else {
            l->n_experts = l->top_k = 0;
        }
    }
    return true;
}

static void write_moe(const Model *m, json_t *config) {
    const LayerSpec *l = mixture_layer(m);
    write_experts(m, config, "num_experts");
    json_object_set_new(config, "moe_intermediate_size", json_integer(l->ffn_dim));
    json_object_set_new(config, "norm_topk_prob", json_boolean(l->routing == ROUTING_OF_CHOSEN));
}

static bool has_experts(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->n_experts > 0;
}

static bool gguf_can_moe(const Model *m, char *why, size_t size) {
    if (!all_layers(m, layer_is_global)) return cannot(why, size, "has no windows per layer");
    if (!all_layers(m, has_experts)) return cannot(why, size, "has experts in every layer");
    return m->spec.layers[0].routing == ROUTING_OF_CHOSEN ||
           cannot(why, size, "weights experts by a softmax over those chosen");
}

const Family family_qwen3_moe = {
    .name = "qwen3_moe",
    .tensors = moe_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 4,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD,
              .n_experts = 128,
              .top_k = 8},
    .hf = {.model_type = "qwen3_moe",
           .architecture = "Qwen3MoeForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_moe,
           .write = write_moe},
    .gguf = {.arch = "qwen3moe", .quirks = GGUF_NO_O_BIAS | GGUF_EXPERT_FFN_KEY, .can = gguf_can_moe},
};
