/* The carriers of HF folders. */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/carrier.h"
#include "surgery/family.h"

static void set_string(json_t *config, const char *key, const char *value) {
    json_object_set_new(config, key, json_string(value));
}

void config_set_class(json_t *config, const char *architecture, const char *model_type) {
    json_object_set_new(config, "architectures", json_pack("[s]", architecture));
    set_string(config, "model_type", model_type);
}

static json_t *number_list(const double *values, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_real(values[i]));
    return list;
}

/* `share` so that what a class makes of it, (int)(whole * share), is `part` again. */
static double share_of(uint32_t part, uint32_t whole) {
    double share = (double)part / whole;
    return (uint32_t)(whole * share) < part ? nextafter(share, 2) : share;
}

/* A class that knows this scaling alone insists on these three keys and no others. Elsewhere what
 * transformers 4 and 5 make of the factor differs, so the attention factor is stated. */
static json_t *longrope_config(const Family *f, json_t *config, const RopeScaling *r) {
    bool alone = f->hf.rope_scalings == 1u << ROPE_SCALING_LONGROPE;
    json_t *o = json_pack("{s:s, s:o, s:o}", alone ? "type" : "rope_type", "longrope", "short_factor",
                          number_list(r->short_factors, r->n_factors), "long_factor",
                          number_list(r->long_factors, r->n_factors));
    json_object_set_new(config, "original_max_position_embeddings",
                        json_integer((json_int_t)r->original_context));
    if (alone) return o;
    json_object_set_new(o, "factor", json_real(r->factor));
    json_object_set_new(o, "attention_factor",
                        json_real(r->attention_factor > 0 ? r->attention_factor : rope_usual_factor(r)));
    return o;
}

void config_set_rope(const Family *f, json_t *config, const LayerSpec *l, double base_if_none) {
    json_object_del(config, "rope_parameters");
    json_object_set_new(config, config_key(f, "rope_theta"), json_real(l ? l->rope_base : base_if_none));
    if (l && l->position != POSITION_NOPE && (l->position == POSITION_PARTIAL || f->rotary_part))
        json_object_set_new(config, config_key(f, "partial_rotary_factor"),
                            json_real(share_of(l->rotary_dim, l->head_dim)));
    const RopeScaling *r = l ? &l->scaling : NULL;
    if (!r || r->kind == ROPE_SCALING_NONE) {
        json_object_set_new(config, "rope_scaling", json_null());
        return;
    }
    if (r->kind == ROPE_SCALING_LONGROPE) {
        json_object_set_new(config, "rope_scaling", longrope_config(f, config, r));
        return;
    }
    json_t *o = json_pack("{s:s, s:f}", (f->hf.quirks & HF_OLD_ROPE_TYPE_KEY) ? "type" : "rope_type",
                          rope_scaling_name(r->kind), "factor", r->factor);
    if (r->kind == ROPE_SCALING_YARN || r->kind == ROPE_SCALING_LLAMA3)
        json_object_set_new(o, "original_max_position_embeddings",
                            json_integer((json_int_t)r->original_context));
    if (r->kind == ROPE_SCALING_LLAMA3) {
        json_object_set_new(o, "low_freq_factor", json_real(r->low_freq_factor));
        json_object_set_new(o, "high_freq_factor", json_real(r->high_freq_factor));
    }
    if (r->kind == ROPE_SCALING_YARN) {
        json_object_set_new(o, "beta_fast", json_real(r->beta_fast));
        json_object_set_new(o, "beta_slow", json_real(r->beta_slow));
        if (r->attention_factor > 0)
            json_object_set_new(o, "attention_factor", json_real(r->attention_factor));
        if (!r->truncate) json_object_set_new(o, "truncate", json_false());
    }
    json_object_set_new(config, "rope_scaling", o);
}

/* Layers that rotate, or keep their base though they no longer do. */
static double kept_base(const Model *m) {
    return scaled_layer(m)->rope_base;
}

static bool same_layers_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->position != then->position || now->window != then->window) return false;
    }
    return true;
}

