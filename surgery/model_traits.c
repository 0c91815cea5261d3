/* Questions about a model that families and carriers ask before an export: can this architecture express that
 * model? Each function looks at the spec alone, or compares it with what the family or the source was; none
 * changes anything. Functions that take `why` write the reason for a refusal into it, as the rest of a
 * sentence that begins with the architecture's name. */
#include "surgery/model_traits.h"

#include <stdarg.h>
#include <stdio.h>

#include "surgery/rope_frequencies.h"

/* Always returns false, so that a test can end with `return refuse_because(...)`. */
bool refuse_because(char *why, size_t size, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, size, fmt, ap);
    va_end(ap);
    return false;
}

/* Tests have the signature of layer_rotates and its neighbours; a family may bring one of its own. */
bool model_all_layers(const Model *m, bool (*test)(const Model *m, const LayerSpec *l)) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (!test(m, &m->spec.layers[i])) return false;
    return true;
}

/* Partial rotation does not count: only a few architectures have a key for it. */
bool layer_rotates(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->position == POSITION_ROPE;
}

/* NoPE: queries and keys are not rotated at all. */
bool layer_is_nope(const Model *m, const LayerSpec *l) {
    (void)m;
    return l->position == POSITION_NOPE;
}

/* Layers without experts have an MLP of another size, so sizes of experts are read from a layer that has
 * some. */
const LayerSpec *model_moe_layer(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].n_experts) return &m->spec.layers[i];
    return &m->spec.layers[0];
}

/* What matters is the context that the output will state: set_context may raise it above the trained one, and
 * a window that hid nothing before may then hide something. */
bool layer_is_global(const Model *m, const LayerSpec *l) {
    uint64_t context = m->new_context > m->spec.context ? m->new_context : m->spec.context;
    return l->window == 0 || l->window >= context;
}

/* Layers without rotation do not take part: their base and scaling have no effect. */
bool model_has_one_rotation(const Model *m, const LayerSpec **found) {
    const LayerSpec *first = NULL;
    bool same = true;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE) continue;
        if (!first) first = l;
        same &= layer_rope_equal(l, first);
    }
    if (found) *found = first;
    return same;
}

/* Families state a window once, and read it from the first layer that has one. */
const LayerSpec *model_layer_by_window(const Model *m, bool windowed) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if ((m->spec.layers[i].window != 0) == windowed) return &m->spec.layers[i];
    return NULL;
}

/* The window of the first layer that has one, in tokens; 0 if none has. */
uint32_t model_window(const Model *m) {
    const LayerSpec *l = model_layer_by_window(m, true);
    return l ? l->window : 0;
}

/* Lists like layer_types say which layers have a window; its size is a single key in every architecture. */
bool model_has_one_window_size(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window && m->spec.layers[i].window != model_window(m))
            return refuse_because(why, size, "supports only one window size");
    return true;
}

/* For architectures that have a key for the window but no list of layers. */
bool model_has_one_window(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].window != m->spec.layers[0].window)
            return refuse_because(why, size, "supports a window in all layers or in none");
    return true;
}

/* A key like attention_multiplier holds one scale for all layers. A model whose layers differ (after
 * scale_attention on some of them) cannot use it. */
bool model_has_one_softmax_scale(const Model *m) {
    for (uint32_t i = 1; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].softmax_scale != m->spec.layers[0].softmax_scale) return false;
    return true;
}

/* Granite's multipliers, which most architectures have no keys for. */
bool model_has_no_multipliers(const Model *m) {
    return m->spec.embedding_scale == 1 && m->spec.residual_scale == 1 && m->spec.logit_scale == 1;
}

/* m->neutral_sinks is set where all sinks are so low (-1e4) that exp(sink) is 0: dropping them changes no
 * output, so carriers without sinks can write such a model. */
bool model_has_sinks(const Model *m) {
    return m->spec.layers[0].sinks && !m->neutral_sinks;
}

/* One layer with norms is enough, because an architecture has them in all layers or has no tensors for them.
 */
bool model_has_qk_norm(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].q_norm != QK_NORM_NONE || m->spec.layers[i].k_norm != QK_NORM_NONE) return true;
    return false;
}

/* DroPE's custom code has norms on queries and keys under model types whose stock classes have none. Llama 4
 * is left out because its spec says of each layer whether it norms (QK_NORM_UNIT), and its own hook checks
 * that. */
