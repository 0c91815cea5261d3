/* The carriers of GGUF files (llama.cpp's src/models). */
#include <math.h>
#include <string.h>

#include "formats/meta.h"
#include "surgery/carrier.h"
#include "surgery/family.h"

void gguf_write_real(Checkpoint *out, const char *suffix, double v) {
    char key[128];
    double there;
    if (meta_f64(out, arch_key(key, out, suffix), &there) && (float)there == (float)v) return;
    meta_set_f32(out, key, (float)v);
}

static void set_longrope(Checkpoint *out, const RopeScaling *r) {
    char key[128];
    meta_set_u32(out, arch_key(key, out, "rope.scaling.original_context_length"),
                 (uint32_t)r->original_context);
    gguf_write_real(out, "rope.scaling.attn_factor",
                    r->attention_factor > 0 ? r->attention_factor : rope_usual_factor(r));
}

void gguf_set_rope(const Model *m, Checkpoint *out, const LayerSpec *l) {
    static const char *const keys[] = {"rope.scaling.type",
                                       "rope.scaling.factor",
                                       "rope.scaling.original_context_length",
                                       "rope.scaling.attn_factor",
                                       "rope.scaling.yarn_beta_fast",
                                       "rope.scaling.yarn_beta_slow",
                                       "rope.scaling.yarn_attn_factor"};
    char key[128];
    gguf_write_real(out, "rope.freq_base", l->rope_base);
    uint64_t dim;
    if (!meta_u64(out, arch_key(key, out, "rope.dimension_count"), &dim) || dim != l->rotary_dim)
        meta_set_u32(out, key, l->rotary_dim ? l->rotary_dim : l->head_dim);
    const RopeScaling *r = &l->scaling;
    if (r->kind != ROPE_SCALING_LINEAR && r->kind != ROPE_SCALING_YARN) {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            meta_remove(out, arch_key(key, out, keys[i]));
        if (r->kind == ROPE_SCALING_LONGROPE) set_longrope(out, r);
        return;
    }
    const char *type = rope_scaling_name(r->kind);
    meta_set_string(out, arch_key(key, out, "rope.scaling.type"), type, strlen(type));
    gguf_write_real(out, "rope.scaling.factor", r->factor);
    if (r->kind != ROPE_SCALING_YARN) return;
    double original = r->original_context > 0 ? r->original_context : m->spec.context;
    meta_set_u32(out, arch_key(key, out, "rope.scaling.original_context_length"), (uint32_t)original);
    gguf_write_real(out, "rope.scaling.yarn_beta_fast", r->beta_fast);
    gguf_write_real(out, "rope.scaling.yarn_beta_slow", r->beta_slow);
    /* a factor on top of the usual one */
    if (r->attention_factor > 0 || meta_find(out, arch_key(key, out, "rope.scaling.attn_factor")))
        gguf_write_real(out, "rope.scaling.attn_factor",
                        r->attention_factor > 0 ? r->attention_factor / rope_usual_factor(r) : 1);
}

void write_gguf_window_pattern(const Model *m, Checkpoint *out) {
    char key[128];
    uint32_t n = m->spec.n_layers, window = window_size(m);
    uint8_t *windowed = arena_alloc(&out->arena, n);
    for (uint32_t i = 0; i < n; i++)
        windowed[i] = m->spec.layers[i].window != 0;
    /* llama.cpp wants a windowed layer: one whose window is longer than any text is as good as none */
    if (!window) windowed[0] = 1;
    meta_set_u32(out, arch_key(key, out, "attention.sliding_window"), window ? window : GGUF_NO_WINDOW);
    meta_set_array(out, arch_key(key, out, "attention.sliding_window_pattern"), META_BOOL, windowed, n);
}

/* ---- the family's own architecture ---- */

static const char *own_arch(const Model *m) {
    return m->family->gguf.arch;
}

static bool own_interleaved(const Model *m) {
    return (m->family->gguf.quirks & GGUF_INTERLEAVED_ROPE) != 0;
}

