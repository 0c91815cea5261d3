/* Cohere2 (Command R7B): attention and MLP side by side behind one LayerNorm; three layers with a window and
 * rotation, then one with neither. Its rows of q and k are interleaved everywhere. */
#include "formats/json.h"
#include "surgery/family.h"

static void drop_in_global_layers(Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!m->spec.layers[i].window) layer_drop_rope(&m->spec.layers[i]);
}

static bool read_config(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    uint64_t every = 4;
    m->spec.logit_scale = 0.0625;
    json_get_u64(config, "sliding_window_pattern", &every);
    if (!config_real(config, "logit_scale", &m->spec.logit_scale, e) ||
        !config_window(config, "sliding_window", &window, e))
        return false;
    set_window_pattern(m, window, every);
    if (!read_layer_types(m, config, window, e)) return false;
    drop_in_global_layers(m);
    return true;
}

static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    char key[128];
    uint64_t window = 0;
    double scale = 0;
    if (!meta_u64(c, arch_key(key, c, "attention.sliding_window"), &window) || window == 0 || window > INT32_MAX)
        return error_set(e, ERR_INPUT, "%s: key '%s' is missing or out of range", c->path, key);
    if (!arch_real(c, "logit_scale", &scale, e)) return false;
    if (scale != 0) m->spec.logit_scale = scale;
    set_window_pattern(m, (uint32_t)window, 4);
    drop_in_global_layers(m);
    return true;
}

const Family family_cohere2 = {
    .name = "cohere2",
    .model_types = (const char *const[]){"cohere2", NULL},
    .gguf_archs = (const char *const[]){"cohere2", NULL},
    .tensors = llama_tensors,
    .model = {.norm = NORM_LAYER, .norm_eps = 1e-5, .context = 8192, .tied_head = true},
    .layer = {.rope_base = 10000, .wiring = WIRING_SHARED},
    .hf_interleaved = true,
    .gguf_interleaved = true,
    .attention_bias_key = true,
    .read_config = read_config,
    .read_gguf = read_gguf,
};
