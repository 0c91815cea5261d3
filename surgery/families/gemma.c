/* Gemma 1, 2 and 3 (text only; transformers' modeling_gemma*.py, arXiv 2403.08295, 2408.00118, 2503.19786).
 * Embeddings are multiplied by sqrt(hidden_size), RMSNorms multiply by 1 + weight in HF's files (the
 * converter to GGUF has added the 1 already), and the MLP is a GeGLU. Gemma 2 and 3 also have norms after
 * attention and MLP, and windows in some layers. Gemma 2 has soft caps on attention scores and logits; Gemma
 * 3 has RMSNorms on each head of queries and keys, and a rope base of its own in layers with a window. The
 * hooks are ordered by direction: reading both formats, then writing both, then the three tables. */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/arch_keys.h"
#include "surgery/arch_write.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/tensors.h"
#include "surgery/model_traits.h"
#include "surgery/notices.h"
#include "surgery/rope_frequencies.h"

/* Sets the factor sqrt(hidden_size) on embeddings, which both runtimes apply to every Gemma without a key for
 * it. Always true, so that readers can end with it. */
static bool scale_embeddings(Model *m) {
    m->spec.embedding_scale = sqrt(m->spec.hidden_size);
    return true;
}

/* HfClass.read and GgufArch.read of Gemma 1, which has no other settings of its own. */
static bool read_gemma(Model *m, const json_t *config, Error *e) {
    (void)config, (void)e;
    return scale_embeddings(m);
}

static bool read_gemma_gguf(Model *m, const Checkpoint *c, Error *e) {
    (void)c, (void)e;
    return scale_embeddings(m);
}

/* Reads the two soft caps and the softmax scale of Gemma 2 and 3. `attention` and `logits` are the caps where
 * the key is absent; null switches a cap off, which the spec states as 0. The softmax scale is
 * 1/sqrt(query_pre_attn_scalar), which need not be head_dim. */
static bool read_softcaps(Model *m, const json_t *config, double attention, double logits, Error *e) {
    double scalar = 256;
    const json_t *a = json_object_get(config, "attn_logit_softcapping"),
                 *l = json_object_get(config, "final_logit_softcapping");
    /* null has to be handled before the keys are read as numbers. */
    if (json_is_null(a)) attention = 0;
    if (json_is_null(l)) logits = 0;
    if (!config_read_real(config, "attn_logit_softcapping", &attention, e) ||
        !config_read_real(config, "final_logit_softcapping", &logits, e) ||
        !config_read_real(config, "query_pre_attn_scalar", &scalar, e))
        return false;
    /* A scalar of 0 would make the softmax scale infinite, and a negative cap has no meaning. */
    if (!(scalar > 0) || attention < 0 || logits < 0)
        return error_set(e, ERR_INPUT, "config.json: query_pre_attn_scalar %g, soft caps %g and %g", scalar,
                         attention, logits);
    m->spec.logit_softcap = logits;
    /* Apply them to all layers. */
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].softcap = attention;
        m->spec.layers[i].softmax_scale = 1 / sqrt(scalar);
    }
    return scale_embeddings(m);
}

/* Reads the windows: every `every`-th layer sees the whole context, unless layer_types lists each layer's
 * kind. */
static bool read_windows(Model *m, const json_t *config, uint32_t every, Error *e) {
    uint32_t window = 4096;
    if (!config_read_window(config, "sliding_window", &window, e)) return false;
    spec_set_windows(&m->spec, window, every);
    return config_read_layer_types(m, config, window, e);
}

/* HfClass.read of Gemma 2; Gemma2Config's defaults are soft caps of 50 and 30 and a window in every other
 * layer. */
static bool read_gemma2(Model *m, const json_t *config, Error *e) {
    return read_softcaps(m, config, 50, 30, e) && read_windows(m, config, 2, e);
}

/* Gives layers with a window the rope base `base`, and removes the rope scaling from them: it only applies to
 * layers that see the whole context. */
static void set_local_base(Model *m, double base) {
    spec_unscale_windowed(&m->spec);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window) m->spec.layers[i].rope_base = base;
}

/* HfClass.read of Gemma 3: five layers with a window, then one without, or another pattern by the key
 * sliding_window_pattern, which this class alone of the three reads. It has a key for a soft cap on scores
 * too but does not apply it. */
static bool read_gemma3(Model *m, const json_t *config, Error *e) {
    uint32_t every = 6;
    if (!read_softcaps(m, config, 0, 0, e) ||
        !config_read_u32(config, "sliding_window_pattern", 1, INT32_MAX, &every, e))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softcap = 0;
    return read_windows(m, config, every, e);
}

/* HfClass.amend of Gemma 1: the files that Google published first say "gelu" and mean the form with tanh, as
 * transformers 5 takes it. */
