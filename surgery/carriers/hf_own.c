/* HF carriers that stay with the class of the source: own, and two that turn the rotation of the class off as
 * a whole. */
#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/config_read.h"
#include "surgery/config_write.h"
#include "surgery/families/families.h"
#include "surgery/model_traits.h"
#include "surgery/rope_frequencies.h"

/* The rope base that a configuration states. Layers that no longer rotate have kept theirs. */
static double stated_base(const Model *m) {
    return model_scaled_layer(m)->rope_base;
}

/* Whether passes left alone which layers rotate and which have a window. */
static bool same_layers_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->position != then->position || now->window != then->window) return false;
    }
    return true;
}

/* Whether passes left alone base and scaling of every layer. */
static bool same_rotation_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->rope_base != then->rope_base || !rope_scaling_equal(&now->scaling, &then->scaling))
            return false;
    }
    return true;
}

/* ---- own: the class of the source, by its own keys ---- */

/* What a class can say when there is no config.json to keep, because the source is a plain GGUF, and the
 * family has no hook that knows better: all layers are alike. */
static bool uniform_can(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].rotary_dim != m->spec.layers[0].rotary_dim ||
            layer_is_nope(m, &m->spec.layers[i]))
            return refuse_because(why, size, "rotates every layer alike");
    if (!model_all_layers(m, layer_is_global)) return refuse_because(why, size, "has no windows per layer");
    return model_has_one_rotation(m, NULL) ||
           refuse_because(why, size, "supports only one rope base for all layers");
}

/* A source with auto_map names a class of custom code. Code is not kept, so the stock class of its model type
 * takes its place. */
static void name_stock_class(json_t *config) {
    const char *type = json_get_string(config, "model_type");
    const Family *own = type && json_object_get(config, "auto_map") ? family_by_model_type(type) : NULL;
    if (own) json_object_set_new(config, "architectures", json_pack("[s]", own->hf.architecture));
}

/* Whether the class knows the rope scaling of the layers that rotate. Phi-3's class computes the attention
 * factor of LongRoPE by itself. */
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

/* Where neither layers nor rotation changed, config.json is kept as it is, whatever it says. Otherwise the
 * class has to have keys for the change. */
static bool own_can(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (f->hf.quirks & HF_CUSTOM_CODE)
        return refuse_because(why, size, "is custom code, which no stock runtime has");
    bool layers = m->config && same_layers_as_source(m);
    if (layers && same_rotation_as_source(m)) return true;
    if (f->hf.carrier && !layers)
        return refuse_because(why, size, "is written by the carrier %s", f->hf.carrier);
    if (!takes_scaling(m, f, why, size)) return false;
    if (f->hf.can)
        return ((f->hf.quirks & HF_NO_ROPE_LAYERS_KEY) || model_keeps_family_rotation(m, why, size)) &&
               f->hf.can(m, why, size);
    if (!m->config) return uniform_can(m, why, size);
    return layers || refuse_because(why, size, "has no keys for rotation or windows per layer");
}

/* Where the family has a key for the softmax scale and the model's changed. */
static void follow_softmax_scale(const Model *m, json_t *config) {
    double before = m->source_spec.layers[0].softmax_scale;
    if (m->family->hf.write_softmax_scale && (!m->config || m->spec.layers[0].softmax_scale != before))
        m->family->hf.write_softmax_scale(m, config);
}

/* The class, and everything that the configuration says beside the rotation. */
static void start_config(const Model *m, json_t *config) {
    const Family *stock = family_stock(m->family);
    if (!m->config || (m->family->hf.quirks & HF_CUSTOM_CODE))
        config_set_class(config, stock->hf.architecture, stock->name);
    if (m->family->hf.quirks & HF_CUSTOM_CODE) config_leave_family(m->family, config);
    name_stock_class(config);
    if (m->family->hf.write && (!m->config || !same_layers_as_source(m))) m->family->hf.write(m, config);
    follow_softmax_scale(m, config);
}

/* config.json is edited, not made anew: keys that nothing here knows stay as they are. */
static void own_write(const Model *m, json_t *config) {
    const LayerSpec *l = NULL;
    start_config(m, config);
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

/* What the two carriers have in common that turn the rotation of a class off as a whole. Windows have to be
 * those of the source, or the family needs a hook that writes them. */
static bool can_without_rotation(const Model *m, char *why, size_t size) {
    if (!model_keeps_family_norms(m, why, size)) return false;
    if (!model_rotation_can_be_scaled_away(m, why, size)) return false;
    bool kept = m->config || m->family->hf.write || model_all_layers(m, layer_is_global);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        kept &= m->spec.layers[i].window == m->source_spec.layers[i].window;
    return kept || refuse_because(why, size, "has no key for windows per layer");
}

/* Only some classes read partial_rotary_factor. */
static bool partial_can(const Model *m, char *why, size_t size) {
    if (!(m->family->hf.quirks & HF_PARTIAL_ROTARY_KEY))
        return refuse_because(why, size, "has no partial_rotary_factor");
    return can_without_rotation(m, why, size);
}

/* No layer rotates, so there is no scaling to state either. */
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

/* In classes with a rope base for windowed layers (Gemma 3, OLMo 3) the hook knows what else has to hold. */
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

/* Llama 4 decides by no_rope_layers more than the rotation: norms of queries and keys, and attention
 * temperature. They have to stay as they were, so the list keeps what the source said, and the scaling alone
 * turns rotation off. */
static void keep_rotation_list(const Model *m, json_t *config) {
    json_t *list = m->config ? json_incref(json_object_get(m->config, "no_rope_layers")) : json_array();
    for (uint32_t i = 0; !m->config && i < m->spec.n_layers; i++)
        json_array_append_new(list, json_integer(m->family->rotates(m, i)));
    json_object_del(config, "no_rope_layers");
    if (list) json_object_set_new(config, "no_rope_layers", list);
}

/* A class that takes no linear scaling takes llama3 with bands that scale every frequency. */
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