static bool same_rotation_as_source(const Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *now = &m->spec.layers[i], *then = &m->source_spec.layers[i];
        if (now->rope_base != then->rope_base || !rope_scaling_equal(&now->scaling, &then->scaling))
            return false;
    }
    return true;
}

/* What DroPE's own code reads is said otherwise in stock classes. */
void config_leave_family(const Family *f, json_t *config) {
    json_object_del(config, "attention_type");
    json_object_del(config, "softmax_scale");
    for (const KeyName *k = f->hf.keys; k && k->usual; k++) {
        json_t *value = json_object_get(config, k->own);
        if (!value) continue;
        json_object_set(config, k->usual, value);
        json_object_del(config, k->own);
    }
}

/* ---- the family's own architecture ---- */

/* What a family can say when there is no config.json to keep, a plain GGUF, if it does not tell otherwise. */
static bool rotates_can(const Model *m, char *why, size_t size) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].rotary_dim != m->spec.layers[0].rotary_dim ||
            layer_is_nope(m, &m->spec.layers[i]))
            return cannot(why, size, "rotates every layer alike");
    if (!all_layers(m, layer_is_global)) return cannot(why, size, "has no windows per layer");
    return one_rotation(m, NULL) || cannot(why, size, "has one rope base for all layers");
}

/* The stock family behind custom code of the same name. */
static const Family *stock_family(const Model *m) {
    const Family *f = family_by_model_type(m->family->name);
    return f ? f : m->family;
}

/* A class of custom code, whatever it is called: the stock one of the same model type is meant. */
static void name_stock_class(json_t *config) {
    const char *type = json_get_string(config, "model_type");
    const Family *own = type && json_object_get(config, "auto_map") ? family_by_model_type(type) : NULL;
    if (own) json_object_set_new(config, "architectures", json_pack("[s]", own->hf.architecture));
}

/* Whether the class of `f` takes the scaling of the layers that rotate. */
static bool takes_scaling(const Model *m, const Family *f, char *why, size_t size) {
    const LayerSpec *l = NULL;
    if (!main_rotation(m, &l)) return cannot(why, size, "has one rope base for all layers");
    if (!l || l->scaling.kind == ROPE_SCALING_NONE || !f->hf.rope_scalings) return true;
    if (!(f->hf.rope_scalings >> l->scaling.kind & 1))
        return cannot(why, size, "has no rope scaling of the type %s", rope_scaling_name(l->scaling.kind));
    return l->scaling.kind != ROPE_SCALING_LONGROPE || l->scaling.attention_factor == 0 ||
           cannot(why, size, "has LongRoPE's own attention factor");
}

static bool own_can(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (f->hf.quirks & HF_CUSTOM_CODE) return cannot(why, size, "is custom code, which no stock runtime has");
    bool layers = m->config && same_layers_as_source(m);
    if (layers && same_rotation_as_source(m)) return true;
    if (f->hf.carrier && !layers) return cannot(why, size, "is written by the carrier %s", f->hf.carrier);
    if (!takes_scaling(m, f, why, size)) return false;
    if (f->hf.can)
        return ((f->hf.quirks & HF_NO_ROPE_LAYERS_KEY) || family_rotation(m, why, size)) &&
               f->hf.can(m, why, size);
    if (!m->config) return rotates_can(m, why, size);
    return layers || cannot(why, size, "says nothing of rotation or windows per layer");
}

static bool own_needs_o_bias(const Model *m) {
    return !(stock_family(m)->hf.quirks & HF_NO_O_BIAS);
}

static bool own_interleaved(const Model *m) {
    return (m->family->hf.quirks & HF_INTERLEAVED_ROPE) != 0;
}

void write_multipliers(const Model *m, json_t *config) {
    json_object_set_new(config, "embedding_multiplier", json_real(m->spec.embedding_scale));
    json_object_set_new(config, "residual_multiplier", json_real(m->spec.residual_scale));
    json_object_set_new(config, "logits_scaling", json_real(1 / m->spec.logit_scale));
    json_object_set_new(config, "attention_multiplier", json_real(m->spec.layers[0].softmax_scale));
}

void write_experts(const Model *m, json_t *config, const char *key) {
    const LayerSpec *l = mixture_layer(m);
    json_object_set_new(config, key, json_integer(l->n_experts));
    json_object_set_new(config, "num_experts_per_tok", json_integer(l->top_k));
}

