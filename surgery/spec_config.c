/* The common part of reading a config.json: from transformers' keys to a ModelSpec. model_open.c calls
 * spec_from_config with the family set. The steps are the parts of this file: sizes and heads, activation and
 * biases, and for each layer the rotation. What is particular to a family is added by its hook (HfClass.read)
 * at the end. Absent keys have the defaults of transformers' configuration classes, which the family's table
 * holds. */
#include "surgery/spec_config.h"

#include <math.h>
#include <string.h>

#include "formats/json.h"
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

/* LongRoPE's two lists of divisors, and the factor that its attention factor depends on. As transformers has
 * it: where config.json itself states an original context (not only its rope_scaling), the factor is the
 * ratio of the two contexts, and a stated factor is ignored. */
static bool read_longrope(Model *m, const json_t *config, const json_t *rope, uint32_t rotary_dim,
                          RopeScaling *r, Error *e) {
    bool from_contexts = r->factor == 0 || json_object_get(config, "original_max_position_embeddings");
    r->n_factors = rotary_dim / 2;
    r->short_factors = read_factors(m, rope, "short_factor", r->n_factors, e);
    r->long_factors = r->short_factors ? read_factors(m, rope, "long_factor", r->n_factors, e) : NULL;
    if (r->original_context > 0 && from_contexts) r->factor = m->spec.context / r->original_context;
    return r->long_factors != NULL;
}

/* Reads one kind of scaling with its numbers. `rope` is the mapping rope_scaling, or rope_parameters, or the
 * part of it that is meant for the layer's type. `config` is the whole configuration, which may state the
 * original context too. */
static bool read_scaling(Model *m, const json_t *config, const json_t *rope, uint32_t rotary_dim,
                         RopeScaling *r, Error *e) {
    uint32_t context = m->spec.context;
    const char *type = json_get_string(rope, "rope_type");
    if (!type) type = json_get_string(rope, "type");
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
    if (!config_read_real(config, "original_max_position_embeddings", &r->original_context, e) ||
        !config_read_real(rope, "original_max_position_embeddings", &r->original_context, e) ||
        !config_read_real(rope, "factor", &r->factor, e) ||
        !config_read_real(rope, "low_freq_factor", &r->low_freq_factor, e) ||
        !config_read_real(rope, "high_freq_factor", &r->high_freq_factor, e) ||
        !config_read_real(rope, "beta_fast", &r->beta_fast, e) ||
        !config_read_real(rope, "beta_slow", &r->beta_slow, e) ||
        !config_read_real(rope, "attention_factor", &r->attention_factor, e) ||
        !config_read_real(rope, "mscale", &mscale, e) ||
        !config_read_real(rope, "mscale_all_dim", &all_dim, e))
        return false;
    /* What is computed from other values. */
    if (r->kind == ROPE_SCALING_LONGROPE && !read_longrope(m, config, rope, rotary_dim, r, e)) return false;
    if (r->factor == 0 && r->kind == ROPE_SCALING_YARN && r->original_context > 0)
        r->factor = context / r->original_context;
    if (r->original_context == 0) r->original_context = context;
    if (r->beta_fast == 0) r->beta_fast = 32;
    if (r->beta_slow == 0) r->beta_slow = 1;
    if (r->attention_factor == 0) r->attention_factor = mscale_factor(r->factor, mscale, all_dim);
    if (!json_get_bool(rope, "truncate", &r->truncate)) r->truncate = true;
    return check_scaling(type, r, e);
}

/* Base, rotated dimensions and scaling of one layer. Values inside the mapping `rope` (transformers 5) win
 * over those beside it (transformers 4). A scaling by 1e20 or more, or no dimension left to rotate, is how
 * architectures without another way turn rotation off; such a layer is read as one without rotation. */
