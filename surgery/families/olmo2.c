/* Blocks with norms after attention and MLP but none before them, and with norms on queries and keys. OLMo 2
 * (arXiv 2501.00656) and OLMo 3 normalize all heads together; in OLMo 3 some layers have a window, and their
 * rotation is never scaled. EXAONE 4 (arXiv 2507.11407) normalizes each head, and in its models with windows
 * the layers without a window do not rotate. After transformers' modeling_olmo2.py, modeling_olmo3.py and
 * modeling_exaone4.py. surgery/carriers/olmo3.c writes the changed models of the first two. */
#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* HfClass.read of OLMo 3: three layers with a window, then one without, unless layer_types says otherwise.
 * The rope scaling of a long-context model applies only to layers without a window. */
static bool read_olmo3(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, 4);
    return config_read_layer_types(m, config, window, e);
}

/* GgufArch.read of OLMo 2. llama.cpp's architecture olmo2 also runs OLMo 3, whose windows it reads from a key
 * that OLMo 2's files lack. */
static bool read_olmo_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint32_t window = 0;
    if (!arch_read_window(c, &window, e)) return false;
    if (window >= GGUF_NO_WINDOW) window = 0;
    if (window && !arch_read_window_pattern(&m->spec, c, window, 4, e)) return false;
    spec_unscale_windowed(&m->spec);
    return true;
}

/* GgufArch.can of both: the architecture has one rope base for all layers, and applies the rope scaling only
 * to layers without a window. */
static bool gguf_can_olmo(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->window &&
            (l->scaling.kind != ROPE_SCALING_NONE || l->rope_base != model_scaled_layer(m)->rope_base))
            return refuse_because(why, size,
                                  "has one rope base, and scales it in layers without a window only");
    }
    return model_has_one_window_size(m, why, size);
}

/* GgufArch.write of both: a model without windows gets no keys of windows, as in OLMo 2's published files. */
static void write_olmo_gguf(const Model *m, Checkpoint *out) {
    if (model_window(m))
        arch_set_window_pattern(m, out);
    else
        arch_remove_windows(out);
}

/* transformers' class looks for the type of a rope scaling under the old key "type" (HF_OLD_ROPE_TYPE_KEY)
 * and supports linear and dynamic scaling only. */
const Family family_olmo2 = {
    .name = "olmo2",
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 10000,
              .no_pre_norms = true,
              .post_norms = true,
              .q_norm = QK_NORM_FULL,
              .k_norm = QK_NORM_FULL},
    .window_base = true,
    .hf = {.model_type = "olmo2",
           .since = "4.47",
           .architecture = "Olmo2ForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY | HF_OLD_ROPE_TYPE_KEY,
           .rope_scalings = 1u << ROPE_SCALING_LINEAR | 1u << ROPE_SCALING_DYNAMIC},
    .gguf = {.arch = "olmo2",
             .since = "2024-11",
             .quirks = GGUF_NO_O_BIAS | GGUF_NEEDS_HEAD,
             .read = read_olmo_gguf,
             .can = gguf_can_olmo,
             .write = write_olmo_gguf},
};

/* llama.cpp runs OLMo 3 as olmo2, and a GGUF does not say which of the two it is. It is read as OLMo 2, which
 * has the same table of tensors; only the configuration class of an HF output differs. */
const Family family_olmo3 = {
    .name = "olmo3",
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 500000,
              .no_pre_norms = true,
              .post_norms = true,
              .q_norm = QK_NORM_FULL,
              .k_norm = QK_NORM_FULL},
    .window_base = true,
    .hf = {.model_type = "olmo3",
           .since = "4.57",
           .architecture = "Olmo3ForCausalLM",
           .reads = "sliding_window layer_types",
           .window_base = 500000,
           .quirks = HF_ATTENTION_BIAS_KEY,
           .carrier = "olmo3",
           .read = read_olmo3},
    .gguf = {.arch = "olmo2",
             .since = "2025-09",
             .quirks = GGUF_NO_O_BIAS | GGUF_NEEDS_HEAD,
             .can = gguf_can_olmo,
             .write = write_olmo_gguf},
};