void write_no_rope_layers(const Model *m, json_t *config) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(list, json_integer(m->spec.layers[i].position != POSITION_NOPE));
    json_object_set_new(config, "no_rope_layers", list);
}

void write_layer_types(const Model *m, json_t *config, uint32_t if_none) {
    uint32_t window = window_size(m);
    json_t *types = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(types,
                              json_string(m->spec.layers[i].window ? "sliding_attention" : "full_attention"));
    json_object_set_new(config, "layer_types", types);
    if (!window) window = if_none;
    json_object_set_new(config, "sliding_window", window ? json_integer(window) : json_null());
}

static void follow_softmax_scale(const Model *m, json_t *config) {
    double before = m->source_spec.layers[0].softmax_scale;
    if (m->family->hf.write_softmax_scale && (!m->config || m->spec.layers[0].softmax_scale != before))
        m->family->hf.write_softmax_scale(m, config);
}

/* The stock class of the family, and what its configuration says beside the rotation. */
static void start_config(const Model *m, json_t *config) {
    const Family *stock = stock_family(m);
    if (!m->config || (m->family->hf.quirks & HF_CUSTOM_CODE))
        config_set_class(config, stock->hf.architecture, stock->name);
    if (m->family->hf.quirks & HF_CUSTOM_CODE) config_leave_family(m->family, config);
    name_stock_class(config);
    if (m->family->hf.write && (!m->config || !same_layers_as_source(m))) m->family->hf.write(m, config);
    follow_softmax_scale(m, config);
}

static void own_write(const Model *m, json_t *config) {
    const LayerSpec *l = NULL;
    start_config(m, config);
    if (m->config && same_rotation_as_source(m)) return;
    main_rotation(m, &l);
    config_set_rope(m->family, config, l, kept_base(m));
    if (m->family->hf.quirks & HF_HEAD_DIM_KEY)
        json_object_set_new(config, "head_dim", json_integer(m->spec.layers[0].head_dim));
}

const Carrier carrier_hf_own = {
    .name = "own",
    .format = FORMAT_HF,
    .says = "the family's own class, by its own keys",
    .runtimes = "transformers, wherever the source ran",
    .needs_o_bias = own_needs_o_bias,
    .interleaved = own_interleaved,
    .can = own_can,
    .write_hf = own_write,
};

/* ---- SmolLM3: rotation and windows per layer, in transformers 4 and 5 ---- */

static bool smollm3_can(const Model *m, char *why, size_t size) {
    if (!llama_block(m, why, size)) return false;
    if (!one_rotation(m, NULL)) return cannot(why, size, "has one rope base for all layers");
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        if (m->spec.layers[i].position == POSITION_PARTIAL)
            return cannot(why, size, "rotates whole heads only");
    if (!one_window_size(m, why, size)) return false;
    if (!plain_multipliers(m)) return cannot(why, size, "has no embedding, residual and logit multipliers");
    if (has_sinks(m)) return cannot(why, size, "has no attention sinks");
    if (has_qk_norm(m)) return cannot(why, size, "has no norms on queries and keys");
    return true;
}

/* Its defaults for the token ids lie outside small vocabularies, so all are stated. */
void config_set_token_ids(json_t *config) {
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (int i = 0; i < 3; i++)
        if (!json_object_get(config, keys[i])) json_object_set_new(config, keys[i], json_null());
}

static const Family *smollm3_family(void) {
    return family_by_model_type("smollm3");
}

