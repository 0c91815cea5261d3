/* Gemma 1, 2 and 3 (text; transformers' modeling_gemma*.py, arXiv 2403.08295, 2408.00118, 2503.19786).
 * Embeddings are multiplied by sqrt(hidden_size), norms multiply by 1 + weight in HF's files (llama.cpp's
 * have the 1 added), the MLP is a GeGLU. From 2 on there are norms behind attention and MLP too, and windows
 * in some layers. Gemma 2 has soft caps on scores and logits; Gemma 3 has norms on each query and key, and a
 * rope base of its own in layers with a window. */
#include <math.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* Embeddings are multiplied by sqrt(hidden_size); no key says so. */
static bool scale_embeddings(Model *m) {
    m->spec.embedding_scale = sqrt(m->spec.hidden_size);
    return true;
}

static bool read_gemma(Model *m, const json_t *config, Error *e) {
    (void)config, (void)e;
    return scale_embeddings(m);
}

static bool read_gemma_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)c, (void)e;
    return scale_embeddings(m);
}

/* Soft caps are null where there are none, and have defaults where the key is absent. The softmax scale is
 * 1/sqrt(query_pre_attn_scalar), which need not be head_dim. */
static bool read_softcaps(Model *m, const json_t *config, double attention, double logits, Error *e) {
    double scalar = 256;
    const json_t *a = json_object_get(config, "attn_logit_softcapping"),
                 *l = json_object_get(config, "final_logit_softcapping");
    if (json_is_null(a)) attention = 0;
    if (json_is_null(l)) logits = 0;
    if (!config_read_real(config, "attn_logit_softcapping", &attention, e) ||
        !config_read_real(config, "final_logit_softcapping", &logits, e) ||
        !config_read_real(config, "query_pre_attn_scalar", &scalar, e))
        return false;
    if (!(scalar > 0) || attention < 0 || logits < 0)
        return error_set(e, ERR_INPUT, "config.json: query_pre_attn_scalar %g, soft caps %g and %g", scalar,
                         attention, logits);
    m->spec.logit_softcap = logits;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].softcap = attention;
        m->spec.layers[i].softmax_scale = 1 / sqrt(scalar);
    }
    return scale_embeddings(m);
}

/* Every `every`-th layer sees everything, unless layer_types says otherwise. */
static bool read_windows(Model *m, const json_t *config, uint64_t every, Error *e) {
    uint32_t window = 4096;
    json_get_u64(config, "sliding_window_pattern", &every);
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, every);
    return config_read_layer_types(m, config, window, e);
}

/* By default soft caps of 50 and 30, and a window in every other layer. */
static bool read_gemma2(Model *m, const json_t *config, Error *e) {
    return read_softcaps(m, config, 50, 30, e) && read_windows(m, config, 2, e);
}

/* Layers with a window rotate by a base of their own, unscaled. */
static void set_local_base(Model *m, double base) {
    spec_unscale_windowed(&m->spec);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window) m->spec.layers[i].rope_base = base;
}

/* rope_parameters of transformers 5 has a mapping for each type of layer, which the common reader has taken
 * already; otherwise rope_local_base_freq is the base of layers with a window. */
static bool read_gemma3(Model *m, const json_t *config, Error *e) {
    double local = 10000;
    const json_t *per_type = json_object_get(json_object_get(config, "rope_parameters"), "sliding_attention");
    if (!read_softcaps(m, config, 0, 0, e) || !read_windows(m, config, 6, e) ||
        !config_read_real(config, "rope_local_base_freq", &local, e))
        return false;
    if (!(local > 0)) return error_set(e, ERR_INPUT, "config.json: rope_local_base_freq is %g", local);
    if (!json_is_object(per_type)) set_local_base(m, local);
    return true;
}

/* llama.cpp recognises the 27B models by their number of layers and scales those by hidden_size / n_heads; a
 * key for the scale does not exist. */
static double gguf_softmax_scale(const ModelSpec *s, uint32_t layers_of_27b) {
    const LayerSpec *l = &s->layers[0];
    return 1 / sqrt(s->n_layers == layers_of_27b ? s->hidden_size / l->n_heads : l->head_dim);
}