static bool can_scale(const Model *m, char *why, size_t size) {
    const LayerSpec *l = NULL;
    if (!main_rotation(m, &l)) return cannot(why, size, "has one rope base for all layers");
    if (l && l->scaling.kind == ROPE_SCALING_DYNAMIC) return cannot(why, size, "has no dynamic NTK scaling");
    if (l && l->scaling.kind == ROPE_SCALING_YARN &&
        (l->scaling.beta_fast != 32 || l->scaling.beta_slow != 1 ||
         (!l->scaling.truncate && !(m->family->gguf.quirks & GGUF_ROUNDED_YARN))))
        return cannot(why, size, "computes YaRN's ramp by itself, from 32 turns to 1");
    return true;
}

/* Tables of divisors are read by the architectures that ask for them; linear and YaRN by all. */
static bool own_tables(const Model *m, char *why, size_t size) {
    const LayerSpec *l = NULL;
    main_rotation(m, &l);
    if (!l || m->family->gguf.rope_scalings >> l->scaling.kind & 1) return true;
    if (l->scaling.kind == ROPE_SCALING_LONGROPE) return cannot(why, size, "has no LongRoPE");
    return l->scaling.kind != ROPE_SCALING_LLAMA3 || cannot(why, size, "has no Llama 3 frequency bands");
}

/* Everything of the family's own architecture but its rotation. */
static bool own_block(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (!f->gguf.arch) return cannot(why, size, "is not known to llama.cpp");
    if (f->gguf.carrier) return cannot(why, size, "is written by the carrier %s", f->gguf.carrier);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].activation != f->layer.activation)
            return cannot(why, size, "has one activation, whatever the configuration says");
    if ((f->gguf.quirks & GGUF_NO_O_BIAS) && m->spec.layers[0].o_bias)
        return cannot(why, size, "has no bias after attention");
    if (!family_norms(m, why, size)) return false;
    if (f->gguf.can) return f->gguf.can(m, why, size);
    return all_layers(m, layer_is_global) || cannot(why, size, "has no windows per layer");
}

static bool own_can(const Model *m, char *why, size_t size) {
    if (!can_scale(m, why, size) || !own_tables(m, why, size) || !own_block(m, why, size)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].position == POSITION_PARTIAL && own_interleaved(m))
            return cannot(why, size, "rotates whole heads only");
    return family_rotation(m, why, size);
}

void gguf_write_multipliers(const Model *m, Checkpoint *out) {
    gguf_write_real(out, "embedding_scale", m->spec.embedding_scale);
    gguf_write_real(out, "residual_scale", m->spec.residual_scale);
    gguf_write_real(out, "logit_scale", 1 / m->spec.logit_scale);
    gguf_write_real(out, "attention.scale", m->spec.layers[0].softmax_scale);
}

static void own_write(const Model *m, Checkpoint *out) {
    const LayerSpec *l = NULL;
    if (main_rotation(m, &l) && l) gguf_set_rope(m, out, l);
    if (m->family->gguf.write) m->family->gguf.write(m, out);
}

static const char *own_notice(const Model *m) {
    const LayerSpec *l = NULL;
    bool exact = !main_rotation(m, &l) || !l || l->scaling.kind != ROPE_SCALING_YARN || l->scaling.truncate;
    return exact ? NULL
                 : "llama.cpp rounds the ends of YaRN's ramp to whole dimensions, which this model does not: "
                   "its logits differ a little there";
}

const Carrier carrier_gguf_own = {
    .name = "own",
    .format = FORMAT_GGUF,
    .says = "the family's own architecture, by its own keys",
    .runtimes = "llama.cpp",
    .interleaved = own_interleaved,
    .can = own_can,
    .write_gguf = own_write,
    .notice = own_notice,
    .arch = own_arch,
};

/* ---- Granite without rotation: rope.scaling.finetuned = false ---- */

static const char *granite_arch(const Model *m) {
    (void)m;
    return "granite";
}

static bool granite_can(const Model *m, char *why, size_t size) {
    if (!llama_block(m, why, size)) return false;
    if (!all_layers(m, layer_is_nope)) return cannot(why, size, "rotates in all layers or in none");
    if (!all_layers(m, layer_is_global)) return cannot(why, size, "has no windows");
    if (!one_softmax_scale(m)) return cannot(why, size, "has one softmax scale for all layers");
    if (has_sinks(m)) return cannot(why, size, "has no attention sinks");
    if (has_qk_norm(m)) return cannot(why, size, "has no norms on queries and keys");
    return true;
}

