/* Granite 3: Llama with four multipliers; granite_swa, which adds windows, a rope base per layer (0: none)
 * and attention sinks; and granitemoe_swa, the same with experts. */
#include <math.h>

#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/families/tensors.h"

static bool read_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    double divisor = 1, softmax_scale = 1;
    if (!config_real(config, "logits_scaling", &divisor, e) ||
        !config_real(config, "attention_multiplier", &softmax_scale, e) ||
        !config_real(config, "embedding_multiplier", &s->embedding_scale, e) ||
        !config_real(config, "residual_multiplier", &s->residual_scale, e))
        return false;
    if (!isfinite(1 / divisor)) return error_set(e, ERR_INPUT, "config.json: logits_scaling is %g", divisor);
    s->logit_scale = 1 / divisor;
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i].softmax_scale = softmax_scale;
    return true;
}

static bool read_gguf_scales(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    char key[128];
    double embedding = 0, residual = 0, divisor = 0, softmax_scale = 0;
    if (!arch_real(c, "embedding_scale", &embedding, e) || !arch_real(c, "residual_scale", &residual, e) ||
        !arch_real(c, "logit_scale", &divisor, e) || !arch_real(c, "attention.scale", &softmax_scale, e))
        return false;
    if (!isfinite(1 / divisor))
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or 0", c->path,
                         arch_key(key, c, "logit_scale"));
    s->logit_scale = 1 / divisor;
    /* 0 means that there is none, as llama.cpp has it */
    if (embedding != 0) s->embedding_scale = embedding;
    if (residual != 0) s->residual_scale = residual;
    for (uint32_t i = 0; i < s->n_layers && softmax_scale != 0; i++)
        s->layers[i].softmax_scale = softmax_scale;
    return true;
}

/* llama.cpp reads rope.scaling.finetuned = false as "no rotation at all". */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    char key[128];
    bool rotated = true;
    if (meta_bool(c, arch_key(key, c, "rope.scaling.finetuned"), &rotated) && !rotated)
        for (uint32_t i = 0; i < m->spec.n_layers; i++)
            layer_drop_rope(&m->spec.layers[i]);
    return read_gguf_scales(m, c, e);
}

const Family family_granite = {
    .name = "granite",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "granite",
           .architecture = "GraniteForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY,
           .read = read_config,
           .write_softmax_scale = write_multipliers},
    .gguf = {.arch = "granite",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3,
             .read = read_gguf,
             .write = gguf_write_multipliers},
};

static bool read_swa_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    uint32_t window = 128;
    if (!config_window(config, "sliding_window", &window, e) || !read_config(m, config, e)) return false;
    const json_t *bases = json_object_get(config, "layer_rope_theta");
    if (json_is_array(bases) && json_array_size(bases) != s->n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_rope_theta has %zu entries for %u layers",
                         json_array_size(bases), s->n_layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSpec *l = &s->layers[i];
        l->sinks = true;
        if (i % 4 != 0) l->window = window;
        if (!json_is_array(bases)) continue;
        const json_t *base = json_array_get(bases, i);
        if (!json_is_number(base) || json_number_value(base) < 0)
            return error_set(e, ERR_INPUT, "config.json: layer_rope_theta[%u] is not a number from 0", i);
        if (json_number_value(base) > 0)
            l->rope_base = json_number_value(base);
        else
            layer_drop_rope(l);
    }
    return read_layer_types(m, config, window, e);
}

static bool read_swa_gguf(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    char key[128];
    uint64_t window;
    double flag;
    if (!meta_u64(c, arch_key(key, c, "attention.sliding_window"), &window) || window == 0 ||
        window >= UINT32_MAX)
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or out of range", c->path, key);
    if (window >= GGUF_NO_WINDOW) window = 0;
    const MetaEntry *windows = meta_find(c, arch_key(key, c, "attention.sliding_window_pattern"));
    if (!windows || windows->type != META_ARRAY || windows->count < s->n_layers)
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or shorter than %u layers", c->path, key,
                         s->n_layers);
    const MetaEntry *rotated = meta_find(c, arch_key(key, c, "attention.rope_pattern"));
    if (rotated && (rotated->type != META_ARRAY || rotated->count < s->n_layers))
        return error_set(e, ERR_INPUT, "%s: key '%s' is shorter than %u layers", c->path, key, s->n_layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i].sinks = true;
        if (meta_array_f64(windows, i, &flag) && flag != 0) s->layers[i].window = (uint32_t)window;
        if (rotated && meta_array_f64(rotated, i, &flag) && flag == 0) layer_drop_rope(&s->layers[i]);
    }
    return read_gguf_scales(m, c, e);
}

