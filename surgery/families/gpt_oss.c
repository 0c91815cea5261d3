/* GPT-OSS (transformers' modeling_gpt_oss.py, arXiv 2508.10925): experts in every layer, whose gate and up
 * projections are interleaved column by column in one tensor, with biases and a clipped activation; attention
 * sinks; windows in every other layer; YaRN. The published weights are quantized to MXFP4, which
 * formats/hf_quantization.c undoes before this family sees the tensors. */
#include <string.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/notices.h"

/* A row for gate or up of all experts. HF's tensor has their columns in pairs: column 2i is gate's and 2i + 1
 * is up's. The last field says that the tensor is transposed ([in, out]); biases are not. */
#define HALF(role, hf, gguf, transposed)                                                                     \
    {                                                                                                        \
        role, "model.layers.%d.mlp.experts.gate_up_proj" hf, "blk.%d." gguf, FUSED_GATE_UP_PAIRS, FUSED_NOT, \
            true, transposed                                                                                 \
    }
/* A row for the down projections of all experts, which HF's file has transposed too. */
#define DOWN(role, hf, gguf, transposed)                                                                     \
    {                                                                                                        \
        role, "model.layers.%d.mlp.experts.down_proj" hf, "blk.%d." gguf, FUSED_NOT, FUSED_NOT, true,        \
            transposed                                                                                       \
    }

/* The norm in front of the MLP is called post_attention_norm in llama.cpp, and not ffn_norm as in most
 * architectures. */
static const TensorName tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    TENSOR(ROLE_FFN_NORM, "model.layers.%d.post_attention_layernorm.weight",
           "blk.%d.post_attention_norm.weight"),
    WITH_BIAS(ROLE_ROUTER, ROLE_ROUTER_BIAS, "model.layers.%d.mlp.router", "blk.%d.ffn_gate_inp"),
    HALF(ROLE_GATE, "", "ffn_gate_exps.weight", true),
    HALF(ROLE_UP, "", "ffn_up_exps.weight", true),
    DOWN(ROLE_DOWN, "", "ffn_down_exps.weight", true),
    HALF(ROLE_GATE_BIAS, "_bias", "ffn_gate_exps.bias", false),
    HALF(ROLE_UP_BIAS, "_bias", "ffn_up_exps.bias", false),
    DOWN(ROLE_DOWN_BIAS, "_bias", "ffn_down_exps.bias", false),
    FINAL_NORM,
    TENSORS_END,
};

/* The rope scaling that GptOssConfig assumes if config.json does not state any: YaRN from 4096 to 131072
 * tokens. */
static const RopeScaling usual_scaling = {
    .kind = ROPE_SCALING_YARN, .factor = 32, .beta_fast = 32, .beta_slow = 1, .original_context = 4096};

/* HfClass.amend: a rope_scaling of null means no scaling to transformers 4, and the usual one to transformers
 * 5. The release that wrote the file decides, and the scaling is then stated. */
static void amend(Model *m, json_t *config) {
    const char *version = json_get_string(config, "transformers_version");
    bool old = version && strncmp(version, "4.", 2) == 0;
    if (!json_object_get(config, "rope_scaling") ||
        json_object_size(json_object_get(config, "rope_scaling")) || config_has(config, "rope_parameters"))
        return;
    json_object_set_new(config, "rope_scaling",
                        old ? json_pack("{s:s}", "rope_type", "default")
                            : json_pack("{s:s, s:f, s:f, s:f, s:b, s:i}", "rope_type", "yarn", "factor",
                                        usual_scaling.factor, "beta_fast", usual_scaling.beta_fast,
                                        "beta_slow", usual_scaling.beta_slow, "truncate", 0,
                                        "original_max_position_embeddings",
                                        (int)usual_scaling.original_context));
    notice_add(m->notices,
               "config.json: rope_scaling is null, which means none to transformers 4 and YaRN by %g to "
               "transformers 5; read as %s, since transformers_version is %.20s",
               usual_scaling.factor, old ? "none" : "YaRN", version ? version : "not stated");
}

