/* The common part of reading a config.json: from transformers' keys to a ModelSpec. model_open.c calls
 * spec_from_config with the family set. The steps are the parts of this file: sizes and heads, activation and
 * biases, and for each layer the rotation. What is particular to a family is added by its hook (HfClass.read)
 * at the end. Absent keys have the defaults of transformers' configuration classes, which the family's table
 * holds. */
#include "surgery/spec_config.h"

#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/config_check.h"
#include "surgery/config_read.h"
#include "surgery/rope_frequencies.h"

enum { MAX_LAYERS = 4096 }; /* a bound for allocations: a real model has at most a few hundred layers */

/* ---- rotation ---- */

/* Finds the kind of scaling by transformers' rope_type. No name, or "default", means no scaling; false for an
 * unknown name. */
static bool scaling_kind(const char *name, RopeScalingKind *out) {
    if (!name || strcmp(name, "default") == 0) {
        *out = ROPE_SCALING_NONE;
        return true;
    }
    if (strcmp(name, "su") == 0) name = "longrope"; /* the first Phi-3 configurations call LongRoPE so */
    for (int k = ROPE_SCALING_LINEAR; k <= ROPE_SCALING_LONGROPE; k++)
        if (strcmp(rope_scaling_name((RopeScalingKind)k), name) == 0) {
            *out = (RopeScalingKind)k;
            return true;
        }
    return false;
}

/* The attention factor that the keys mscale and mscale_all_dim stand for (DeepSeek's YaRN): the ratio of
 * YaRN's formula with either of them. 0 means that the default holds. */
static double mscale_factor(double factor, double mscale, double all_dim) {
    if (mscale == 0 || all_dim == 0 || factor <= 1) return 0;
    return (0.1 * mscale * log(factor) + 1) / (0.1 * all_dim * log(factor) + 1);
}

/* Refuses values that the formulas would turn into NaN, infinities or negative frequencies. */
static bool check_scaling(const char *type, const RopeScaling *r, Error *e) {
    if (!(r->factor > 0) || !(r->original_context > 0))
        return error_set(e, ERR_INPUT, "config.json: rope type '%s' has factor %g, original context %g", type,
                         r->factor, r->original_context);
    if (r->kind == ROPE_SCALING_LLAMA3 &&
        (!(r->low_freq_factor > 0) || !(r->high_freq_factor >= r->low_freq_factor)))
        return error_set(e, ERR_INPUT, "config.json: rope type 'llama3' has bands %g to %g",
                         r->low_freq_factor, r->high_freq_factor);
    if (r->kind == ROPE_SCALING_LONGROPE &&
        (!(r->original_context > 1) || !(r->attention_factor >= 0) || !isfinite(r->attention_factor)))
        return error_set(e, ERR_INPUT,
                         "config.json: rope type 'longrope' has original context %g, attention factor %g",
                         r->original_context, r->attention_factor);
    if (r->kind == ROPE_SCALING_YARN && (!(r->beta_fast > 0) || !(r->beta_slow > 0) ||
                                         !(r->attention_factor >= 0) || !isfinite(r->attention_factor)))
        return error_set(e, ERR_INPUT,
                         "config.json: rope type 'yarn' has beta_fast %g, beta_slow %g, attention factor %g",
                         r->beta_fast, r->beta_slow, r->attention_factor);
    return true;
}

/* LongRoPE's short_factor or long_factor: a list of n positive divisors. */
static const double *read_factors(Model *m, const json_t *rope, const char *key, uint32_t n, Error *e) {
    const json_t *list = json_object_get(rope, key);
    double *out = arena_alloc(&m->arena, n * sizeof *out);
    bool ok = json_array_size(list) == n;
    for (uint32_t i = 0; ok && i < n; i++) {
        out[i] = json_number_value(json_array_get(list, i));
        ok = out[i] > 0 && isfinite(out[i]);
    }
    if (ok) return out;
    error_set(e, ERR_INPUT, "config.json: rope type 'longrope': %s is not a list of %u positive numbers", key,
              n);
    return NULL;
}

