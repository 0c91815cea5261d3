/* Granite 3 (transformers' modeling_granite.py) is Llama's block with four multipliers: on embeddings,
 * residual branches, attention scores and logits. Granite SWA (modeling_granite_swa.py) adds windows, a rope
 * base for each layer and attention sinks; granitemoe_swa has experts too. llama.cpp runs Granite 3 as
 * "granite" and the other two as "granite_swa". The carriers of the same names, which write other families'
 * models as these classes, are in surgery/carriers/hf_per_layer.c and gguf_granite.c. */
#include <math.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* Reads the four multipliers of config.json. logits_scaling is a divisor, whereas the spec has a factor;
 * attention_multiplier replaces 1/sqrt(head_dim) as the softmax scale. All default to 1, as in GraniteConfig.
 */
static bool read_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    double divisor = 1, softmax_scale = 1;
    if (!config_read_real(config, "logits_scaling", &divisor, e) ||
        !config_read_real(config, "attention_multiplier", &softmax_scale, e) ||
        !config_read_real(config, "embedding_multiplier", &s->embedding_scale, e) ||
        !config_read_real(config, "residual_multiplier", &s->residual_scale, e))
        return false;
    /* A divisor of 0 would make all logits infinite. */
    if (!isfinite(1 / divisor)) return error_set(e, ERR_INPUT, "config.json: logits_scaling is %g", divisor);
    s->logit_scale = 1 / divisor;
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i].softmax_scale = softmax_scale;
    return true;
}

/* Reads the four multipliers of a GGUF. logit_scale is a divisor, which llama.cpp requires; for the other
 * three it takes the value 0 as "absent", in which case the spec's defaults stay. */
static bool read_gguf_scales(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    double embedding = 0, residual = 0, divisor = 0, softmax_scale = 0;
    if (!arch_read_real(c, "embedding_scale", &embedding, e) ||
        !arch_read_real(c, "residual_scale", &residual, e) ||
        !arch_read_real(c, "logit_scale", &divisor, e) ||
        !arch_read_real(c, "attention.scale", &softmax_scale, e))
        return false;
    if (!isfinite(1 / divisor)) return arch_error(e, c, "logit_scale", " is missing or 0");
    s->logit_scale = 1 / divisor;
    /* llama.cpp skips a multiplier that is 0. */
    if (embedding != 0) s->embedding_scale = embedding;
    if (residual != 0) s->residual_scale = residual;
    for (uint32_t i = 0; i < s->n_layers && softmax_scale != 0; i++)
        s->layers[i].softmax_scale = softmax_scale;
    return true;
}

/* GgufArch.read of "granite": llama.cpp reads rope.scaling.finetuned = false as "this model has no rotary
 * embeddings", which the carrier granite makes use of. So a file that derope wrote is read back with all
 * layers unrotated. */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    bool rotated = true;
    if (arch_get_bool(c, "rope.scaling.finetuned", &rotated) && !rotated)
        for (uint32_t i = 0; i < m->spec.n_layers; i++)
            layer_drop_rope(&m->spec.layers[i]);
    return read_gguf_scales(m, c, e);
}

/* The keys that read_config reads. */
#define MULTIPLIERS "embedding_multiplier residual_multiplier attention_multiplier logits_scaling"

/* There is no hook `can`: the class has no windows and rotates all layers alike, so models with changed
 * layers need a carrier. */
const Family family_granite = {
    .name = "granite",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000},
    .hf = {.model_type = "granite",
           .since = "4.45",
           .architecture = "GraniteForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY,
           .reads = MULTIPLIERS,
           .read = read_config,
           .write_softmax_scale = config_set_multipliers},
    .gguf = {.arch = "granite",
             .since = "2024-09",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3,
             .read = read_gguf,
             .write = arch_set_multipliers},
};

/* HfClass.read of both kinds of Granite SWA: the list layer_rope_theta has the rope base of each layer, where
 * 0 marks a layer without rotation. Without layer_types, layers 0, 4, 8, ... see the whole context and the
 * others have the window. Every layer has sinks. */
static bool read_swa_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    uint32_t window = 128;
    if (!config_read_window(config, "sliding_window", &window, e) || !read_config(m, config, e)) return false;
    /* The list is optional, but where it is given it has to name every layer. */
    const json_t *bases = json_object_get(config, "layer_rope_theta");
    if (json_is_array(bases) && json_array_size(bases) != s->n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_rope_theta has %zu entries for %u layers",
                         json_array_size(bases), s->n_layers);
    /* The default pattern of windows, and each layer's base. */
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSpec *l = &s->layers[i];
        l->sinks = true;
        if (i % 4 != 0) l->window = window;
        if (!json_is_array(bases)) continue;
        /* This layer's base, or 0 for no rotation. */
        const json_t *base = json_array_get(bases, i);
        if (!json_is_number(base) || json_number_value(base) < 0)
            return error_set(e, ERR_INPUT, "config.json: layer_rope_theta[%u] is not a number from 0", i);
        if (json_number_value(base) > 0)
            l->rope_base = json_number_value(base);
        else
            layer_drop_rope(l);
    }
    return config_read_layer_types(m, config, window, e);
}

