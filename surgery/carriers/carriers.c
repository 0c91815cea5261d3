#include "surgery/carrier.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* In order of preference: the plainest first. */
#define CARRIERS(C)                                                                                          \
    C(hf_own)                                                                                                \
    C(hf_smollm3)                                                                                            \
    C(hf_granite_swa)                                                                                        \
    C(hf_granitemoe_swa)                                                                                     \
    C(hf_partial)                                                                                            \
    C(hf_olmoe)                                                                                              \
    C(hf_linear)                                                                                             \
    C(hf_olmo3)                                                                                              \
    C(gguf_own)                                                                                              \
    C(gguf_granite)                                                                                          \
    C(gguf_granite_swa)                                                                                      \
    C(gguf_olmoe)                                                                                            \
    C(gguf_linear)

#define DECLARED(name) extern const Carrier carrier_##name;
#define LISTED(name) &carrier_##name,

CARRIERS(DECLARED)

const Carrier *const carriers[] = {CARRIERS(LISTED) NULL};

/* ---- what a spec is like ---- */

bool always(const Model *m) {
    (void)m;
    return true;
}

bool all_layers(const Model *m, bool (*test)(const Model *m, const LayerSpec *l)) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!test(m, &m->spec.layers[i])) return false;
    return true;
}

bool layer_rotates(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->position == POSITION_ROPE;
}

bool layer_is_nope(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->position == POSITION_NOPE;
}

const LayerSpec *mixture_layer(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].n_experts) return &m->spec.layers[i];
    return &m->spec.layers[0];
}

bool layer_is_global(const Model *m, const LayerSpec *l) {
    uint64_t context = m->new_context > m->spec.context ? m->new_context : m->spec.context;
    return l->window == 0 || l->window >= context;
}

bool same_rotation(const LayerSpec *a, const LayerSpec *b) {
    return a->rope_base == b->rope_base && a->rotary_dim == b->rotary_dim &&
           rope_scaling_equal(&a->scaling, &b->scaling);
}

bool one_rotation(const Model *m, const LayerSpec **found) {
    const LayerSpec *first = NULL;
    bool same = true;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE) continue;
        if (!first) first = l;
        same &= same_rotation(l, first);
    }
    if (found) *found = first;
    return same;
}

const LayerSpec *layer_by_window(const Model *m, bool windowed) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if ((m->spec.layers[i].window != 0) == windowed) return &m->spec.layers[i];
    return NULL;
}

uint32_t window_size(const Model *m) {
    const LayerSpec *l = layer_by_window(m, true);
    return l ? l->window : 0;
}

bool one_window_size(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window && m->spec.layers[i].window != window_size(m))
            return cannot(why, size, "has one window size for all windowed layers");
    return true;
}

bool one_window_for_all(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window != m->spec.layers[0].window)
            return cannot(why, size, "has a window in all layers or in none");
    return true;
}

bool one_softmax_scale(const Model *m) {
    for (uint32_t i = 1; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].softmax_scale != m->spec.layers[0].softmax_scale) return false;
    return true;
}

bool plain_multipliers(const Model *m) {
    return m->spec.embedding_scale == 1 && m->spec.residual_scale == 1 && m->spec.logit_scale == 1;
}

bool has_sinks(const Model *m) {
    return m->spec.layers[0].sinks && !m->neutral_sinks;
}

bool has_qk_norm(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].q_norm != QK_NORM_NONE || m->spec.layers[i].k_norm != QK_NORM_NONE) return true;
    return false;
}

bool family_norms(const Model *m, char *why, size_t size) {
    const LayerSpec *own = &m->family->layer;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->q_norm == own->q_norm && l->k_norm == own->k_norm) continue;
        if (own->q_norm == QK_NORM_UNIT) continue; /* it says so of each layer */
        return cannot(why, size, "has %s norms on queries and keys",
                      own->q_norm == QK_NORM_NONE ? "no" : "other");
    }
    return true;
}

bool family_rotation(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (layer_is_nope(m, &m->spec.layers[i]) == (!f->rotates || f->rotates(m, i)))
            return cannot(why, size, "rotates in %s", f->rotates_where ? f->rotates_where : "every layer");
    return true;
}

/* Layers with a window may have a base of their own, which nothing scales. */
static bool is_scaled(const Model *m, const LayerSpec *l) {
    return !(m->family->window_base && l->window);
}

bool factor_stops(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        bool scaled = is_scaled(m, l);
        if (!scaled && layer_is_nope(m, l))
            return cannot(why, size, "does not scale the rotation of layers with a window");
        if (scaled && !layer_is_nope(m, l))
            return cannot(why, size, "stops the rotation of all layers%s or of none",
                          m->family->window_base ? " without a window" : "");
    }
    return true;
}

const LayerSpec *scaled_layer(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (is_scaled(m, &m->spec.layers[i])) return &m->spec.layers[i];
    return &m->spec.layers[0];
}

bool main_rotation(const Model *m, const LayerSpec **found) {
    *found = NULL;
    bool same = true;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE || !is_scaled(m, l)) continue;
        if (!*found) *found = l;
        same &= same_rotation(l, *found);
    }
    return same;
}