/* LongRoPE's two lists of divisors, one for each rotated pair of dimensions. */
static bool read_longrope(Model *m, const json_t *rope, uint32_t rotary_dim, RopeScaling *r, Error *e) {
    r->n_factors = rotary_dim / 2;
    r->short_factors = read_factors(m, rope, "short_factor", r->n_factors, e);
    r->long_factors = r->short_factors ? read_factors(m, rope, "long_factor", r->n_factors, e) : NULL;
    return r->long_factors != NULL;
}

/* Where a layer's rotation is stated. */
typedef struct RopeSource {
    const json_t *config; /* the whole configuration */
    const json_t *rope; /* the mapping rope_scaling or rope_parameters, or its part for the layer's type; may
                           be NULL */
    const char *base_key; /* the key of the base beside the mapping; NULL: there is none */
    bool by_type;         /* `rope` is about one type of layer */
} RopeSource;

/* The name of the scaling: "rope_type" or, where that is absent, "type"; `*type` is NULL without either.
 * transformers fails on null, so null is an error. */
static bool read_rope_type(const json_t *rope, const char **type, Error *e) {
    const char *key = json_object_get(rope, "rope_type") ? "rope_type" : "type";
    const json_t *v = json_object_get(rope, key);
    *type = json_string_value(v);
    return !v || *type || config_unexpected(rope, key, "the name of a rope scaling", e);
}

/* The context that the scaling extends, 0 if it is not stated. As in transformers 5, the key beside the
 * mapping wins over the one inside, and a default of the class over both; but a mapping for one type of layer
 * stands for itself. */
static bool read_original_context(const Model *m, const RopeSource *from, RopeScaling *r, Error *e) {
    static const char key[] = "original_max_position_embeddings";
    if (!config_read_real(from->rope, key, &r->original_context, e)) return false;
    if (from->by_type) return true;
    if (m->family->hf.original_context > 0) r->original_context = m->family->hf.original_context;
    return config_read_real(from->config, key, &r->original_context, e);
}

/* Reads one kind of scaling with its numbers. */
static bool read_scaling(Model *m, const RopeSource *from, uint32_t rotary_dim, RopeScaling *r, Error *e) {
    const json_t *rope = from->rope;
    uint32_t context = m->spec.context;
    const char *type;
    if (!read_rope_type(rope, &type, e)) return false;
    if (!scaling_kind(type, &r->kind))
        return error_set(e, ERR_INPUT,
                         "config.json: rope type '%.40s' is not supported (default, linear, dynamic, yarn, "
                         "llama3, longrope)",
                         type);
    if (r->kind == ROPE_SCALING_NONE) return true;
    /* What is stated. Zeros are defaults that depend on other values and are filled in below. */
    double mscale = 0, all_dim = 0;
    r->low_freq_factor = 1;
    r->high_freq_factor = 4;
    if (!read_original_context(m, from, r, e) || !config_read_real(rope, "factor", &r->factor, e) ||
        !config_read_real(rope, "low_freq_factor", &r->low_freq_factor, e) ||
        !config_read_real(rope, "high_freq_factor", &r->high_freq_factor, e) ||
        !config_read_real(rope, "beta_fast", &r->beta_fast, e) ||
        !config_read_real(rope, "beta_slow", &r->beta_slow, e) ||
        !config_read_real(rope, "attention_factor", &r->attention_factor, e) ||
        !config_read_real(rope, "mscale", &mscale, e) ||
        !config_read_real(rope, "mscale_all_dim", &all_dim, e))
        return false;
    if (r->kind == ROPE_SCALING_LONGROPE && !read_longrope(m, rope, rotary_dim, r, e)) return false;
    /* What is computed from other values. */
    bool by_contexts = r->kind == ROPE_SCALING_YARN || r->kind == ROPE_SCALING_LONGROPE;
    if (r->factor == 0 && by_contexts && r->original_context > 0) r->factor = context / r->original_context;
    if (r->original_context == 0) r->original_context = context;
    if (r->beta_fast == 0) r->beta_fast = 32;
    if (r->beta_slow == 0) r->beta_slow = 1;
    if (r->attention_factor == 0) r->attention_factor = mscale_factor(r->factor, mscale, all_dim);
    if (!json_get_bool(rope, "truncate", &r->truncate)) r->truncate = true;
    return check_scaling(type, r, e);
}

