/* config.json -> spec, by the legacy keys (rope_theta, rope_scaling) or transformers 5's rope_parameters. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/family.h"

enum { MAX_LAYERS = 4096 };

/* "config.json: KEY: expected ..., found ..." */
static bool unexpected(const json_t *config, const char *key, const char *expected, Error *e) {
    const json_t *found = json_object_get(config, key);
    char *text = found ? json_dumps(found, JSON_ENCODE_ANY) : NULL;
    error_set(e, ERR_INPUT, "config.json: %s: expected %s, found %.60s", key, expected,
              text ? text : "nothing");
    free(text);
    return false;
}

static bool is_given(const json_t *config, const char *key) {
    const json_t *v = json_object_get(config, key);
    return v && !json_is_null(v);
}

const char *config_key(const Family *f, const char *usual) {
    for (const KeyName *k = f->hf.keys; k && k->usual; k++)
        if (strcmp(k->usual, usual) == 0) return k->own;
    return usual;
}

static bool need_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    uint64_t v;
    if (!json_get_u64(config, key, &v)) return unexpected(config, key, "a whole number", e);
    if (v < low || v > high)
        return error_set(e, ERR_INPUT, "config.json: %s: %llu is not between %u and %u", key,
                         (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

bool config_real(const json_t *config, const char *key, double *out, Error *e) {
    if (!is_given(config, key) || json_get_f64(config, key, out)) return true;
    return unexpected(config, key, "a number", e);
}

bool config_count(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                  Error *e) {
    return !is_given(config, key) || need_u32(config, key, low, high, out, e);
}

bool config_flag(const json_t *config, const char *key, bool *out, Error *e) {
    const json_t *v = json_object_get(config, key);
    if (!is_given(config, key)) return true;
    if (!json_is_boolean(v) && !json_is_number(v)) return unexpected(config, key, "true or false", e);
    *out = json_is_true(v) || (json_is_number(v) && json_number_value(v) != 0);
    return true;
}

bool config_window(const json_t *config, const char *key, uint32_t *out, Error *e) {
    if (json_is_null(json_object_get(config, key))) *out = 0;
    return !is_given(config, key) || need_u32(config, key, 1, INT32_MAX, out, e);
}

void layer_drop_rope(LayerSpec *l) {
    l->position = POSITION_NOPE;
    l->rotary_dim = 0;
    l->scaling = (RopeScaling){0};
}

void unscale_windowed(Model *m) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        LayerSpec *l = &m->spec.layers[i];
        if (!l->window) continue;
        l->scaling = (RopeScaling){0};
        l->position = POSITION_ROPE;
        l->rotary_dim = l->head_dim;
    }
}

/* ---- rope ---- */

static bool scaling_kind(const char *name, RopeScalingKind *out) {
    if (!name || strcmp(name, "default") == 0) {
        *out = ROPE_SCALING_NONE;
        return true;
    }
    if (strcmp(name, "su") == 0) name = "longrope"; /* what Phi-3 called it first */
    for (int k = ROPE_SCALING_LINEAR; k <= ROPE_SCALING_LONGROPE; k++)
        if (strcmp(rope_scaling_name((RopeScalingKind)k), name) == 0) {
            *out = (RopeScalingKind)k;
            return true;
        }
    return false;
}

/* The attention factor that YaRN's mscale keys stand for; 0: the usual one. */
static double mscale_factor(double factor, double mscale, double all_dim) {
    if (mscale == 0 || all_dim == 0 || factor <= 1) return 0;
    return (0.1 * mscale * log(factor) + 1) / (0.1 * all_dim * log(factor) + 1);
}