static double gemma2_scale(const ModelSpec *s) {
    return gguf_softmax_scale(s, 46);
}

static double gemma3_scale(const ModelSpec *s) {
    return gguf_softmax_scale(s, 62);
}

/* What Gemma 2 and 3 have in common as GGUFs. */
static bool read_gguf_windows(Model *m, const Checkpoint *c, uint32_t window, uint64_t every, double scale,
                              Error *e) {
    if (!arch_read_window(c, &window, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softmax_scale = scale;
    if (window >= GGUF_NO_WINDOW) window = 0;
    if (window && !arch_read_window_pattern(&m->spec, c, window, every, e)) return false;
    return arch_read_real(c, "final_logit_softcapping", &m->spec.logit_softcap, e) && scale_embeddings(m);
}

/* llama.cpp's defaults are those of config.json: soft caps of 50 and 30, a window of 4096 in every other
 * layer. */
static bool read_gemma2_gguf(Model *m, const Checkpoint *c, Error *e) {
    double cap = 50;
    m->spec.logit_softcap = 30;
    if (!arch_read_real(c, "attn_logit_softcapping", &cap, e) ||
        !read_gguf_windows(m, c, 4096, 2, gemma2_scale(&m->spec), e))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softcap = cap;
    return true;
}

/* Where no window is stated, all layers see everything. */
static bool read_gemma3_gguf(Model *m, const Checkpoint *c, Error *e) {
    double local = 10000;
    if (!read_gguf_windows(m, c, 0, 6, gemma3_scale(&m->spec), e) ||
        !arch_read_real(c, "rope.freq_base_swa", &local, e))
        return false;
    set_local_base(m, local);
    return true;
}

/* ---- writing ---- */

/* The softmax scale that query_pre_attn_scalar will hold. transformers 5 takes whole numbers only, so the
 * nearest one is written, and queries are multiplied by the rest; what the source stated is kept. */
static double stated_scale(const Model *m) {
    double scale = m->spec.layers[0].softmax_scale;
    if (m->config && scale == m->source_spec.layers[0].softmax_scale) return scale; /* as it stands there */
    return 1 / sqrt(fmax(round(1 / (scale * scale)), 1));
}

/* query_pre_attn_scalar is the inverse square of the softmax scale. A whole number is written as one, without
 * a point. */
static void write_scalar(const Model *m, json_t *config) {
    double scale = stated_scale(m), scalar = 1 / (scale * scale), whole = round(scalar);
    bool is_whole = fabs(scalar - whole) < 1e-9 * whole;
    json_object_set_new(config, "query_pre_attn_scalar",
                        is_whole ? json_integer((json_int_t)whole) : json_real(scalar));
}

/* null stands for no soft cap. */
static void set_cap(json_t *config, const char *key, double cap) {
    json_object_set_new(config, key, cap > 0 ? json_real(cap) : json_null());
}

/* The class stops without a number for the window, so its default of 4096 is stated where no layer has one.
 */
static void write_gemma2(const Model *m, json_t *config) {
    write_scalar(m, config);
    config_set_layer_types(m, config, 4096); /* without a number its class stops */
    set_cap(config, "attn_logit_softcapping", m->spec.layers[0].softcap);
    set_cap(config, "final_logit_softcapping", m->spec.logit_softcap);
}

/* A model without any windowed layer keeps the base that the source states. */
static void write_gemma3(const Model *m, json_t *config) {
    const LayerSpec *windowed = model_layer_by_window(m, true);
    write_gemma2(m, config);
    if (windowed) json_object_set_new(config, "rope_local_base_freq", json_real(windowed->rope_base));
}

/* llama.cpp applies both soft caps in every Gemma 2. */
static bool gemma2_gguf_can(const Model *m, char *why, size_t size) {
    if (m->spec.logit_softcap <= 0 || m->spec.layers[0].softcap <= 0)
        return refuse_because(why, size, "always has soft caps");
    if (!model_layer_by_window(m, true)) return refuse_because(why, size, "needs a layer with a window");
    return model_has_one_window_size(m, why, size);
}

/* llama.cpp's defaults differ from a model that was changed, so both soft caps are stated. */
static void write_gemma2_gguf(const Model *m, Checkpoint *out) {
    arch_set_f32(out, "attn_logit_softcapping", m->spec.layers[0].softcap);
    arch_set_f32(out, "final_logit_softcapping", m->spec.logit_softcap);
    arch_set_window_pattern(m, out);
}

/* Both formats have two bases, one for layers with a window and one for the others, and scale the latter
 * only. */
static bool gemma3_can(const Model *m, char *why, size_t size) {
    const LayerSpec *windowed = model_layer_by_window(m, true), *global = model_layer_by_window(m, false);
    if (!model_has_one_window_size(m, why, size)) return false;
    if (m->spec.layers[0].softcap > 0) return refuse_because(why, size, "has no soft cap on scores");
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE) continue;
        if (!layer_rope_equal(l, l->window ? windowed : global))
            return refuse_because(why, size,
                                  "supports one rope base for layers with a window and one for the others");
        if (l->window && l->scaling.kind != ROPE_SCALING_NONE)
            return refuse_because(why, size, "scales the rotation of layers without a window only");
    }
    return true;
}