static void smollm3_write(const Model *m, json_t *config) {
    static const char *const foreign[] = {
        "max_window_layers",   "no_rope_layer_interval", "pretraining_tp",       "rope_interleaved",
        "is_llama_config",     "partial_rotary_factor",  "embedding_multiplier", "logits_scaling",
        "residual_multiplier", "attention_multiplier",   "layer_rope_theta"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        json_object_del(config, foreign[i]);
    config_leave_family(m->family, config);
    const LayerSpec *l = NULL, *any = &m->spec.layers[0];
    one_rotation(m, &l);
    config_set_class(config, "SmolLM3ForCausalLM", "smollm3");
    config_set_rope(smollm3_family(), config, l, kept_base(m));
    write_no_rope_layers(m, config);
    write_layer_types(m, config, 0);
    json_object_set_new(config, "use_sliding_window", json_boolean(window_size(m) != 0));
    json_object_set_new(config, "head_dim", json_integer(any->head_dim));
    json_object_set_new(config, "num_key_value_heads", json_integer(any->n_kv_heads));
    json_object_set_new(config, "attention_bias",
                        json_boolean(any->q_bias || any->k_bias || any->v_bias || any->o_bias));
    json_object_set_new(config, "mlp_bias", json_boolean(any->mlp_bias));
    json_object_set_new(config, "tie_word_embeddings", json_boolean(m->spec.tied_head));
    if (!json_object_get(config, "rms_norm_eps"))
        json_object_set_new(config, "rms_norm_eps", json_real(m->spec.norm_eps));
    config_set_token_ids(config);
}

const Carrier carrier_hf_smollm3 = {
    .name = "smollm3",
    .format = FORMAT_HF,
    .says = "no_rope_layers and layer_types say of each layer whether it rotates and whether it has a window",
    .tensors = llama_tensors,
    .runtimes = "transformers >= 4.53, 5.x",
    .needs_o_bias = always,
    .can = smollm3_can,
    .write_hf = smollm3_write,
};

/* ---- Granite SWA: multipliers, sinks, a rope base per layer; transformers 5 only ---- */

static bool swa_attention(const Model *m, char *why, size_t size) {
    const LayerSpec *first = NULL;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        if (l->position == POSITION_PARTIAL) return cannot(why, size, "rotates whole heads only");
        if (l->position == POSITION_NOPE) continue;
        if (!first) first = l;
        if (!rope_scaling_equal(&l->scaling, &first->scaling))
            return cannot(why, size, "has one rope scaling for all layers");
    }
    if (!one_window_size(m, why, size)) return false;
    if (!one_softmax_scale(m)) return cannot(why, size, "has one softmax scale for all layers");
    if (has_qk_norm(m)) return cannot(why, size, "has no norms on queries and keys");
    return true;
}

static bool swa_can(const Model *m, char *why, size_t size) {
    return llama_block(m, why, size) && swa_attention(m, why, size);
}

static void swa_write(const Model *m, json_t *config) {
    smollm3_write(m, config);
    json_object_del(config, "no_rope_layers");
    json_object_del(config, "use_sliding_window");
    config_set_class(config, "GraniteSWAForCausalLM", "granite_swa");
    json_t *bases = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        json_array_append_new(
            bases, json_real(m->spec.layers[i].position == POSITION_NOPE ? 0 : m->spec.layers[i].rope_base));
    json_object_set_new(config, "layer_rope_theta", bases);
    if (!window_size(m))
        json_object_set_new(config, "sliding_window", json_integer(128)); /* read, never used */
    write_multipliers(m, config);
}

const Carrier carrier_hf_granite_swa = {
    .name = "granite_swa",
    .format = FORMAT_HF,
    .says = "a layer_rope_theta of 0 is a layer without rotation, layer_types says which have a window",
    .tensors = llama_tensors,
    .runtimes = "transformers >= 5 with granite_swa",
    .holds_scale = true,
    .needs_sinks = true,
    .needs_o_bias = always,
    .can = swa_can,
    .write_hf = swa_write,
};

/* ---- the same with experts ---- */

static bool moe_swa_can(const Model *m, char *why, size_t size) {
    return llama_layers(m, why, size) && plain_mixture(m, why, size) && swa_attention(m, why, size);
}

static void moe_swa_write(const Model *m, json_t *config) {
    swa_write(m, config);
    config_set_class(config, "GraniteMoeSWAForCausalLM", "granitemoe_swa");
    json_object_set_new(config, "intermediate_size", json_integer(m->spec.layers[0].ffn_dim));
    json_object_set_new(config, "shared_intermediate_size", json_integer(0));
    write_experts(m, config, "num_local_experts");
}