static bool sane_scaling(const char *type, const RopeScaling *r, Error *e) {
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

/* Where the configuration itself states an original context, the factor is the ratio of the two contexts,
 * whatever else is stated. */
static bool read_longrope(Model *m, const json_t *config, const json_t *rope, uint32_t rotary_dim,
                          RopeScaling *r, Error *e) {
    bool of_contexts = r->factor == 0 || json_object_get(config, "original_max_position_embeddings");
    r->n_factors = rotary_dim / 2;
    r->short_factors = read_factors(m, rope, "short_factor", r->n_factors, e);
    r->long_factors = r->short_factors ? read_factors(m, rope, "long_factor", r->n_factors, e) : NULL;
    if (r->original_context > 0 && of_contexts) r->factor = m->spec.context / r->original_context;
    return r->long_factors != NULL;
}

/* `rope`: rope_scaling, or one rope_parameters mapping. */
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
    double mscale = 0, all_dim = 0;
    r->low_freq_factor = 1;
    r->high_freq_factor = 4;
    if (!config_real(config, "original_max_position_embeddings", &r->original_context, e) ||
        !config_real(rope, "original_max_position_embeddings", &r->original_context, e) ||
        !config_real(rope, "factor", &r->factor, e) ||
        !config_real(rope, "low_freq_factor", &r->low_freq_factor, e) ||
        !config_real(rope, "high_freq_factor", &r->high_freq_factor, e) ||
        !config_real(rope, "beta_fast", &r->beta_fast, e) ||
        !config_real(rope, "beta_slow", &r->beta_slow, e) ||
        !config_real(rope, "attention_factor", &r->attention_factor, e) ||
        !config_real(rope, "mscale", &mscale, e) || !config_real(rope, "mscale_all_dim", &all_dim, e))
        return false;
    if (r->kind == ROPE_SCALING_LONGROPE && !read_longrope(m, config, rope, rotary_dim, r, e)) return false;
    if (r->factor == 0 && r->kind == ROPE_SCALING_YARN && r->original_context > 0)
        r->factor = context / r->original_context;
    if (r->original_context == 0) r->original_context = context;
    if (r->beta_fast == 0) r->beta_fast = 32;
    if (r->beta_slow == 0) r->beta_slow = 1;
    if (r->attention_factor == 0) r->attention_factor = mscale_factor(r->factor, mscale, all_dim);
    if (!json_get_bool(rope, "truncate", &r->truncate)) r->truncate = true;
    return sane_scaling(type, r, e);
}

static bool read_layer_rope(Model *m, const json_t *config, const json_t *rope, LayerSpec *l, Error *e) {
    const Family *f = m->family;
    double part = f->rotary_part ? f->rotary_part : 1;
    if (!config_real(config, config_key(f, "rope_theta"), &l->rope_base, e) ||
        !config_real(rope, "rope_theta", &l->rope_base, e) ||
        !config_real(config, config_key(f, "partial_rotary_factor"), &part, e) ||
        !config_real(rope, "partial_rotary_factor", &part, e))
        return false;
    if (!(l->rope_base > 0)) return error_set(e, ERR_INPUT, "config.json: rope_theta is %g", l->rope_base);
    if (!(part >= 0 && part <= 1))
        return error_set(e, ERR_INPUT, "config.json: partial_rotary_factor is %g", part);
    l->rotary_dim = (uint32_t)(l->head_dim * part) / 2 * 2;
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    if (!read_scaling(m, config, rope, l->rotary_dim, &l->scaling, e)) return false;
    if (rope_stops(&l->scaling) || l->rotary_dim == 0) layer_drop_rope(l);
    return true;
}

/* Where both are given, transformers 5 takes the legacy rope_scaling and transformers 4 knows no other.
 * Either may be one mapping, or one per layer type. */
static const json_t *rope_of_layer(const json_t *config, uint32_t layer) {
    const json_t *rope = json_object_get(config, "rope_scaling");
    if (json_object_size(rope) == 0) rope = json_object_get(config, "rope_parameters");
    const char *type = json_string_value(json_array_get(json_object_get(config, "layer_types"), layer));
    const json_t *own = type ? json_object_get(rope, type) : NULL;
    return json_is_object(own) ? own : json_is_object(rope) ? rope : NULL;
}