static bool read_layer_rope(Model *m, const json_t *config, const json_t *rope, LayerSpec *l, Error *e) {
    const Family *f = m->family;
    /* `part` is the share of a head that rotates; 1 is the whole head. */
    double part = f->rotary_part ? f->rotary_part : 1;
    if (!config_read_real(config, config_key(f, "rope_theta"), &l->rope_base, e) ||
        !config_read_real(rope, "rope_theta", &l->rope_base, e) ||
        !config_read_real(config, config_key(f, "partial_rotary_factor"), &part, e) ||
        !config_read_real(rope, "partial_rotary_factor", &part, e))
        return false;
    if (!(l->rope_base > 0)) return error_set(e, ERR_INPUT, "config.json: rope_theta is %g", l->rope_base);
    if (!(part >= 0 && part <= 1))
        return error_set(e, ERR_INPUT, "config.json: partial_rotary_factor is %g", part);
    l->rotary_dim = (uint32_t)(l->head_dim * part) / 2 * 2; /* rotation takes pairs */
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    if (!read_scaling(m, config, rope, l->rotary_dim, &l->scaling, e)) return false;
    if (rope_scaling_is_zero(&l->scaling) || l->rotary_dim == 0) layer_drop_rope(l);
    return true;
}

/* The mapping that holds a layer's rotation; NULL if there is none. Where both rope_scaling and
 * rope_parameters are there, rope_scaling is taken: transformers 5 prefers it, and transformers 4 knows
 * nothing else. Either is one mapping for all layers, or has a mapping for each layer type ("full_attention":
 * {...}). */
static const json_t *rope_of_layer(const json_t *config, uint32_t layer) {
    const json_t *rope = json_object_get(config, "rope_scaling");
    if (json_object_size(rope) == 0) rope = json_object_get(config, "rope_parameters");
    /* A mapping for each layer type is found by the type of this layer. */
    const char *type = json_string_value(json_array_get(json_object_get(config, "layer_types"), layer));
    const json_t *own = type ? json_object_get(rope, type) : NULL;
    return json_is_object(own) ? own : json_is_object(rope) ? rope : NULL;
}

/* ---- sizes ---- */

/* n_heads is read already. The family's default of head_dim holds only where the key is absent; where it is
 * null, heads divide the hidden size, as in transformers. */
static bool read_heads(const Family *f, const json_t *config, const ModelSpec *s, LayerSpec *l, Error *e) {
    const char *kv = config_key(f, "num_key_value_heads");
    if (!l->n_kv_heads || json_is_null(json_object_get(config, kv))) l->n_kv_heads = l->n_heads;
    if (!config_read_u32(config, kv, 1, 4096, &l->n_kv_heads, e)) return false;
    bool stated = config_has(config, "head_dim") || (l->head_dim && !json_object_get(config, "head_dim"));
    if (!config_read_u32(config, "head_dim", 1, 8192, &l->head_dim, e)) return false;
    if (!stated) l->head_dim = s->hidden_size / l->n_heads;
    if (!stated && s->hidden_size % l->n_heads)
        return error_set(e, ERR_INPUT, "config.json: hidden_size %u is not a multiple of %u heads",
                         s->hidden_size, l->n_heads);
    if (l->n_heads % l->n_kv_heads)
        return error_set(e, ERR_INPUT, "config.json: %u heads cannot share %u key/value heads evenly",
                         l->n_heads, l->n_kv_heads);
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
    if (!check_types(config, e) || !read_sizes(m, config, &l, e) ||
        !read_activation(f, config, &l.activation, e))
        return false;
    if (!config_read_real(config, eps, &s->norm_eps, e)) return false;
    if (s->norm_eps < 0) return error_set(e, ERR_INPUT, "config.json: %s is %g", eps, s->norm_eps);
    read_biases(f, config, &l);
    json_get_bool(config, "tie_word_embeddings", &s->tied_head);
    l.softmax_scale = 1 / sqrt(l.head_dim);
    /* Every layer is a copy of it with the rotation of its own. */
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i] = l;
        if (!read_layer_rope(m, config, rope_of_layer(config, i), &s->layers[i], e)) return false;
    }
    /* What is particular to the family: windows, multipliers, experts, norms per layer. */
    return !f->hf.read || f->hf.read(m, config, e);
}