static void granite_write(const Model *m, Checkpoint *out) {
    LayerSpec l = m->spec.layers[0];
    l.scaling = (RopeScaling){0};
    l.rotary_dim = l.head_dim;
    gguf_set_rope(m, out, &l);
    meta_set_bool(out, "granite.rope.scaling.finetuned", false);
    gguf_write_multipliers(m, out);
}

const Carrier carrier_gguf_granite = {
    .name = "granite",
    .format = FORMAT_GGUF,
    .says = "rope.scaling.finetuned = false means no rotation at all",
    .tensors = llama_tensors,
    .runtimes = "llama.cpp (2025 and later)",
    .holds_scale = true,
    .interleaved = always,
    .can = granite_can,
    .write_gguf = granite_write,
    .arch = granite_arch,
};

/* ---- Granite SWA: rotation and windows per layer ---- */

static const char *swa_arch(const Model *m) {
    (void)m;
    return "granite_swa";
}

static bool swa_can(const Model *m, char *why, size_t size) {
    bool block = mixture_layer(m)->n_experts ? llama_layers(m, why, size) && plain_mixture(m, why, size)
                                             : llama_block(m, why, size);
    if (!block || !can_scale(m, why, size)) return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_PARTIAL) return cannot(why, size, "rotates whole heads only");
        if (l->scaling.kind == ROPE_SCALING_LLAMA3)
            return cannot(why, size, "has no Llama 3 frequency bands");
        if (l->scaling.kind == ROPE_SCALING_LONGROPE) return cannot(why, size, "has no LongRoPE");
    }
    if (!one_window_size(m, why, size)) return false;
    if (!one_softmax_scale(m)) return cannot(why, size, "has one softmax scale for all layers");
    if (has_qk_norm(m)) return cannot(why, size, "has no norms on queries and keys");
    /* llama.cpp stops on inputs that no layer reads */
    if (all_layers(m, layer_is_nope)) return cannot(why, size, "needs a layer that rotates");
    if (!layer_by_window(m, false))
        return cannot(why, size, "needs a layer without a window (--sliding-window 0:LAYERS)");
    return true;
}

static void swa_write(const Model *m, Checkpoint *out) {
    char key[128];
    const LayerSpec *rotating = NULL;
    one_rotation(m, &rotating);
    LayerSpec l = rotating ? *rotating : m->spec.layers[0];
    if (!rotating) l.rotary_dim = l.head_dim;
    gguf_set_rope(m, out, &l);
    uint32_t n = m->spec.n_layers, *rotates = arena_alloc(&out->arena, n * sizeof *rotates);
    for (uint32_t i = 0; i < n; i++)
        rotates[i] = m->spec.layers[i].position != POSITION_NOPE;
    write_gguf_window_pattern(m, out);
    meta_set_array(out, arch_key(key, out, "attention.rope_pattern"), META_U32, rotates, n);
    gguf_write_multipliers(m, out);
}

const Carrier carrier_gguf_granite_swa = {
    .name = "granite_swa",
    .format = FORMAT_GGUF,
    .says = "attention.rope_pattern and attention.sliding_window_pattern say it of each layer",
    .tensors = granite_swa_tensors,
    .runtimes = "llama.cpp (autumn 2026 and later)",
    .holds_scale = true,
    .needs_sinks = true,
    .interleaved = always,
    .can = swa_can,
    .write_gguf = swa_write,
    .arch = swa_arch,
};

/* ---- the family's own, with angles divided by 1e30 ---- */

static bool linear_can(const Model *m, char *why, size_t size) {
    if (!factor_stops(m, why, size)) return false;
    if (has_sinks(m) && !m->family->layer.sinks) return cannot(why, size, "has no attention sinks");
    return own_block(m, why, size);
}

static void linear_write(const Model *m, Checkpoint *out) {
    LayerSpec l = *scaled_layer(m);
    l.rotary_dim = l.head_dim;
    l.scaling = rope_stopped(ROPE_SCALING_LINEAR);
    gguf_set_rope(m, out, &l);
    if (m->family->gguf.write) m->family->gguf.write(m, out);
}

const Carrier carrier_gguf_linear = {
    .name = "linear-1e30",
    .format = FORMAT_GGUF,
    .says = "the family's own architecture, whose angles rope.scaling.factor 1e30 makes 0",
    .runtimes = "llama.cpp, any version",
    .interleaved = own_interleaved,
    .can = linear_can,
    .write_gguf = linear_write,
    .arch = own_arch,
};