/* GgufArch.read of "granite_swa": reads two arrays with a number for each layer.
 * attention.sliding_window_pattern is 1 for layers with the window; attention.rope_pattern is 1 for layers
 * that rotate, and without it all do. */
static bool read_swa_gguf(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    uint64_t window;
    double flag;
    if (!arch_get_u64(c, "attention.sliding_window", &window) || window == 0 || window >= UINT32_MAX)
        return arch_error(e, c, "attention.sliding_window", " is missing or out of range");
    /* A window longer than any context is how a model without windows is written, because the key must not be
     * 0. */
    if (window >= GGUF_NO_WINDOW) window = 0;
    /* The two arrays, which have to cover all layers. */
    const MetaEntry *windows = arch_find(c, "attention.sliding_window_pattern");
    if (!windows || windows->type != META_ARRAY || windows->count < s->n_layers)
        return arch_error(e, c, "attention.sliding_window_pattern", " is missing or shorter than %u layers",
                          s->n_layers);
    /* Entries after the last layer's are ignored. */
    const MetaEntry *rotated = arch_find(c, "attention.rope_pattern");
    if (rotated && (rotated->type != META_ARRAY || rotated->count < s->n_layers))
        return arch_error(e, c, "attention.rope_pattern", " is shorter than %u layers", s->n_layers);
    /* Apply them layer by layer. */
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i].sinks = true;
        if (meta_array_f64(windows, i, &flag) && flag != 0) s->layers[i].window = (uint32_t)window;
        if (rotated && meta_array_f64(rotated, i, &flag) && flag == 0) layer_drop_rope(&s->layers[i]);
    }
    return read_gguf_scales(m, c, e);
}

/* Where layers changed, the carrier of the same name writes the class: it knows how to state each layer. */
const Family family_granite_swa = {
    .name = "granite_swa",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-5, .context = 8192, .tied_head = true},
    .layer = {.rope_base = 10000, .n_kv_heads = 4},
    .hf = {.model_type = "granite_swa",
           .since = "5.15",
           .architecture = "GraniteSWAForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY,
           .carrier = "granite_swa",
           .reads = MULTIPLIERS " sliding_window layer_types layer_rope_theta",
           .read = read_swa_config,
           .write_softmax_scale = config_set_multipliers},
    .gguf = {.arch = "granite_swa",
             .since = "2026-09",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .carrier = "granite_swa",
             .read = read_swa_gguf},
};

/* HfClass.read of granitemoe_swa: experts in addition to Granite SWA's settings. The class can have a shared
 * expert beside them, which derope's forward pass does not compute, so such models are refused. */
static bool read_moe_swa(Model *m, const json_t *config, Error *e) {
    uint64_t shared = 0;
    json_get_u64(config, "shared_intermediate_size", &shared);
    if (shared)
        return error_set(e, ERR_INPUT,
                         "config.json: shared_intermediate_size is %llu: shared experts are not supported",
                         (unsigned long long)shared);
    return read_swa_config(m, config, e) && config_read_experts(m, config, "num_local_experts", e);
}

/* GgufArch.read of granitemoe_swa: a GGUF states a shared expert by its width,
 * expert_shared_feed_forward_length. */
static bool read_moe_swa_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint64_t shared = 0;
    if (arch_get_u64(c, "expert_shared_feed_forward_length", &shared) && shared)
        return arch_error(e, c, "expert_shared_feed_forward_length",
                          " is %llu: shared experts are not supported", (unsigned long long)shared);
    return read_swa_gguf(m, c, e);
}

/* llama.cpp has one architecture for the models with and without experts. A GGUF that states experts is read
 * as this family, any other as granite_swa (family_by_gguf_arch). */
const Family family_granitemoe_swa = {
    .name = "granitemoe_swa",
    .tensors = granite_swa_tensors,
    .model = {.norm_eps = 1e-6, .context = 2048},
    .layer = {.rope_base = 10000, .n_experts = 8, .top_k = 2},
    .hf = {.model_type = "granitemoe_swa",
           .since = "5.15",
           .architecture = "GraniteMoeSWAForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .carrier = "granitemoe_swa",
           .reads = MULTIPLIERS " sliding_window layer_types layer_rope_theta num_local_experts "
                                "num_experts_per_tok shared_intermediate_size",
           .read = read_moe_swa,
           .write_softmax_scale = config_set_multipliers},
    .gguf = {.arch = "granite_swa",
             .since = "2026-09",
             .quirks = GGUF_INTERLEAVED_ROPE,
             .carrier = "granite_swa",
             .read = read_moe_swa_gguf},
};