bool model_keeps_family_norms(const Model *m, char *why, size_t size) {
    const LayerSpec *own = &m->family->layer;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->q_norm == own->q_norm && l->k_norm == own->k_norm) continue;
        if (own->q_norm == QK_NORM_UNIT) continue; /* it says so of each layer */
        return refuse_because(why, size, "has %s norms on queries and keys",
                              own->q_norm == QK_NORM_NONE ? "no" : "other");
    }
    return true;
}

/* Some families never rotate certain layers, which a class then does by itself: dropping the rotation of just
 * those layers is no change. Without a `rotates` hook every layer rotates. */
bool model_keeps_family_rotation(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (layer_is_nope(m, &m->spec.layers[i]) == (!f->rotates || f->rotates(m, i)))
            return refuse_because(why, size, "rotates in %s",
                                  f->rotates_where ? f->rotates_where : "every layer");
    return true;
}

/* Whether a rope scaling reaches the layer. In Gemma 3 and OLMo 3 layers with a window have a base of their
 * own that is never scaled. */
static bool is_scaled(const Model *m, const LayerSpec *l) {
    return !(m->family->window_base && l->window);
}

/* A scaling by 1e30 is one key for all layers that are scaled. So it fits if those layers have no rotation
 * and all others have it. */
bool model_rotation_can_be_scaled_away(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        bool scaled = is_scaled(m, l);
        if (!scaled && layer_is_nope(m, l))
            return refuse_because(why, size, "does not scale the rotation of layers with a window");
        if (scaled && !layer_is_nope(m, l))
            return refuse_because(why, size, "stops the rotation of all layers%s or of none",
                                  m->family->window_base ? " without a window" : "");
    }
    return true;
}

/* The first layer that a rope scaling reaches. Its base is what a configuration states as rope_theta. */
const LayerSpec *model_scaled_layer(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (is_scaled(m, &m->spec.layers[i])) return &m->spec.layers[i];
    return &m->spec.layers[0];
}

/* Whether all layers that rotate by the main rotation agree; layers with a window do not count in families
 * that give these a base of their own (is_scaled). */
bool model_has_one_main_rotation(const Model *m, const LayerSpec **found) {
    *found = NULL;
    bool same = true;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_NOPE || !is_scaled(m, l)) continue;
        if (!*found) *found = l;
        same &= layer_rope_equal(l, *found);
    }
    return same;
}

/* The block of Llama, which most of the borrowed architectures have. The order of the questions is that of
 * the block, so that the first reason given is the most telling one. */
bool model_has_standard_layers(const Model *m, char *why, size_t size) {
    const ModelSpec *s = &m->spec;
    if (s->norm != NORM_RMS) return refuse_because(why, size, "supports RMSNorm only");
    if (s->head_bias || s->logit_softcap > 0)
        return refuse_because(why, size, "has neither a bias nor a soft cap on logits");
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        if (l->no_pre_norms || l->post_norms || l->residual_layout != RESIDUAL_SEQUENTIAL)
            return refuse_because(
                why, size, "requires one norm before attention and one before the MLP, one after the other");
        if (l->no_gate || l->activation != ACT_SILU) return refuse_because(why, size, "supports SwiGLU only");
        if (l->softcap > 0) return refuse_because(why, size, "has no soft cap on scores");
        if (l->chunked && !layer_is_global(m, l))
            return refuse_because(why, size, "supports sliding windows, not chunks");
        if (l->temperature_scale)
            return refuse_because(why, size, "does not scale queries by their position");
    }
    /* Last, because it is the least of what Gemma's block has of its own. */
    return !s->unit_offset_norm ||
           refuse_because(why, size, "multiplies by the weight of a norm, and not by 1 + the weight");
}

/* Granite SWA's mixture: transformers has one number of experts for all layers and a softmax over the chosen
 * ones. */
bool model_has_uniform_experts(const Model *m, char *why, size_t size) {
    const LayerSpec *first = &m->spec.layers[0];
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (!l->n_experts) return refuse_because(why, size, "requires experts in every layer");
        if (l->n_experts != first->n_experts || l->top_k != first->top_k)
            return refuse_because(why, size, "requires the same number of experts in every layer");
        if (l->routing != ROUTING_OF_CHOSEN)
            return refuse_because(why, size, "weights experts by a softmax over those chosen");
        if (l->shared_expert || l->router_bias || l->mlp_bias)
            return refuse_because(why, size, "has no shared expert and no biases in the MLP");
    }
    return true;
}

/* A plain MLP in every layer, beside what model_has_standard_layers asks. */
bool model_has_standard_dense_layers(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].n_experts) return refuse_because(why, size, "has no experts");
    return model_has_standard_layers(m, why, size);
}