/* The base of the rotary frequencies, whose default is in l->rope_base: inside the mapping (transformers 5)
 * or beside it (transformers 4). transformers fails on null, so null is an error. */
static bool read_base(const RopeSource *from, LayerSpec *l, Error *e) {
    const char *key = from->base_key;
    if (key && json_is_null(json_object_get(from->config, key)) && !config_has(from->rope, "rope_theta"))
        return config_unexpected(from->config, key, "a number", e);
    if ((key && !config_read_real(from->config, key, &l->rope_base, e)) ||
        !config_read_real(from->rope, "rope_theta", &l->rope_base, e))
        return false;
    return l->rope_base > 0 || error_set(e, ERR_INPUT, "config.json: rope_theta is %g", l->rope_base);
}

/* The number of dimensions of a head that rotate. Classes without partial_rotary_factor rotate whole heads;
 * where a scaling meets that key they fail, because the tables of the scaling are shorter than a head. */
static bool read_rotary_dim(const Model *m, const RopeSource *from, LayerSpec *l, Error *e) {
    const Family *f = m->family;
    const char *key = config_key(f, "partial_rotary_factor");
    double part = f->rotary_part ? f->rotary_part : 1, stated = part;
    bool partial = f->hf.quirks & HF_PARTIAL_ROTARY_KEY;
    if (!config_read_real(from->config, key, &stated, e) ||
        !config_read_real(from->rope, "partial_rotary_factor", &stated, e))
        return false;
    if (!(stated >= 0 && stated <= 1))
        return error_set(e, ERR_INPUT, "config.json: partial_rotary_factor is %g", stated);
    if (!partial && stated != 1 && config_scales_rope(from->config))
        return error_set(e, ERR_INPUT,
                         "config.json: partial_rotary_factor is %g, but %s rotates whole heads, and "
                         "transformers fails where such a key meets a rope scaling",
                         stated, f->name);
    if (partial) part = stated;
    /* Rotation takes pairs; an odd number is rounded up, as by the length of the table of frequencies. */
    l->rotary_dim = ((uint32_t)(l->head_dim * part) + 1) / 2 * 2;
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    return true;
}

/* Base, rotated dimensions and scaling of one layer. A scaling by 1e20 or more, or no dimension left to
 * rotate, is how architectures without another way turn rotation off; such a layer is read as one without
 * rotation. */
static bool read_layer_rope(Model *m, const RopeSource *from, LayerSpec *l, Error *e) {
    if (!read_base(from, l, e) || !read_rotary_dim(m, from, l, e) ||
        !read_scaling(m, from, l->rotary_dim, &l->scaling, e))
        return false;
    if (rope_scaling_is_zero(&l->scaling) || l->rotary_dim == 0) layer_drop_rope(l);
    return true;
}

/* The type of a layer in layer_types, or NULL. */
static const char *layer_type(const json_t *config, uint32_t layer) {
    return json_string_value(json_array_get(json_object_get(config, "layer_types"), layer));
}

/* The mapping that holds a layer's rotation; NULL if there is none. Where both rope_scaling and
 * rope_parameters are there, rope_scaling is taken: transformers 5 prefers it, and transformers 4 knows
 * nothing else. Either is one mapping for all layers, or has a mapping for each layer type ("full_attention":
 * {...}). */
static RopeSource rope_of_layer(const Model *m, const json_t *config, uint32_t layer) {
    RopeSource from = {.config = config, .base_key = config_key(m->family, "rope_theta")};
    const json_t *rope = json_object_get(config, "rope_scaling");
    if (json_object_size(rope) == 0) rope = json_object_get(config, "rope_parameters");
    /* A mapping for each layer type is found by the type of this layer. */
    const char *type = layer_type(config, layer);
    const json_t *own = type ? json_object_get(rope, type) : NULL;
    from.by_type = json_is_object(own);
    from.rope = from.by_type ? own : json_is_object(rope) ? rope : NULL;
    return from;
}