/* HfClass.read: layers 0, 2, 4, ... have a window, unless layer_types lists each layer's kind. The class
 * always computes its clipped activation, whatever hidden_act says, and takes YaRN if the configuration
 * states no scaling. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    uint32_t window = 128;
    bool scaled = config_has(config, "rope_scaling") || config_has(config, "rope_parameters");
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    /* What the class does whatever the configuration says. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].activation = ACT_CLIPPED; /* whatever hidden_act says */
        if (!scaled) m->spec.layers[i].scaling = usual_scaling;
    }
    spec_set_windows(&m->spec, window, 2);
    return config_read_layer_types(m, config, window, e) &&
           config_read_experts(m, config, "num_local_experts", e);
}

/* GgufArch.read: llama.cpp gives every other layer the window if the file has no pattern. A window of
 * GGUF_NO_WINDOW or more means that no layer has one. */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint32_t window = 0;
    if (!arch_read_window(c, &window, e)) return false;
    return arch_read_window_pattern(&m->spec, c, window >= GGUF_NO_WINDOW ? 0 : window, 2, e);
}

/* Whether the model has all biases of the class. A model that was read from a GGUF may lack some, because
 * llama.cpp loads them only if they are there. */
static bool has_biases(const Model *m) {
    const LayerSpec *l = &m->spec.layers[0];
    return l->q_bias && l->k_bias && l->v_bias && l->o_bias && l->router_bias && l->mlp_bias;
}

/* HfClass.can: biases everywhere, and one window size. */
static bool can(const Model *m, char *why, size_t size) {
    if (!has_biases(m)) return refuse_because(why, size, "requires biases in attention, router and experts");
    return model_has_one_window_size(m, why, size);
}

/* HfClass.write: the list of windows, and the number of experts. The class requires a number for
 * sliding_window even if no layer has a window; then its default of 128 is written. */
static void write_config(const Model *m, json_t *config) {
    config_set_layer_types(m, config, 128);
    config_set_experts(m, config, "num_local_experts");
}

/* GgufArch.can: llama.cpp fails to load this architecture if every layer has a window. */
static bool gguf_can(const Model *m, char *why, size_t size) {
    if (!model_layer_by_window(m, false)) return refuse_because(why, size, "needs a layer without a window");
    return can(m, why, size);
}

/* GgufArch.write: the window, and an array that says which layers have it. */
static void write_gguf(const Model *m, Checkpoint *out) {
    arch_set_window_pattern(m, out);
}

static const KeyName second_names[] = {{"num_local_experts", "num_experts"}, {NULL, NULL}};

/* The constants of the clipped activation, which transformers 5 reads from the configuration. */
static const KeyLimit limits[] = {
    {"swiglu_limit", 7, "derope and llama.cpp limit the experts' activation to 7"},
    {"swiglu_alpha", 1.702, "derope and llama.cpp compute the experts' activation with 1.702"},
    {NULL, 0, NULL}};

/* Defaults of GptOssConfig. llama.cpp rounds the ends of YaRN's ramp to whole dimensions (GGUF_ROUNDED_YARN),
 * which GPT-OSS's configuration does not. */
const Family family_gpt_oss = {
    .name = "gpt_oss",
    .tensors = tensors,
    .model = {.norm_eps = 1e-5, .context = 131072},
    .layer = {.rope_base = 150000,
              .n_kv_heads = 8,
              .head_dim = 64,
              .q_bias = true,
              .k_bias = true,
              .v_bias = true,
              .o_bias = true,
              .mlp_bias = true,
              .router_bias = true,
              .sinks = true,
              .activation = ACT_CLIPPED,
              .n_experts = 128,
              .top_k = 4},
    .hf = {.model_type = "gpt_oss",
           .since = "4.55",
           .architecture = "GptOssForCausalLM",
           .second_names = second_names,
           .reads = "sliding_window layer_types num_local_experts num_experts_per_tok",
           .ignores = "initial_context_length",
           .limits = limits,
           .quirks = HF_ATTENTION_BIAS_KEY | HF_SCALED_BY_DEFAULT,
           .amend = amend,
           .read = read_config,
           .can = can,
           .write = write_config},
    .gguf = {.arch = "gpt-oss",
             .since = "2025-08",
             .quirks = GGUF_NEEDS_HEAD | GGUF_EXPERT_FFN_KEY | GGUF_ROUNDED_YARN,
             .read = read_gguf,
             .can = gguf_can,
             .write = write_gguf},
};