void set_window_pattern(Model *m, uint32_t window, uint64_t every) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = every && (i + 1) % every == 0 ? 0 : window;
}

bool read_layer_types(Model *m, const json_t *config, uint32_t window, Error *e) {
    const json_t *types = json_object_get(config, "layer_types");
    if (!json_is_array(types)) return true;
    if (json_array_size(types) != m->spec.n_layers)
        return error_set(e, ERR_INPUT, "config.json: layer_types has %zu entries for %u layers",
                         json_array_size(types), m->spec.n_layers);
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, "full_attention") == 0)
            m->spec.layers[i].window = 0;
        else if (type && strcmp(type, "sliding_attention") == 0)
            m->spec.layers[i].window = window;
        else
            return error_set(e, ERR_INPUT, "config.json: layer_types[%u]: '%.40s' is not supported", i,
                             type ? type : "(not a string)");
    }
    return true;
}

bool config_layers(const Model *m, const json_t *config, const char *key, bool *listed, Error *e) {
    const json_t *list = json_object_get(config, key);
    if (!is_given(config, key)) return true;
    if (!json_is_array(list)) return unexpected(config, key, "a list of layers", e);
    memset(listed, 0, m->spec.n_layers * sizeof *listed);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return unexpected(config, key, "a list of layers", e);
        if (json_integer_value(v) < m->spec.n_layers) listed[json_integer_value(v)] = true;
    }
    return true;
}

bool read_no_rope_layers(const Model *m, const json_t *config, bool *rotates, Error *e) {
    uint32_t every = 4, n = m->spec.n_layers;
    const json_t *list = json_object_get(config, "no_rope_layers");
    if (!config_count(config, "no_rope_layer_interval", 1, INT32_MAX, &every, e)) return false;
    if (json_array_size(list) && json_array_size(list) < n)
        return error_set(e, ERR_INPUT, "config.json: no_rope_layers has %zu entries for %u layers",
                         json_array_size(list), n);
    for (uint32_t i = 0; i < n; i++) {
        const json_t *own = json_array_get(list, i);
        if (own && !json_is_integer(own) && !json_is_boolean(own))
            return error_set(e, ERR_INPUT, "config.json: no_rope_layers[%u] is neither 0 nor 1", i);
        rotates[i] = own ? json_is_true(own) || json_integer_value(own) != 0 : (i + 1) % every != 0;
    }
    return true;
}

bool config_experts(Model *m, const json_t *config, const char *key, Error *e) {
    enum { MOST = 4096 };
    LayerSpec l = m->spec.layers[0];
    if (!config_count(config, key, 1, MOST, &l.n_experts, e) ||
        !config_count(config, "num_experts_per_tok", 1, l.n_experts, &l.top_k, e))
        return false;
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        m->spec.layers[i].n_experts = l.n_experts;
        m->spec.layers[i].top_k = l.top_k < l.n_experts ? l.top_k : l.n_experts;
    }
    return true;
}

/* ---- the whole ---- */

