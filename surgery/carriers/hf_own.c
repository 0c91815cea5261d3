/* HF carriers that keep the class of the source: "own" expresses the model by the class's keys, and
 * "partial-0" and "linear-1e30" turn the rotation of all layers off at once, by rotating 0 dimensions or by
 * dividing all angles by 1e30. They come first in the order of preference because config.json and tensor
 * names stay as they are. Carriers of other classes are in hf_per_layer.c, olmo3.c and single_expert.c. */
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* The rope base for config.json. Layers whose rotation was dropped have kept their base, so there always is
 * one. */
static double stated_base(const Model *m) {
    return model_scaled_layer(m)->rope_base;
}

/* True if no pass changed which layers rotate or which have a window, compared with the source. */
static bool same_layers_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->position != then->position || now->window != then->window) return false;
    }
    return true;
}

/* True if no pass changed the rope base or the rope scaling of any layer. */
static bool same_rotation_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->rope_base != then->rope_base || !rope_scaling_equal(&now->scaling, &then->scaling))
            return false;
    }
    return true;
}

/* ---- own: the class of the source, by its own keys ---- */

/* Whether a class can express a model without a config.json to keep, for families without a hook of their
 * own: all layers have to rotate alike, without windows. Such models come from plain GGUFs. */
static bool uniform_can(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].rotary_dim != m->spec.layers[0].rotary_dim ||
            layer_is_nope(m, &m->spec.layers[i]))
            return refuse_because(why, size, "rotates every layer alike");
    if (!model_all_layers(m, layer_is_global)) return refuse_because(why, size, "has no windows per layer");
    return model_has_one_rotation(m, NULL) ||
           refuse_because(why, size, "supports only one rope base for all layers");
}

/* Replaces the class name of a source with auto_map, which names a class in custom code. Code files are not
 * copied to outputs, so the stock class of the same model type takes its place. */
static void name_stock_class(json_t *config) {
    const char *type = json_get_string(config, "model_type");
    const Family *own = type && json_object_get(config, "auto_map") ? family_by_model_type(type) : NULL;
    if (own) json_object_set_new(config, "architectures", json_pack("[s]", own->hf.architecture));
}

/* Whether the class supports the rope scaling of the layers that rotate; `f->hf.rope_scalings` of 0 means
 * that it supports all kinds. Phi-3's class computes the attention factor of LongRoPE by itself, so a stated
 * one would be ignored. */
static bool takes_scaling(const Model *m, const Family *f, char *why, size_t size) {
    const LayerSpec *l = NULL;
    if (!model_has_one_main_rotation(m, &l))
        return refuse_because(why, size, "supports only one rope base for all layers");
    if (!l || l->scaling.kind == ROPE_SCALING_NONE || !f->hf.rope_scalings) return true;
    if (!(f->hf.rope_scalings >> l->scaling.kind & 1))
        return refuse_because(why, size, "has no rope scaling of the type %s",
                              rope_scaling_name(l->scaling.kind));
    return l->scaling.kind != ROPE_SCALING_LONGROPE || l->scaling.attention_factor == 0 ||
           refuse_because(why, size, "computes LongRoPE's attention factor by itself");
}

/* Carrier.can of "own". If neither layers nor rotation changed, config.json can be kept whatever it says.
 * Otherwise the class needs keys for the change, which the family's hook `can` decides; without a hook, only
 * rope base and scaling may change. */
static bool own_can(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (f->hf.quirks & HF_CUSTOM_CODE)
        return refuse_because(why, size, "is custom code, which no stock runtime has");
    /* Nothing changed: keep config.json. */
    bool layers = m->config && same_layers_as_source(m);
    if (layers && same_rotation_as_source(m)) return true;
    /* Something changed: can the class state it? */
    if (f->hf.carrier && !layers)
        return refuse_because(why, size, "is written by the carrier %s", f->hf.carrier);
    if (!takes_scaling(m, f, why, size)) return false;
    if (f->hf.can)
        return ((f->hf.quirks & HF_NO_ROPE_LAYERS_KEY) || model_keeps_family_rotation(m, why, size)) &&
               f->hf.can(m, why, size);
    if (!m->config) return uniform_can(m, why, size);
    return layers || refuse_because(why, size, "has no keys for rotation or windows per layer");
}

/* Writes the softmax scale if the family has a key for it and a pass changed it, or if there is no
 * config.json yet. */
static void follow_softmax_scale(const Model *m, json_t *config) {
    double before = m->source_spec.layers[0].softmax_scale;
    if (m->family->hf.write_softmax_scale && (!m->config || m->spec.layers[0].softmax_scale != before))
        m->family->hf.write_softmax_scale(m, config);
}

/* The part of config.json that all three carriers share: the class, the settings of layers if these changed,
 * and the softmax scale. Custom code is replaced by the stock class, and its private keys are removed. */
static void start_config(const Model *m, json_t *config) {
    const Family *stock = family_stock(m->family);
    if (!m->config || (m->family->hf.quirks & HF_CUSTOM_CODE))
        config_set_class(config, stock->hf.architecture, stock->name);
    if (m->family->hf.quirks & HF_CUSTOM_CODE) config_leave_family(m->family, config);
    name_stock_class(config);
    if (m->family->hf.write && (!m->config || !same_layers_as_source(m))) m->family->hf.write(m, config);
    follow_softmax_scale(m, config);
}

/* Carrier.write_hf of "own": edits a copy of config.json, so that keys unknown to derope stay. The rotation
 * is only written if it changed. Mistral's class requires head_dim once rope_scaling is written. */