static void amend_gemma(Model *m, json_t *config) {
    const char *act = json_get_string(config, "hidden_act");
    if (!act || strcmp(act, "gelu") != 0) return;
    json_object_set_new(config, "hidden_act", json_string("gelu_pytorch_tanh"));
    notice_add(m->notices, "config.json: hidden_act 'gelu' of a Gemma is read as 'gelu_pytorch_tanh', as "
                           "transformers 5 does; transformers 4 computes the exact GELU");
}

/* The softmax scale that llama.cpp computes. It has no key for it: it recognizes the 27B model by its number
 * of layers, `layers_of_27b`, and uses 1/sqrt(hidden_size / n_heads) there, 1/sqrt(head_dim) in all others.
 */
static double gguf_softmax_scale(const ModelSpec *s, uint32_t layers_of_27b) {
    const LayerSpec *l = &s->layers[0];
    return 1 / sqrt(s->n_layers == layers_of_27b ? s->hidden_size / l->n_heads : l->head_dim);
}

/* GgufArch.softmax_scale: Gemma 2 27B has 46 layers, Gemma 3 27B has 62. */
static double gemma2_scale(const ModelSpec *s) {
    return gguf_softmax_scale(s, 46);
}

static double gemma3_scale(const ModelSpec *s) {
    return gguf_softmax_scale(s, 62);
}

/* Reads the keys that the GGUFs of Gemma 2 and 3 share: the window (`window` is the default in tokens; every
 * `every`-th layer has none, unless the file has a pattern) and the soft cap on logits. `scale` becomes the
 * softmax scale of every layer. */
static bool read_gguf_windows(Model *m, const Checkpoint *c, uint32_t window, uint64_t every, double scale,
                              Error *e) {
    if (!arch_read_window(c, &window, e)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].softmax_scale = scale;
    /* A window longer than any context is how a model without windows is written. */
    if (window >= GGUF_NO_WINDOW) window = 0;
    /* Only now the layers: the pattern needs the window's size. */
    if (window && !arch_read_window_pattern(&m->spec, c, window, every, e)) return false;
    return arch_read_real(c, "final_logit_softcapping", &m->spec.logit_softcap, e) && scale_embeddings(m);
}

/* GgufArch.read of Gemma 2. llama.cpp's defaults are those of config.json: soft caps of 50 and 30, a window
 * of 4096 in every other layer. */
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

/* GgufArch.read of Gemma 3. Without a key for the window all layers see the whole context. There is no soft
 * cap on scores, and llama.cpp's base for layers with a window defaults to 10000. */
static bool read_gemma3_gguf(Model *m, const Checkpoint *c, Error *e) {
    double local = 10000;
    if (!read_gguf_windows(m, c, 0, 6, gemma3_scale(&m->spec), e) ||
        !arch_read_real(c, "rope.freq_base_swa", &local, e))
        return false;
    set_local_base(m, local);
    return true;
}

/* ---- writing ---- */

/* HfClass.softmax_scale: the scale that query_pre_attn_scalar will hold. transformers 5 accepts only whole
 * numbers there, so the nearest one is written and the remaining factor is multiplied into the queries'
 * weights. A value that the source states and no pass changed is kept as it is, even if it is a fraction. */
static double stated_scale(const Model *m) {
    double scale = m->spec.layers[0].softmax_scale;
    if (m->config && scale == m->source_spec.layers[0].softmax_scale) return scale; /* as it stands there */
    return 1 / sqrt(fmax(round(1 / (scale * scale)), 1));
}

/* Writes query_pre_attn_scalar, the inverse square of the softmax scale, as a JSON integer if it is whole up
 * to rounding. */
static void write_scalar(const Model *m, json_t *config) {
    double scale = stated_scale(m), scalar = 1 / (scale * scale), whole = round(scalar);
    bool is_whole = fabs(scalar - whole) < 1e-9 * whole;
    json_object_set_new(config, "query_pre_attn_scalar",
                        is_whole ? json_integer((json_int_t)whole) : json_real(scalar));
}

/* Writes a soft cap, or null where there is none, because an absent key would mean the default. */
static void set_cap(json_t *config, const char *key, double cap) {
    json_object_set_new(config, key, cap > 0 ? json_real(cap) : json_null());
}

/* HfClass.write of Gemma 2: the class fails without a number for the window, so its default of 4096 is
 * written if no layer has one. */
static void write_gemma2(const Model *m, json_t *config) {
    write_scalar(m, config);
    config_set_layer_types(m, config, 4096); /* without a number its class stops */
    set_cap(config, "attn_logit_softcapping", m->spec.layers[0].softcap);
    set_cap(config, "final_logit_softcapping", m->spec.logit_softcap);
}

/* HfClass.write of Gemma 3: Gemma 2's keys and the rope base of layers with a window. If no layer has a
 * window, the base that the source states stays. */
static void write_gemma3(const Model *m, json_t *config) {
    const LayerSpec *windowed = model_layer_by_window(m, true);
    write_gemma2(m, config);
    if (windowed) json_object_set_new(config, "rope_local_base_freq", json_real(windowed->rope_base));
}

