/* Granite 3: Llama with four multipliers; and granite_swa, which adds windows, a rope base per layer (0:
 * none) and attention sinks. */
#include "formats/json.h"
#include "surgery/family.h"

static double multiplier(const json_t *config, const char *key) {
    double v;
    return json_get_f64(config, key, &v) ? v : 1;
}

static bool read_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    double divisor = multiplier(config, "logits_scaling");
    if (divisor == 0) return error_set(e, ERR_INPUT, "config.json: logits_scaling is 0");
    s->embedding_scale = multiplier(config, "embedding_multiplier");
    s->residual_scale = multiplier(config, "residual_multiplier");
    s->logit_scale = 1 / divisor;
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i].softmax_scale = multiplier(config, "attention_multiplier");
    return true;
}

static bool read_gguf_scales(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    char key[128];
    double v;
    if (meta_f64(c, arch_key(key, c, "embedding_scale"), &v) && v != 0) s->embedding_scale = v;
    if (meta_f64(c, arch_key(key, c, "residual_scale"), &v) && v != 0) s->residual_scale = v;
    if (!meta_f64(c, arch_key(key, c, "logit_scale"), &v) || v == 0)
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or 0", c->path, key);
    s->logit_scale = 1 / v;
    if (meta_f64(c, arch_key(key, c, "attention.scale"), &v) && v != 0)
        for (uint32_t i = 0; i < s->n_layers; i++)
            s->layers[i].softmax_scale = v;
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
    .model_types = (const char *const[]){"granite", NULL},
    .gguf_archs = (const char *const[]){"granite", NULL},
    .tensors = llama_tensors,
    .gguf_interleaved = true,
    .rope_base = 10000,
    .read_config = read_config,
    .read_gguf = read_gguf,
};

static bool read_swa_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    uint64_t window = 128;
    json_get_u64(config, "sliding_window", &window);
    if (window == 0 || window >= UINT32_MAX)
        return error_set(e, ERR_INPUT, "config.json: sliding_window is %llu", (unsigned long long)window);
    if (!read_config(m, config, e)) return false;
    const json_t *bases = json_object_get(config, "layer_rope_theta");
    if (json_is_array(bases) && json_array_size(bases) != s->n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_rope_theta has %zu entries for %u layers",
                         json_array_size(bases), s->n_layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerSpec *l = &s->layers[i];
        l->sinks = true;
        if (i % 4 != 0) l->window = (uint32_t)window;
        if (!json_is_array(bases)) continue;
        double base = json_number_value(json_array_get(bases, i));
        if (base > 0)
            l->rope_base = base;
        else
            layer_drop_rope(l);
    }
    return read_layer_types(m, config, (uint32_t)window, e);
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
    if (!windows || windows->count < s->n_layers)
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or shorter than %u layers", c->path, key,
                         s->n_layers);
    const MetaEntry *rotated = meta_find(c, arch_key(key, c, "attention.rope_pattern"));
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i].sinks = true;
        if (meta_array_f64(windows, i, &flag) && flag != 0) s->layers[i].window = (uint32_t)window;
        if (rotated && meta_array_f64(rotated, i, &flag) && flag == 0) layer_drop_rope(&s->layers[i]);
    }
    return read_gguf_scales(m, c, e);
}

const Family family_granite_swa = {
    .name = "granite_swa",
    .model_types = (const char *const[]){"granite_swa", NULL},
    .gguf_archs = (const char *const[]){"granite_swa", NULL},
    .tensors = llama_tensors,
    .gguf_interleaved = true,
    .rope_base = 10000,
    .tied_head = true,
    .read_config = read_swa_config,
    .read_gguf = read_swa_gguf,
};