const Carrier carrier_hf_granitemoe_swa = {
    .name = "granitemoe_swa",
    .format = FORMAT_HF,
    .says = "a layer_rope_theta of 0 is a layer without rotation, layer_types says which have a window",
    .tensors = granite_swa_tensors,
    .runtimes = "transformers >= 5 with granitemoe_swa",
    .holds_scale = true,
    .needs_sinks = true,
    .needs_o_bias = always,
    .can = moe_swa_can,
    .write_hf = moe_swa_write,
};

/* ---- the family's own, with no dimension of a head rotated: partial_rotary_factor = 0 ---- */

/* What both ways to stop an architecture's rotation have in common. */
static bool stops_all(const Model *m, char *why, size_t size) {
    if (!family_norms(m, why, size)) return false;
    if (!factor_stops(m, why, size)) return false;
    bool kept = m->config || m->family->hf.write || all_layers(m, layer_is_global);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        kept &= m->spec.layers[i].window == m->source_spec.layers[i].window;
    return kept || cannot(why, size, "says nothing of windows per layer");
}

static bool partial_can(const Model *m, char *why, size_t size) {
    if (!(m->family->hf.quirks & HF_PARTIAL_ROTARY_KEY))
        return cannot(why, size, "has no partial_rotary_factor");
    return stops_all(m, why, size);
}

static void partial_write(const Model *m, json_t *config) {
    start_config(m, config);
    config_set_rope(m->family, config, NULL, kept_base(m));
    json_object_set_new(config, config_key(m->family, "partial_rotary_factor"), json_real(0));
}

const Carrier carrier_hf_partial = {
    .name = "partial-0",
    .format = FORMAT_HF,
    .says = "the family's own class, of which partial_rotary_factor 0 rotates no dimension",
    .runtimes = "transformers, wherever the source ran",
    .needs_o_bias = own_needs_o_bias,
    .interleaved = own_interleaved,
    .can = partial_can,
    .write_hf = partial_write,
};

/* ---- the family's own, with angles divided by 1e30 ---- */

static bool linear_can(const Model *m, char *why, size_t size) {
    const Family *f = m->family;
    if (!stops_all(m, why, size)) return false;
    if (f->hf.rope_scalings &&
        !(f->hf.rope_scalings & (1u << ROPE_SCALING_LINEAR | 1u << ROPE_SCALING_LLAMA3)))
        return cannot(why, size, "has no rope scaling by a factor alone");
    if (f->hf.carrier) return cannot(why, size, "is written by the carrier %s", f->hf.carrier);
    if (f->window_base && f->hf.can && !f->hf.can(m, why, size)) return false;
    return true;
}

/* What comes with a layer's rotation stays, though the scaling stops it. */
static void keep_rotation_list(const Model *m, json_t *config) {
    json_t *list = m->config ? json_incref(json_object_get(m->config, "no_rope_layers")) : json_array();
    for (uint32_t i = 0; !m->config && i < m->spec.n_layers; i++)
        json_array_append_new(list, json_integer(m->family->rotates(m, i)));
    json_object_del(config, "no_rope_layers");
    if (list) json_object_set_new(config, "no_rope_layers", list);
}

static void linear_write(const Model *m, json_t *config) {
    start_config(m, config);
    RopeScalingKind kind =
        m->family->hf.rope_scalings >> ROPE_SCALING_LINEAR & 1 || !m->family->hf.rope_scalings
            ? ROPE_SCALING_LINEAR
            : ROPE_SCALING_LLAMA3;
    LayerSpec l = {.position = POSITION_NOPE, .rope_base = kept_base(m), .scaling = rope_stopped(kind)};
    config_set_rope(m->family, config, &l, 0);
    if (m->family->hf.quirks & HF_NO_ROPE_LAYERS_KEY) keep_rotation_list(m, config);
}

const Carrier carrier_hf_linear = {
    .name = "linear-1e30",
    .format = FORMAT_HF,
    .says = "the family's own class, whose angles a rope scaling by 1e30 makes 0",
    .runtimes = "transformers, wherever the source ran; runtimes that size caches by the factor break",
    .needs_o_bias = own_needs_o_bias,
    .interleaved = own_interleaved,
    .can = linear_can,
    .write_hf = linear_write,
};
