/* Blocks that are normed on their way out only, with norms of queries and keys. OLMo 2: over all heads
 * together. Exaone 4: per head, and where there are windows the layers without one do not rotate. */
#include "formats/json.h"
#include "surgery/carrier.h"

static bool gguf_can_olmo2(const Model *m, char *why, size_t size) {
    if (m->spec.layers[0].o_bias) return cannot(why, size, "has no bias after attention");
    return gguf_rotates_can(m, why, size);
}

const Family family_olmo2 = {
    .name = "olmo2",
    .model_types = (const char *const[]){"olmo2", NULL},
    .gguf_archs = (const char *const[]){"olmo2", NULL},
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 10000,
              .no_pre_norms = true,
              .post_norms = true,
              .q_norm = QK_NORM_FULL,
              .k_norm = QK_NORM_FULL},
    .attention_bias_key = true,
    .old_rope_type = true,
    .architecture = "Olmo2ForCausalLM",
    .gguf_can = gguf_can_olmo2,
    .gguf_needs_head = true,
};

static bool read_exaone4(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    uint64_t every = 4;
    json_get_u64(config, "sliding_window_pattern", &every);
    if (!config_window(config, "sliding_window", &window, e)) return false;
    if (window) set_window_pattern(m, window, every);
    if (!read_layer_types(m, config, window, e)) return false;
    for (uint32_t i = 0; window && i < m->spec.n_layers; i++)
        if (!m->spec.layers[i].window) layer_drop_rope(&m->spec.layers[i]);
    return true;
}

/* llama.cpp knows the one with windows by its 64 layers. */
static bool read_exaone4_gguf(Model *m, const Checkpoint *c, Error *e) {
    char key[128];
    uint64_t window = 4096;
    if (m->spec.n_layers != 64) return true;
    meta_u64(c, arch_key(key, c, "attention.sliding_window"), &window);
    if (!read_gguf_window_pattern(m, c, (uint32_t)window, 4, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!m->spec.layers[i].window) layer_drop_rope(&m->spec.layers[i]);
    return true;
}

static bool has_windows(const Model *m) {
    return !all_layers(m, layer_is_global);
}

/* Where there are windows, rotation goes with them. */
static bool can_exaone4(const Model *m, char *why, size_t size) {
    uint32_t window;
    if (!one_rotation(m, NULL)) return cannot(why, size, "has one rope base for all layers");
    if (!one_window(m, &window)) return cannot(why, size, "has one window size for all windowed layers");
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (layer_is_nope(m, l) != (has_windows(m) && !l->window))
            return cannot(why, size, "rotates in layers with a window only, or in all if there are none");
    }
    return true;
}

static bool gguf_can_exaone4(const Model *m, char *why, size_t size) {
    if (has_windows(m) != (m->spec.n_layers == 64))
        return cannot(why, size, "has windows if there are 64 layers, and only then");
    return can_exaone4(m, why, size);
}

static void write_gguf_exaone4(const Model *m, const char *arch, Checkpoint *out) {
    if (has_windows(m)) write_gguf_window_pattern(m, arch, out);
}

const Family family_exaone4 = {
    .name = "exaone4",
    .model_types = (const char *const[]){"exaone4", NULL},
    .gguf_archs = (const char *const[]){"exaone4", NULL},
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 32,
              .no_pre_norms = true,
              .post_norms = true,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD},
    .read_config = read_exaone4,
    .read_gguf = read_exaone4_gguf,
    .architecture = "Exaone4ForCausalLM",
    .config_can = can_exaone4,
    .write_config = write_layer_types,
    .gguf_can = gguf_can_exaone4,
    .write_gguf = write_gguf_exaone4,
};