/* The rotation of families in which layers with a window have a base of their own (HfClass.window_base), read
 * once it is known which layers these are: rope_parameters has a mapping for each of the two types, and the
 * legacy keys are rope_theta and rope_scaling for layers without a window, window_base_key for the others. */
static bool read_rope_by_window(Model *m, const json_t *config, Error *e) {
    const HfClass *hf = &m->family->hf;
    const json_t *by_type = json_object_get(config, "rope_parameters");
    RopeSource windowed = {config, json_object_get(by_type, "sliding_attention"), hf->window_base_key, true},
               global = {config, NULL, "rope_theta", true};
    /* rope_scaling adds to the mapping of layers without a window. */
    json_t *merged = json_object();
    json_object_update(merged, json_object_get(by_type, "full_attention"));
    json_object_update(merged, json_object_get(config, "rope_scaling"));
    global.rope = merged;
    bool ok = true;
    for (uint32_t i = 0; ok && i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        const char *type = layer_type(config, i);
        bool has_window = type ? strcmp(type, "sliding_attention") == 0 : l->window > 0;
        if (has_window) l->rope_base = hf->window_base;
        ok = read_layer_rope(m, has_window ? &windowed : &global, l, e);
    }
    json_decref(merged);
    return ok;
}

/* ---- sizes ---- */

/* n_heads is read already. The family's default of head_dim holds only where the key is absent; where it is
 * null, heads divide the hidden size, as in transformers. */
static bool read_heads(const Family *f, const json_t *config, const ModelSpec *s, LayerSpec *l, Error *e) {
    const char *kv = config_key(f, "num_key_value_heads");
    if (!l->n_kv_heads || json_is_null(json_object_get(config, kv))) l->n_kv_heads = l->n_heads;
    if (!config_read_u32(config, kv, 1, 4096, &l->n_kv_heads, e)) return false;
    uint32_t computed = s->hidden_size / l->n_heads;
    bool stated = config_has(config, "head_dim") || (l->head_dim && !json_object_get(config, "head_dim"));
    if (!config_read_u32(config, "head_dim", 1, 8192, &l->head_dim, e)) return false;
    if (!stated) l->head_dim = computed;
    if (!stated && s->hidden_size % l->n_heads)
        return error_set(e, ERR_INPUT, "config.json: hidden_size %u is not a multiple of %u heads",
                         s->hidden_size, l->n_heads);
    if (l->n_heads % l->n_kv_heads)
        return error_set(e, ERR_INPUT, "config.json: %u heads cannot share %u key/value heads evenly",
                         l->n_heads, l->n_kv_heads);
    if ((f->hf.quirks & HF_OWN_HEAD_DIM) && l->head_dim != computed)
        return error_set(e, ERR_INPUT,
                         "config.json: head_dim is %u, but %s takes hidden_size / num_attention_heads, %u",
                         l->head_dim, f->name, computed);
    if (l->head_dim == 0 || l->head_dim % 2)
        return error_set(e, ERR_INPUT, "config.json: head_dim %u is not an even number", l->head_dim);
    return true;
}

/* The sizes that every model has to state. Only the number of columns of the MLP and the context may be left
 * to the family. */
static bool read_sizes(Model *m, const json_t *config, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    /* In some families (Falcon) the MLP has 4 * hidden_size columns where the key is absent. */
    const char *ffn = config_key(m->family, "intermediate_size");
    bool four_times = (m->family->hf.quirks & HF_FFN_DEFAULT_4X) && !config_has(config, ffn);
    if (!config_need_u32(config, "num_hidden_layers", 1, MAX_LAYERS, &s->n_layers, e) ||
        !config_need_u32(config, "hidden_size", 1, 1 << 20, &s->hidden_size, e) ||
        !config_need_u32(config, "vocab_size", 1, 1 << 26, &s->vocab, e) ||
        !config_need_u32(config, "num_attention_heads", 1, 4096, &l->n_heads, e) ||
        (!four_times && !config_need_u32(config, ffn, 1, 1 << 22, &l->ffn_dim, e)))
        return false;
    if (four_times) l->ffn_dim = 4 * s->hidden_size;
    if (!config_read_u32(config, "max_position_embeddings", 1, UINT32_MAX, &s->context, e)) return false;
    return read_heads(m->family, config, s, l, e);
}