/* True if the model has windows that are shorter than its context and so hide something. */
static bool has_windows(const Model *m) {
    return !model_all_layers(m, layer_is_global);
}

/* Family.rotates of EXAONE 4: in a model with windows, only layers with a window rotate; in a model without
 * windows all layers do. */
static bool rotates(const Model *m, uint32_t layer) {
    return m->spec.layers[layer].window || !has_windows(m);
}

/* Drops the rotation of the layers that see the whole context, if the model has windows. */
static void drop_in_others(Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!rotates(m, i)) layer_drop_rope(&m->spec.layers[i]);
}

/* HfClass.read of EXAONE 4: a sliding_window of null (the 1.2B model) means that there are no windows and all
 * layers rotate. Otherwise every sliding_window_pattern-th layer has no window and does not rotate. */
static bool read_exaone4(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096, every = 4;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    /* The published 32B model has "LLLG" for the pattern and lists the layers beside it. Without that list
     * transformers fails on a string. */
    if (window && !config_has(config, "layer_types") &&
        !config_read_u32(config, "sliding_window_pattern", 1, INT32_MAX, &every, e))
        return false;
    if (window) spec_set_windows(&m->spec, window, every);
    if (!config_read_layer_types(m, config, window, e)) return false;
    /* In a model with windows, the layers without one do not rotate. */
    for (uint32_t i = 0; window && i < m->spec.n_layers; i++)
        if (!m->spec.layers[i].window) layer_drop_rope(&m->spec.layers[i]);
    return true;
}

/* GgufArch.read of EXAONE 4: llama.cpp gives windows to models of 64 layers (the 32B model) and to no others.
 */
static bool read_exaone4_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint32_t window = 4096;
    if (m->spec.n_layers != 64) return true;
    if (!arch_read_window(c, &window, e) || !arch_read_window_pattern(&m->spec, c, window, 4, e))
        return false;
    drop_in_others(m);
    return true;
}

/* GgufArch.can of EXAONE 4: llama.cpp decides by the number of layers whether there are windows, so the model
 * has to agree with that. */
static bool gguf_can_exaone4(const Model *m, char *why, size_t size) {
    if (has_windows(m) != (m->spec.n_layers == 64))
        return refuse_because(why, size, "has windows in models of 64 layers, and in no others");
    return model_has_one_window_size(m, why, size);
}

/* HfClass.write of EXAONE 4: sliding_window becomes null if no layer has a window, which says that all layers
 * rotate. */
static void write_exaone4(const Model *m, json_t *config) {
    config_set_layer_types(m, config, 0);
}

/* GgufArch.write of EXAONE 4: the window and its pattern, for models that have windows. */
static void write_gguf_exaone4(const Model *m, Checkpoint *out) {
    if (has_windows(m))
        arch_set_window_pattern(m, out);
    else
        arch_remove_windows(out);
}

/* llama.cpp reads a table of frequencies of the kind llama3 in this architecture. */
const Family family_exaone4 = {
    .name = "exaone4",
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-5, .context = 2048},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 32,
              .no_pre_norms = true,
              .post_norms = true,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD},
    .rotates = rotates,
    .rotates_where = "layers with a window only, or in all if there are none",
    .hf = {.model_type = "exaone4",
           .since = "4.54",
           .architecture = "Exaone4ForCausalLM",
           .reads = "sliding_window sliding_window_pattern layer_types",
           .read = read_exaone4,
           .can = model_has_one_window_size,
           .write = write_exaone4},
    .gguf = {.arch = "exaone4",
             .since = "2025-07",
             .rope_scalings = 1u << ROPE_SCALING_LLAMA3,
             .read = read_exaone4_gguf,
             .can = gguf_can_exaone4,
             .write = write_gguf_exaone4},
};
