/* SmolLM3 (transformers' modeling_smollm3.py): Llama's block in which the list no_rope_layers says of each
 * layer whether it rotates (by default every fourth does not), and layer_types says whether it has a window.
 * llama.cpp's architecture of this name has the default pattern as a constant and no windows. Because the HF
 * class can state any pattern, it is also the first carrier for models of other families
 * (surgery/carriers/hf_per_layer.c). */
#include "formats/json.h"
#include "surgery/config_read.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* HfClass.read: despite its name, no_rope_layers has 1 for layers that rotate. If there is no layer_types but
 * use_sliding_window is true, the class gives the window to the layers that do not rotate; this follows
 * SmolLM3Config. Where layer_types lists the windows, use_sliding_window does not switch them off: the
 * attention mask does not depend on it. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    uint32_t window = 0;
    bool use_window = false, *rotates = arena_alloc(&m->arena, s->n_layers * sizeof *rotates);
    json_get_bool(config, "use_sliding_window", &use_window);
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    if (!config_read_no_rope_layers(m, config, rotates, e)) return false;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        if (rotates[i]) continue;
        layer_drop_rope(&s->layers[i]);
        if (use_window) s->layers[i].window = window; /* the default, odd as it is */
    }
    return config_read_layer_types(m, config, window, e);
}

/* GgufArch.read: llama.cpp has no key for rotation, and leaves layers 3, 7, 11, ... unrotated. */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)c, (void)e;
    for (uint32_t i = 3; i < m->spec.n_layers; i += 4)
        layer_drop_rope(&m->spec.layers[i]);
    return true;
}

/* Family.rotates: the published pattern, in which all layers but 3, 7, 11, ... rotate. */
static bool rotates(const Model *m, uint32_t layer) {
    (void)m;
    return (layer + 1) % 4 != 0;
}

/* Without a hook `can`, "own" refuses models whose layers were changed; the carrier smollm3 writes them. */
const Family family_smollm3 = {
    .name = "smollm3",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 32768, .tied_head = true},
    .layer = {.rope_base = 2000000, .n_kv_heads = 4},
    .rotates = rotates,
    .rotates_where = "all but every fourth layer, whatever the file says",
    .hf = {.model_type = "smollm3",
           .since = "4.53",
           .architecture = "SmolLM3ForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_MLP_BIAS_KEY,
           .reads = "no_rope_layers no_rope_layer_interval use_sliding_window sliding_window layer_types",
           .read = read_config},
    .gguf = {.arch = "smollm3", .since = "2025-07", .quirks = GGUF_INTERLEAVED_ROPE, .read = read_gguf},
};