/* ---- the block ---- */

/* Biases that a key switches on or off; others are part of the family. */
static void read_biases(const Family *f, const json_t *config, LayerSpec *l) {
    bool all;
    if ((f->hf.quirks & HF_ATTENTION_BIAS_KEY) && json_get_bool(config, "attention_bias", &all))
        l->q_bias = l->k_bias = l->v_bias = l->o_bias = all;
    if (f->hf.quirks & HF_MLP_BIAS_KEY) json_get_bool(config, "mlp_bias", &l->mlp_bias);
}

/* An absent key leaves the family's default in `*out`. */
static bool read_activation(const Family *f, const json_t *config, Activation *out, Error *e) {
    const char *key = config_key(f, "hidden_act"), *name = json_get_string(config, key);
    if (!name || activation_from_hf(name, out)) return true;
    return error_set(e, ERR_INPUT,
                     "config.json: %s '%.40s' is not supported (silu, gelu, gelu_new, gelu_pytorch_tanh)",
                     key, name);
}

/* ---- the whole ---- */

/* Refuses keys of a wrong type that the readers would silently take for absent ones. */
static bool check_types(const json_t *config, Error *e) {
    static const char *const flags[] = {"tie_word_embeddings", "attention_bias", "mlp_bias",
                                        "use_sliding_window"};
    static const char *const objects[] = {"rope_scaling", "rope_parameters"};
    static const char *const lists[] = {"layer_types", "no_rope_layers", "layer_rope_theta"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (config_has(config, flags[i]) && !json_is_boolean(json_object_get(config, flags[i])))
            return config_unexpected(config, flags[i], "true or false", e);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (config_has(config, objects[i]) && !json_is_object(json_object_get(config, objects[i])))
            return config_unexpected(config, objects[i], "a mapping", e);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (config_has(config, lists[i]) && !json_is_array(json_object_get(config, lists[i])))
            return config_unexpected(config, lists[i], "a list", e);
    return true;
}

/* The spec is built in three steps: the family's defaults, then what all layers have in common, then each
 * layer's rotation. */
bool spec_from_config(Model *m, const json_t *config, Error *e) {
    const Family *f = m->family;
    ModelSpec *s = &m->spec;
    LayerSpec l = f->layer;
    const char *eps = config_key(f, f->model.norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps");
    /* The family's defaults first. */
    *s = f->model;
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    /* What all layers have in common goes into `l`. */
    if (!config_check_keys(m, config, e) || !check_types(config, e) || !read_sizes(m, config, &l, e) ||
        !read_activation(f, config, &l.activation, e))
        return false;
    if (!config_read_real(config, eps, &s->norm_eps, e)) return false;
    if (s->norm_eps < 0) return error_set(e, ERR_INPUT, "config.json: %s is %g", eps, s->norm_eps);
    read_biases(f, config, &l);
    json_get_bool(config, "tie_word_embeddings", &s->tied_head);
    if (json_is_null(json_object_get(config, "tie_word_embeddings"))) s->tied_head = false;
    l.softmax_scale = 1 / sqrt(l.head_dim);
    /* Every layer is a copy of it with the rotation of its own. */
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        RopeSource from = rope_of_layer(m, config, i);
        s->layers[i] = l;
        if (f->hf.window_base == 0 && !read_layer_rope(m, &from, &s->layers[i], e)) return false;
    }
    /* What is particular to the family: windows, multipliers, experts, norms per layer. */
    if (f->hf.read && !f->hf.read(m, config, e)) return false;
    return f->hf.window_base == 0 || read_rope_by_window(m, config, e);
}