static bool read_heads(const Family *f, const json_t *config, const ModelSpec *s, LayerSpec *l, Error *e) {
    const char *kv = config_key(f, "num_key_value_heads");
    if (!l->n_kv_heads || json_is_null(json_object_get(config, kv))) l->n_kv_heads = l->n_heads;
    if (is_given(config, kv) && !need_u32(config, kv, 1, 4096, &l->n_kv_heads, e)) return false;
    bool stated = is_given(config, "head_dim") || (l->head_dim && !json_object_get(config, "head_dim"));
    if (is_given(config, "head_dim") && !need_u32(config, "head_dim", 1, 8192, &l->head_dim, e)) return false;
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

static bool read_sizes(Model *m, const json_t *config, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    const char *ffn = config_key(m->family, "intermediate_size");
    bool four_times = (m->family->hf.quirks & HF_FFN_DEFAULT_4X) && !is_given(config, ffn);
    if (!need_u32(config, "num_hidden_layers", 1, MAX_LAYERS, &s->n_layers, e) ||
        !need_u32(config, "hidden_size", 1, 1 << 20, &s->hidden_size, e) ||
        !need_u32(config, "vocab_size", 1, 1 << 26, &s->vocab, e) ||
        !need_u32(config, "num_attention_heads", 1, 4096, &l->n_heads, e) ||
        (!four_times && !need_u32(config, ffn, 1, 1 << 22, &l->ffn_dim, e)))
        return false;
    if (four_times) l->ffn_dim = 4 * s->hidden_size;
    if (is_given(config, "max_position_embeddings") &&
        !need_u32(config, "max_position_embeddings", 1, UINT32_MAX, &s->context, e))
        return false;
    return read_heads(m->family, config, s, l, e);
}

static void read_biases(const Family *f, const json_t *config, LayerSpec *l) {
    bool all;
    if ((f->hf.quirks & HF_ATTENTION_BIAS_KEY) && json_get_bool(config, "attention_bias", &all))
        l->q_bias = l->k_bias = l->v_bias = l->o_bias = all;
    if (f->hf.quirks & HF_MLP_BIAS_KEY) json_get_bool(config, "mlp_bias", &l->mlp_bias);
}

/* transformers' names (ACT2FN). */
static bool read_activation(const Family *f, const json_t *config, Activation *out, Error *e) {
    static const struct {
        const char *name;
        Activation act;
    } names[] = {{"silu", ACT_SILU},           {"swish", ACT_SILU},
                 {"gelu", ACT_GELU},           {"gelu_new", ACT_GELU_TANH},
                 {"gelu_fast", ACT_GELU_TANH}, {"gelu_pytorch_tanh", ACT_GELU_TANH}};
    const char *key = config_key(f, "hidden_act"), *name = json_get_string(config, key);
    if (!name) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].act;
            return true;
        }
    return error_set(e, ERR_INPUT,
                     "config.json: %s '%.40s' is not supported (silu, gelu, gelu_new, gelu_pytorch_tanh)",
                     key, name);
}

/* Keys that would be passed over without a word if they were of another type. */
static bool check_types(const json_t *config, Error *e) {
    static const char *const flags[] = {"tie_word_embeddings", "attention_bias", "mlp_bias",
                                        "use_sliding_window"};
    static const char *const objects[] = {"rope_scaling", "rope_parameters"};
    static const char *const lists[] = {"layer_types", "no_rope_layers", "layer_rope_theta"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (is_given(config, flags[i]) && !json_is_boolean(json_object_get(config, flags[i])))
            return unexpected(config, flags[i], "true or false", e);
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (is_given(config, objects[i]) && !json_is_object(json_object_get(config, objects[i])))
            return unexpected(config, objects[i], "a mapping", e);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (is_given(config, lists[i]) && !json_is_array(json_object_get(config, lists[i])))
            return unexpected(config, lists[i], "a list", e);
    return true;
}

bool spec_from_config(Model *m, const json_t *config, Error *e) {
    const Family *f = m->family;
    ModelSpec *s = &m->spec;
    LayerSpec l = f->layer;
    const char *eps = config_key(f, f->model.norm == NORM_LAYER ? "layer_norm_eps" : "rms_norm_eps");
    *s = f->model;
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    if (!check_types(config, e) || !read_sizes(m, config, &l, e) ||
        !read_activation(f, config, &l.activation, e))
        return false;
    if (!config_real(config, eps, &s->norm_eps, e)) return false;
    if (s->norm_eps < 0) return error_set(e, ERR_INPUT, "config.json: %s is %g", eps, s->norm_eps);
    read_biases(f, config, &l);
    json_get_bool(config, "tie_word_embeddings", &s->tied_head);
    l.softmax_scale = 1 / sqrt(l.head_dim);
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i] = l;
        if (!read_layer_rope(m, config, rope_of_layer(config, i), &s->layers[i], e)) return false;
    }
    return !f->hf.read || f->hf.read(m, config, e);
}