/* GgufArch.can of Gemma 2: llama.cpp always applies both soft caps, and expects layers with a window. */
static bool gemma2_gguf_can(const Model *m, char *why, size_t size) {
    if (m->spec.logit_softcap <= 0 || m->spec.layers[0].softcap <= 0)
        return refuse_because(why, size, "always has soft caps");
    if (!model_layer_by_window(m, true)) return refuse_because(why, size, "needs a layer with a window");
    return model_has_one_window_size(m, why, size);
}

/* GgufArch.write of Gemma 2: both soft caps are stated, because llama.cpp's defaults of 50 and 30 need not be
 * the model's. */
static void write_gemma2_gguf(const Model *m, Checkpoint *out) {
    arch_set_f32(out, "attn_logit_softcapping", m->spec.layers[0].softcap);
    arch_set_f32(out, "final_logit_softcapping", m->spec.logit_softcap);
    arch_set_window_pattern(m, out);
}

/* HfClass.can and GgufArch.can of Gemma 3: both formats have one rope base for layers with a window, which is
 * never scaled, and another for the rest, which may be. So all rotating layers of a kind have to agree with
 * the first of that kind, and soft caps on scores cannot be expressed. */
static bool gemma3_can(const Model *m, char *why, size_t size) {
    const LayerSpec *windowed = model_layer_by_window(m, true), *global = model_layer_by_window(m, false);
    /* What neither format can state. */
    if (!model_has_one_window_size(m, why, size)) return false;
    if (m->spec.layers[0].softcap > 0) return refuse_because(why, size, "has no soft cap on scores");
    /* Each rotating layer against the first one of its kind. */
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

/* GgufArch.write of Gemma 3. A model in which no layer has a window gets no keys of windows, from which
 * llama.cpp concludes that all layers see the whole context. */
static void write_gemma3_gguf(const Model *m, Checkpoint *out) {
    const LayerSpec *windowed = model_layer_by_window(m, true);
    if (m->spec.logit_softcap > 0)
        arch_set_f32(out, "final_logit_softcapping", m->spec.logit_softcap);
    else
        arch_remove(out, "final_logit_softcapping");
    if (!windowed) {
        arch_remove_windows(out);
        return;
    }
    arch_set_window_pattern(m, out);
    arch_set_f32(out, "rope.freq_base_swa", windowed->rope_base);
}

/* The key by which transformers 5 makes a Gemma an encoder. */
static const KeyLimit causal_only[] = {
    {"use_bidirectional_attention", 0, "tokens would attend to later ones"}, {NULL, 0, NULL}};

/* The embedding is tied to the LM head in all Gemmas. Gemma 1 is Llama's block with other norms and
 * activation, so it shares Llama's table. */
const Family family_gemma = {
    .name = "gemma",
    .tensors = llama_tensors,
    .model = {.norm_eps = 1e-6, .context = 8192, .tied_head = true, .unit_offset_norm = true},
    .layer = {.rope_base = 10000, .n_kv_heads = 16, .head_dim = 256, .activation = ACT_GELU_TANH},
    .hf = {.model_type = "gemma",
           .since = "4.38",
           .architecture = "GemmaForCausalLM",
           .quirks = HF_ATTENTION_BIAS_KEY,
           .ignores = "hidden_activation",
           .limits = causal_only,
           .amend = amend_gemma,
           .read = read_gemma},
    .gguf = {.arch = "gemma",
             .since = "2024-02",
             .quirks = GGUF_NO_O_BIAS | GGUF_TIED_HEAD,
             .read = read_gemma_gguf},
};

/* From Gemma 2 on the activation is under hidden_activation; the key hidden_act is ignored. */
static const KeyName gemma_keys[] = {{"hidden_act", "hidden_activation"}, {NULL, NULL}};

/* `write_softmax_scale` writes query_pre_attn_scalar when a pass changed the scale; `softmax_scale` tells
 * what that key will hold after rounding. */
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
           .reads = "query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping sliding_window "
                    "layer_types",
           .ignores = "hidden_act cache_implementation",
           .limits = causal_only,
           .quirks = HF_ATTENTION_BIAS_KEY,
           .read = read_gemma2,
           .can = model_has_one_window_size,
           .write = write_gemma2,
           .write_softmax_scale = write_scalar,
           .softmax_scale = stated_scale},
    .gguf = {.arch = "gemma2",
             .since = "2024-06",
             .quirks = GGUF_NO_O_BIAS | GGUF_TIED_HEAD,
             .read = read_gemma2_gguf,
             .can = gemma2_gguf_can,
             .write = write_gemma2_gguf,
             .softmax_scale = gemma2_scale},
};

/* window_base: layers with a window have a rope base of their own, which no scaling applies to. */
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
           .reads = "query_pre_attn_scalar final_logit_softcapping sliding_window sliding_window_pattern "
                    "_sliding_window_pattern layer_types rope_local_base_freq",
           .ignores = "hidden_act cache_implementation",
           .limits = causal_only,
           .window_base = 10000,
           .window_base_key = "rope_local_base_freq",
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