bool llama_layers(const Model *m, char *why, size_t size) {
    const ModelSpec *s = &m->spec;
    if (s->norm != NORM_RMS || s->unit_offset_norm) return cannot(why, size, "has RMSNorm");
    if (s->head_bias || s->logit_softcap > 0)
        return cannot(why, size, "has neither a bias nor a soft cap on logits");
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        if (l->no_pre_norms || l->post_norms || l->residual_layout != RESIDUAL_SEQUENTIAL)
            return cannot(why, size,
                          "has one norm before attention and one before the MLP, one after the other");
        if (l->no_gate || l->activation != ACT_SILU) return cannot(why, size, "has SwiGLU");
        if (l->softcap > 0) return cannot(why, size, "has no soft cap on scores");
        if (l->chunked && !layer_is_global(m, l)) return cannot(why, size, "has windows, not chunks");
        if (l->temperature_scale) return cannot(why, size, "does not scale queries by their position");
    }
    return true;
}

bool plain_mixture(const Model *m, char *why, size_t size) {
    const LayerSpec *first = &m->spec.layers[0];
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (!l->n_experts) return cannot(why, size, "has experts in every layer");
        if (l->n_experts != first->n_experts || l->top_k != first->top_k)
            return cannot(why, size, "has the same number of experts in every layer");
        if (l->routing != ROUTING_OF_CHOSEN)
            return cannot(why, size, "weights experts by a softmax over those chosen");
        if (l->shared_expert || l->router_bias || l->mlp_bias)
            return cannot(why, size, "has no shared expert and no biases in the MLP");
    }
    return true;
}

bool llama_block(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].n_experts) return cannot(why, size, "has no experts");
    return llama_layers(m, why, size);
}

bool cannot(char *why, size_t size, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, size, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- choosing ---- */

/* A softmax scale of its own goes into a key, the queries' projection or their norm's weight; a norm without
 * one undoes it. */
static bool scale_has_place(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->q_norm == QK_NORM_UNIT && fabs(l->softmax_scale * sqrt(l->head_dim) - 1) > 1e-7) return false;
    }
    return true;
}

static bool carrier_can(const Carrier *c, const Model *m, char *why, size_t size) {
    if (!c->holds_scale && !scale_has_place(m))
        return cannot(why, size, "has no key for the softmax scale, and norms queries without a weight");
    return c->can(m, why, size);
}

static void list_reasons(const Model *m, Format format, Buffer *out) {
    for (const Carrier *const *c = carriers; *c; c++) {
        char why[200] = "";
        if ((*c)->format == format && !carrier_can(*c, m, why, sizeof why))
            buffer_printf(out, "%s%s: %s", out->size ? "; " : "", (*c)->name, why);
    }
}

static json_t *explain_all(const Model *m, Format format) {
    json_t *list = json_array();
    for (const Carrier *const *c = carriers; *c; c++) {
        if ((*c)->format != format) continue;
        char why[200] = "";
        bool can = carrier_can(*c, m, why, sizeof why);
        json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:s}", "carrier", (*c)->name, "can", can,
                                              "why", why, "runtimes", (*c)->runtimes));
    }
    return list;
}

json_t *carrier_because(const Model *m, const Carrier *chosen) {
    json_t *reasons = json_object();
    for (const Carrier *const *c = carriers; *c != chosen; c++) {
        char why[200] = "could, but another was asked for";
        if ((*c)->format != chosen->format) continue;
        carrier_can(*c, m, why, sizeof why);
        json_object_set_new(reasons, (*c)->name, json_string(why));
    }
    return reasons;
}

const Carrier *carrier_pick(const Model *m, Format format, const char *name, json_t **explain, Error *e) {
    if (explain) *explain = explain_all(m, format);
    bool known = false;
    for (const Carrier *const *c = carriers; *c; c++) {
        char why[200] = "";
        if ((*c)->format != format) continue;
        if (name && strcmp(name, (*c)->name) != 0) continue;
        known = true;
        if (carrier_can(*c, m, why, sizeof why)) return *c;
        if (name) {
            error_set(e, ERR_FAILED, "the carrier %s cannot express this: it %s", name, why);
            return NULL;
        }
    }
    Buffer reasons = {0};
    if (name && !known) {
        for (const Carrier *const *c = carriers; *c; c++)
            if ((*c)->format == format) buffer_printf(&reasons, "%s%s", reasons.size ? ", " : "", (*c)->name);
        error_set(e, ERR_USAGE, "there is no %s carrier '%.40s' (%s)", format == FORMAT_GGUF ? "GGUF" : "HF",
                  name, buffer_string(&reasons));
    } else {
        list_reasons(m, format, &reasons);
        error_set(e, ERR_FAILED,
                  "no stock architecture of %s can express this model: %s. What could be carried: %s",
                  format == FORMAT_GGUF ? "llama.cpp" : "transformers", buffer_string(&reasons),
                  format == FORMAT_GGUF
                      ? "all layers rotating or none, without windows; or a mixture with one window "
                        "size, one rope base, no llama3 or dynamic scaling, at least one layer that "
                        "rotates and one without a window"
                      : "any mixture with one window size, one rope base and one rope scaling");
    }
    buffer_free(&reasons);
    return NULL;
}