const Family family_granite_swa = {
    .name = "granite_swa",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-5, .context = 8192, .tied_head = true},
    .layer = {.rope_base = 10000, .n_kv_heads = 4},
    .hf = {.model_type = "granite_swa",
           .architecture = "GraniteSWAForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY,
           .carrier = "granite_swa",
           .read = read_swa_config,
           .write_softmax_scale = write_multipliers},
    .gguf = {.arch = "granite_swa",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .carrier = "granite_swa",
             .read = read_swa_gguf},
};

#define HALF(role_, gguf_, gguf_fused_)                                                                      \
    {                                                                                                        \
        .role = (role_), .hf = "model.layers.%d.block_sparse_moe.experts.gate_up_proj", .gguf = (gguf_),     \
        .hf_fused = FUSED_GATE_UP, .gguf_fused = (gguf_fused_), .experts = true                              \
    }

/* A GGUF has gate and up apart or in one. */
const TensorName granite_swa_tensors[] = {
    EMBED_AND_HEAD,
    INPUT_NORM,
    ATTENTION_TENSORS,
    POST_ATTENTION_FFN_NORM,
    MLP_TENSORS,
    TENSOR(ROLE_ROUTER, "model.layers.%d.block_sparse_moe.router.weight", "blk.%d.ffn_gate_inp.weight"),
    HALF(ROLE_GATE, "blk.%d.ffn_gate_exps.weight", FUSED_NOT),
    HALF(ROLE_UP, "blk.%d.ffn_up_exps.weight", FUSED_NOT),
    HALF(ROLE_GATE, "blk.%d.ffn_gate_up_exps.weight", FUSED_GATE_UP),
    HALF(ROLE_UP, "blk.%d.ffn_gate_up_exps.weight", FUSED_GATE_UP),
    TENSOR_OF_EXPERTS(ROLE_DOWN, "model.layers.%d.block_sparse_moe.experts.down_proj",
                      "blk.%d.ffn_down_exps.weight"),
    FINAL_NORM,
    TENSORS_END,
};

static bool read_moe_swa(Model *m, const json_t *config, Error *e) {
    uint64_t shared = 0;
    json_get_u64(config, "shared_intermediate_size", &shared);
    if (shared)
        return error_set(e, ERR_INPUT,
                         "config.json: shared_intermediate_size is %llu: shared experts are not supported",
                         (unsigned long long)shared);
    return read_swa_config(m, config, e) && config_experts(m, config, "num_local_experts", e);
}

static bool read_moe_swa_gguf(Model *m, const Checkpoint *c, Error *e) {
    char key[128];
    uint64_t shared = 0;
    if (meta_u64(c, arch_key(key, c, "expert_shared_feed_forward_length"), &shared) && shared)
        return error_set(e, ERR_INPUT, "%s: key '%s' is %llu: shared experts are not supported", c->path, key,
                         (unsigned long long)shared);
    return read_swa_gguf(m, c, e);
}

const Family family_granitemoe_swa = {
    .name = "granitemoe_swa",
    .tensors = granite_swa_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000, .n_experts = 8, .top_k = 2},
    .hf = {.model_type = "granitemoe_swa",
           .architecture = "GraniteMoeSWAForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .carrier = "granitemoe_swa",
           .read = read_moe_swa,
           .write_softmax_scale = write_multipliers},
    .gguf = {.arch = "granite_swa",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .carrier = "granite_swa",
             .read = read_moe_swa_gguf},
};
