/* Qwen2 and 2.5 (arXiv 2407.10671, 2412.15115) are Llama's block with biases on q, k and v. Qwen3 (arXiv
 * 2505.09388) has no biases but an RMSNorm on each head of queries and keys. Both may have a window from a
 * certain layer on. Qwen3-MoE has experts, either in all layers or in some. After transformers'
 * modeling_qwen2.py, modeling_qwen3.py and modeling_qwen3_moe.py; DroPE's variant of Qwen2 is in drope.c. */
#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* Reads the window, in tokens, into `*window`. Many published configurations state a sliding_window that is
 * not in use: it counts only if use_sliding_window is true, and is 0 here otherwise. */
static bool read_window(const json_t *config, uint32_t *window, Error *e) {
    bool use = false;
    json_get_bool(config, "use_sliding_window", &use);
    *window = use ? 4096 : 0;
    return !use || config_read_window(config, "sliding_window", window, e);
}

/* HfClass.read of Qwen2 and Qwen3: layers from max_window_layers on have the window, unless layer_types lists
 * each layer's kind. 28 and 4096 are the defaults of the configuration classes. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    uint32_t window, from = 28;
    if (!read_window(config, &window, e)) return false;
    if (!window) return config_read_layer_types(m, config, 0, e);
    if (!config_read_u32(config, "max_window_layers", 0, INT32_MAX, &from, e)) return false;
    for (uint32_t i = from; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = window;
    return config_read_layer_types(m, config, window, e);
}

/* The output projection has no bias, although q, k and v have one (HF_NO_O_BIAS). */
const Family family_qwen2 = {
    .name = "qwen2",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768},
    .layer = {.rope_base = 10000, .n_kv_heads = 32, .q_bias = true, .k_bias = true, .v_bias = true},
    .hf = {.model_type = "qwen2",
           .since = "4.37",
           .architecture = "Qwen2ForCausalLM",
           .quirks = HF_NO_O_BIAS,
           .reads = "use_sliding_window sliding_window max_window_layers layer_types",
           .read = read_config},
    .gguf = {.arch = "qwen2", .since = "2024-01"},
};

/* Some fine-tuned models set the key attention_bias. Then q, k, v and o have biases in transformers, but
 * llama.cpp's architecture has none for o (GGUF_NO_O_BIAS). */
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
           .since = "4.51",
           .architecture = "Qwen3ForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .reads = "use_sliding_window sliding_window max_window_layers layer_types",
           .read = read_config},
    .gguf = {.arch = "qwen3", .since = "2025-04", .quirks = GGUF_NO_O_BIAS},
};

/* The table has rows for both kinds of layer: those without experts use MLP_TENSORS, those with experts use
 * EXPERT_TENSORS. */
static const TensorName moe_tensors[] = {
    EMBED_AND_HEAD, INPUT_NORM,     ATTENTION_TENSORS, POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,    EXPERT_TENSORS, FINAL_NORM,        TENSORS_END,
};

/* HfClass.read of Qwen3-MoE: every decoder_sparse_step-th layer has experts, except those in the list
 * mlp_only_layers. Experts are moe_intermediate_size wide, plain MLPs intermediate_size, which the common
 * reader has put into ffn_dim of every layer. norm_topk_prob says whether the routing weights of the chosen
 * experts are normalized to a sum of 1, which equals a softmax over the chosen experts only. */
static bool read_moe(Model *m, const json_t *config, Error *e) {
    bool among_chosen = false;
    bool *plain = arena_alloc(&m->arena, m->spec.n_layers * sizeof *plain);
    uint32_t window, step = 1, width = 768;
    /* The keys, with the defaults of Qwen3MoeConfig. */
    if (!config_read_bool(config, "norm_topk_prob", &among_chosen, e) ||
        !config_read_u32(config, "decoder_sparse_step", 1, INT32_MAX, &step, e) ||
        !config_read_u32(config, "moe_intermediate_size", 1, 1 << 22, &width, e) ||
        !config_read_layer_list(m, config, "mlp_only_layers", plain, e) || !read_window(config, &window, e) ||
        !config_read_experts(m, config, "num_experts", e))
        return false;
    /* Layer by layer: experts, or a plain MLP of the common width. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        l->window = window;
        if ((i + 1) % step == 0 && !plain[i]) {
            l->ffn_dim = width;
            l->routing = among_chosen ? ROUTING_OF_CHOSEN : ROUTING_OF_ALL;
        } else {
            l->n_experts = l->top_k = 0;
        }
    }
    return true;
}

/* Writes the keys of experts. Their width is moe_intermediate_size here, because intermediate_size is the
 * width of layers without experts. */
static void write_moe(const Model *m, json_t *config) {
    const LayerSpec *l = model_moe_layer(m);
    config_set_experts(m, config, "num_experts");
    json_object_set_new(config, "moe_intermediate_size", json_integer(l->ffn_dim));
    json_object_set_new(config, "norm_topk_prob", json_boolean(l->routing == ROUTING_OF_CHOSEN));
}

/* Test for model_all_layers: the layer has experts. */
static bool has_experts(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->n_experts > 0;
}

/* GgufArch.can of Qwen3-MoE: llama.cpp requires experts in every layer and always normalizes the routing
 * weights of the chosen experts to a sum of 1; its architecture has no key for either, nor one for windows.
 */
static bool gguf_can_moe(const Model *m, char *why, size_t size) {
    if (!model_all_layers(m, layer_is_global)) return refuse_because(why, size, "has no windows per layer");
    if (!model_all_layers(m, has_experts))
        return refuse_because(why, size, "requires experts in every layer");
    return m->spec.layers[0].routing == ROUTING_OF_CHOSEN ||
           refuse_because(why, size, "weights experts by a softmax over those chosen");
}

/* transformers 5 saves the number of experts under the second name. */
static const KeyName second_names[] = {{"num_experts", "num_local_experts"}, {NULL, NULL}};

/* The layer's defaults describe a layer with experts; read_moe resets them in layers with a plain MLP. */
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
           .since = "4.51",
           .architecture = "Qwen3MoeForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .second_names = second_names,
           .reads = "use_sliding_window sliding_window decoder_sparse_step moe_intermediate_size num_experts "
                    "num_experts_per_tok norm_topk_prob mlp_only_layers",
           .ignores = "max_window_layers",
           .read = read_moe,
           .write = write_moe},
    .gguf = {.arch = "qwen3moe",
             .since = "2025-04",
             .quirks = GGUF_NO_O_BIAS | GGUF_EXPERT_FFN_KEY,
             .can = gguf_can_moe},
};