static void own_write(const Model *m, json_t *config) {
    const LayerSpec *l = NULL;
    start_config(m, config);
    /* An unchanged rotation stays in the form in which the source states it. */
    if (m->config && same_rotation_as_source(m)) return;
    model_has_one_main_rotation(m, &l);
    config_set_rope(m->family, config, l, stated_base(m));
    if (m->family->hf.quirks & HF_HEAD_DIM_KEY)
        json_object_set_new(config, "head_dim", json_integer(m->spec.layers[0].head_dim));
}

const Carrier carrier_hf_own = {
    .name = "own",
    .format = FORMAT_HF,
    .says = "the family's own class, by its own keys",
    .needs_o_bias = RULE_BY_FAMILY,
    .interleaved = RULE_BY_FAMILY,
    .can = own_can,
    .write_hf = own_write,
};

/* ---- partial-0: the family's own class, of which partial_rotary_factor 0 rotates no dimension ---- */

/* The conditions that "partial-0" and "linear-1e30" share: no layer that would lose its rotation may still
 * rotate, norms are the class's, and windows are either those of the source or can be written by the family's
 * hook. */
static bool can_without_rotation(const Model *m, char *why, size_t size) {
    if (!model_keeps_family_norms(m, why, size)) return false;
    if (!model_rotation_can_be_scaled_away(m, why, size)) return false;
    bool kept = m->config || m->family->hf.write || model_all_layers(m, layer_is_global);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        kept &= m->spec.layers[i].window == m->source_spec.layers[i].window;
    return kept || refuse_because(why, size, "has no key for windows per layer");
}

/* Carrier.can of "partial-0": only some classes read partial_rotary_factor. */
static bool partial_can(const Model *m, char *why, size_t size) {
    if (!(m->family->hf.quirks & HF_PARTIAL_ROTARY_KEY))
        return refuse_because(why, size, "has no partial_rotary_factor");
    return can_without_rotation(m, why, size);
}

/* Carrier.write_hf of "partial-0": no layer rotates, so no scaling is stated. The key may have a name of the
 * family's own (GPT-NeoX calls it rotary_pct). */
static void partial_write(const Model *m, json_t *config) {
    start_config(m, config);
    config_set_rope(m->family, config, NULL, stated_base(m));
    json_object_set_new(config, config_key(m->family, "partial_rotary_factor"), json_real(0));
}

const Carrier carrier_hf_partial = {
    .name = "partial-0",
    .format = FORMAT_HF,
    .says = "the family's own class, of which partial_rotary_factor 0 rotates no dimension",
    .needs_o_bias = RULE_BY_FAMILY,
    .interleaved = RULE_BY_FAMILY,
    .can = partial_can,
    .write_hf = partial_write,
};

/* ---- linear-1e30: the family's own class, whose rope scaling divides all angles by 1e30 ---- */

/* Carrier.can of "linear-1e30": the class needs a rope scaling that only has a factor. In classes with a
 * separate rope base for layers with a window (Gemma 3, OLMo 3), the family's hook knows what else has to
 * hold. */
static bool linear_can(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (!can_without_rotation(m, why, size)) return false;
    if (f->hf.rope_scalings &&
        !(f->hf.rope_scalings & (1u << ROPE_SCALING_LINEAR | 1u << ROPE_SCALING_LLAMA3)))
        return refuse_because(why, size, "has no rope scaling by a factor alone");
    if (f->hf.carrier) return refuse_because(why, size, "is written by the carrier %s", f->hf.carrier);
    if (f->window_base && f->hf.can && !f->hf.can(m, why, size)) return false;
    return true;
}

/* Restores no_rope_layers as the source had it, or as the family is published if there is no config.json.
 * Llama 4 derives from this list not only the rotation but also norms of queries and keys and the attention
 * temperature, which have to stay; the scaling alone turns the rotation off. */
static void keep_rotation_list(const Model *m, json_t *config) {
    json_t *list = m->config ? json_incref(json_object_get(m->config, "no_rope_layers")) : json_array();
    for (uint32_t i = 0; !m->config && i < m->spec.n_layers; i++)
        json_array_append_new(list, json_integer(m->family->rotates(m, i)));
    json_object_del(config, "no_rope_layers");
    if (list) json_object_set_new(config, "no_rope_layers", list);
}

/* Carrier.write_hf of "linear-1e30": a class that does not support linear scaling gets llama3, with bands
 * chosen so that every frequency is scaled. */
static void linear_write(const Model *m, json_t *config) {
    start_config(m, config);
    RopeScalingKind kind =
        m->family->hf.rope_scalings >> ROPE_SCALING_LINEAR & 1 || !m->family->hf.rope_scalings
            ? ROPE_SCALING_LINEAR
            : ROPE_SCALING_LLAMA3;
    LayerSpec l = {
        .position = POSITION_NOPE, .rope_base = stated_base(m), .scaling = rope_scaling_to_zero(kind)};
    config_set_rope(m->family, config, &l, 0);
    if (m->family->hf.quirks & HF_NO_ROPE_LAYERS_KEY) keep_rotation_list(m, config);
}

const Carrier carrier_hf_linear = {
    .name = "linear-1e30",
    .format = FORMAT_HF,
    .says = "the family's own class, whose angles a rope scaling by 1e30 makes 0",
    .caveat = "runtimes that size caches by the factor of the rope scaling fail",
    .needs_o_bias = RULE_BY_FAMILY,
    .interleaved = RULE_BY_FAMILY,
    .can = linear_can,
    .write_hf = linear_write,
};
