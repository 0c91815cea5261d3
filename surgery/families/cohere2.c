/* Cohere2 (Command R7B; transformers' modeling_cohere2.py, llama.cpp's cohere2): attention and MLP in
 * parallel behind one LayerNorm without a bias. Three layers out of four have a window and rotate; every
 * fourth sees the whole context and does not rotate. Rotation pairs neighbouring rows of q and k in both
 * formats. Logits are multiplied by logit_scale. The class couples rotation to the window, so its own keys
 * cannot express a layer with a window and without rotation. */
#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"

/* Family.rotates: a layer rotates if and only if it has a window. */
static bool rotates(const Model *m, uint32_t layer) {
    return m->spec.layers[layer].window != 0;
}

/* Drops the rotation of layers without a window. Both runtimes decide by the window, whatever else a file
 * says of rotation. */
static void drop_in_global_layers(Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!rotates(m, i)) layer_drop_rope(&m->spec.layers[i]);
}

/* HfClass.read: three layers with a window, then one without, unless sliding_window_pattern or layer_types
 * says otherwise. The defaults are those of Cohere2Config. */
static bool read_config(Model *m, const json_t *config, Error *e) {
    uint32_t window = 4096, every = 4;
    m->spec.logit_scale = 0.0625;
    if (!config_read_real(config, "logit_scale", &m->spec.logit_scale, e) ||
        !config_read_u32(config, "sliding_window_pattern", 1, INT32_MAX, &every, e) ||
        !config_read_window(config, "sliding_window", &window, e))
        return false;
    spec_set_windows(&m->spec, window, every);
    if (!config_read_layer_types(m, config, window, e)) return false;
    drop_in_global_layers(m);
    return true;
}

/* GgufArch.read. llama.cpp requires a window, so a model without windowed layers is written with one longer
 * than any context (GGUF_NO_WINDOW). The pattern decides which layers rotate even then; only after that are
 * the windows removed. */
static bool read_gguf(Model *m, const Checkpoint *c, Error *e) {
    uint32_t window = 0;
    double scale = 0;
    if (!arch_read_window(c, &window, e)) return false;
    if (!window) return arch_error(e, c, "attention.sliding_window", " is missing or 0");
    if (!arch_read_real(c, "logit_scale", &scale, e)) return false;
    if (scale != 0) m->spec.logit_scale = scale;
    if (!arch_read_window_pattern(&m->spec, c, window, 4, e)) return false;
    drop_in_global_layers(m);
    for (uint32_t i = 0; i < m->spec.n_layers && window >= GGUF_NO_WINDOW; i++)
        m->spec.layers[i].window = 0;
    return true;
}

/* GgufArch.can: the architecture has no biases, and fails to load unless some layer has a window. */
static bool gguf_can(const Model *m, char *why, size_t size) {
    if (m->spec.layers[0].o_bias) return refuse_because(why, size, "has no biases");
    if (!model_window(m)) return refuse_because(why, size, "needs a layer with a window");
    return model_has_one_window_size(m, why, size);
}

/* HfClass.write: the class fails without a number for the window, so its default of 4096 is written if no
 * layer has one. */
static void write_config(const Model *m, json_t *config) {
    config_set_layer_types(m, config, 4096); /* without a number its class stops */
    json_object_set_new(config, "logit_scale", json_real(m->spec.logit_scale));
}

/* GgufArch.write: the factor on logits, the window, and which layers have it. */
static void write_gguf(const Model *m, Checkpoint *out) {
    arch_set_f32(out, "logit_scale", m->spec.logit_scale);
    arch_set_window_pattern(m, out);
}

/* The LM head is tied to the embedding. */
const Family family_cohere2 = {
    .name = "cohere2",
    .tensors = llama_tensors,
    .model = {.norm = NORM_LAYER, .norm_eps = 1e-5, .context = 8192, .tied_head = true},
    .layer = {.rope_base = 10000, .residual_layout = RESIDUAL_PARALLEL_SHARED_NORM},
    .rotates = rotates,
    .rotates_where = "layers with a window and in no others",
    .hf = {.model_type = "cohere2",
           .since = "4.48",
           .architecture = "Cohere2ForCausalLM",
           .quirks = HF_INTERLEAVED_ROPE | HF_ATTENTION_BIAS_KEY,
           .reads = "logit_scale sliding_window sliding_window_pattern layer_types",
           .ignores = "order_of_interleaved_layers rotary_pct position_embedding_type use_gated_activation "
                      "use_embedding_sharing use_parallel_block use_parallel_embedding layer_switch",
           .read = read_config,
           .can = model_has_one_window_size,
           .write = write_config},
    .gguf = {.arch = "cohere2",
             .since = "2025-01",
             .quirks = GGUF_INTERLEAVED_ROPE | GGUF_TIED_HEAD,
             .read = read_gguf,
             .can = gguf_can,
             .write = write_gguf},
};