/* Without a windowed layer there are no keys of windows. */
static void write_gemma3_gguf(const Model *m, Checkpoint *out) {
    const LayerSpec *windowed = model_layer_by_window(m, true);
    if (m->spec.logit_softcap > 0) arch_set_f32(out, "final_logit_softcapping", m->spec.logit_softcap);
    if (!windowed) return;
    arch_set_window_pattern(m, out);
    arch_set_f32(out, "rope.freq_base_swa", windowed->rope_base);
}

const Family family_gemma = {
    .name = "gemma",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 8192, .tied_head = true, .unit_offset_norm = true},
    .layer = {.rope_base = 10000, .n_kv_heads = 16, .head_dim = 256, .activation = ACT_GELU_TANH},
    .hf = {.model_type = "gemma",
           .since = "4.38",
           .architecture = "GemmaForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_gemma},
    .gguf = {.arch = "gemma", .since = "2024-02", .quirks = GGUF_NO_O_BIAS, .read = read_gemma_gguf},
};

static const KeyName gemma_keys[] = {{"hidden_act", "hidden_activation"}, {NULL, NULL}};

const Family family_gemma2 = {
    .name = "gemma2",
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-6, .context = 8192, .tied_head = true, .unit_offset_norm = true},
    .layer = {.rope_base = 10000,
              .n_kv_heads = 4,
              .head_dim = 256,
              .activation = ACT_GELU_TANH,
              .post_norms = true},
    .hf = {.model_type = "gemma2",
           .since = "4.42",
           .architecture = "Gemma2ForCausalLM",
           .keys = gemma_keys,
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_gemma2,
           .can = model_has_one_window_size,
           .write = write_gemma2,
           .write_softmax_scale = write_scalar,
           .softmax_scale = stated_scale},
    .gguf = {.arch = "gemma2",
             .since = "2024-06",
             .quirks = GGUF_NO_O_BIAS,
             .read = read_gemma2_gguf,
             .can = gemma2_gguf_can,
             .write = write_gemma2_gguf,
             .softmax_scale = gemma2_scale},
};

const Family family_gemma3 = {
    .name = "gemma3_text",
    .tensors = sandwich_tensors,
    .model = {.norm_eps = 1e-6, .context = 131072, .tied_head = true, .unit_offset_norm = true},
    .layer = {.rope_base = 1000000,
              .n_kv_heads = 4,
              .head_dim = 256,
              .activation = ACT_GELU_TANH,
              .post_norms = true,
              .q_norm = QK_NORM_HEAD,
              .k_norm = QK_NORM_HEAD},
    .window_base = true,
    .hf = {.model_type = "gemma3_text",
           .since = "4.50",
           .architecture = "Gemma3ForCausalLM",
           .keys = gemma_keys,
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_gemma3,
           .can = gemma3_can,
           .write = write_gemma3,
           .write_softmax_scale = write_scalar,
           .softmax_scale = stated_scale},
    .gguf = {.arch = "gemma3",
             .since = "2025-03",
             .quirks = GGUF_NO_O_BIAS,
             .read = read_gemma3_gguf,
             .can = gemma3_can,
             .write = write_gemma3_gguf,
             .softmax_scale = gemma3_scale},
};
