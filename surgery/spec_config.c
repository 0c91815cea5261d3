/* config.json -> spec. Reads the legacy keys (rope_theta, rope_scaling) and transformers 5's rope_parameters.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "surgery/family.h"

enum { MAX_LAYERS = 4096 };

static bool need_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    uint64_t v;
    const json_t *found = json_object_get(config, key);
    if (!json_get_u64(config, key, &v)) {
        char *text = found ? json_dumps(found, JSON_ENCODE_ANY) : NULL;
        error_set(e, ERR_INPUT, "config.json: %s: expected a whole number, found %.60s", key,
                  text ? text : "nothing");
        free(text);
        return false;
    }
    if (v < low || v > high)
        return error_set(e, ERR_INPUT, "config.json: %s: %llu is not between %u and %u", key,
                         (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

void layer_drop_rope(LayerSpec *l) {
    l->position = POSITION_NOPE;
    l->rotary_dim = 0;
    l->scaling = (RopeScaling){0};
}

/* ---- rope ---- */

static bool scaling_kind(const char *name, RopeScalingKind *out) {
    if (!name || strcmp(name, "default") == 0) {
        *out = ROPE_SCALING_NONE;
        return true;
    }
    for (int k = ROPE_SCALING_LINEAR; k <= ROPE_SCALING_LLAMA3; k++)
        if (strcmp(rope_scaling_name((RopeScalingKind)k), name) == 0) {
            *out = (RopeScalingKind)k;
            return true;
        }
    return false;
}

static double number_or(const json_t *o, const char *key, double fallback) {
    double v;
    return json_get_f64(o, key, &v) ? v : fallback;
}

/* `rope`: rope_scaling, or one rope_parameters mapping. */
static bool read_scaling(const json_t *rope, uint32_t context, RopeScaling *r, Error *e) {
    const char *type = json_get_string(rope, "rope_type");
    if (!type) type = json_get_string(rope, "type");
    if (!scaling_kind(type, &r->kind))
        return error_set(
            e, ERR_INPUT,
            "config.json: rope type '%.40s' is not supported (default, linear, dynamic, yarn, llama3)", type);
    if (r->kind == ROPE_SCALING_NONE) return true;
    r->original_context = number_or(rope, "original_max_position_embeddings", 0);
    r->factor = number_or(rope, "factor", 0);
    if (r->factor == 0 && r->kind == ROPE_SCALING_YARN && r->original_context > 0)
        r->factor = context / r->original_context;
    if (r->original_context == 0) r->original_context = context;
    r->low_freq_factor = number_or(rope, "low_freq_factor", 1);
    r->high_freq_factor = number_or(rope, "high_freq_factor", 4);
    r->beta_fast = number_or(rope, "beta_fast", 32);
    r->beta_slow = number_or(rope, "beta_slow", 1);
    r->attention_factor = number_or(rope, "attention_factor", 0);
    if (!json_get_bool(rope, "truncate", &r->truncate)) r->truncate = true;
    double mscale = number_or(rope, "mscale", 0), all = number_or(rope, "mscale_all_dim", 0);
    if (mscale && all && r->factor > 1 && !r->attention_factor)
        r->attention_factor = (0.1 * mscale * log(r->factor) + 1) / (0.1 * all * log(r->factor) + 1);
    if (!(r->factor > 0) || !(r->original_context > 0) || !(r->low_freq_factor > 0) ||
        !(r->high_freq_factor > r->low_freq_factor))
        return error_set(e, ERR_INPUT,
                         "config.json: rope type '%s' has factor %g, original context %g, bands %g to %g",
                         type, r->factor, r->original_context, r->low_freq_factor, r->high_freq_factor);
    return true;
}

/* A linear factor so large that every angle is 0: how some write NoPE. */
static bool is_no_rotation(const RopeScaling *r) {
    return r->kind == ROPE_SCALING_LINEAR && r->factor >= 1e20;
}

static bool read_layer_rope(const Model *m, const json_t *config, const json_t *rope, LayerSpec *l,
                            Error *e) {
    l->rope_base = number_or(rope, "rope_theta", number_or(config, "rope_theta", m->family->rope_base));
    if (!(l->rope_base > 0)) return error_set(e, ERR_INPUT, "config.json: rope_theta is %g", l->rope_base);
    double part = number_or(rope, "partial_rotary_factor", number_or(config, "partial_rotary_factor", 1));
    if (!(part > 0 && part <= 1))
        return error_set(e, ERR_INPUT, "config.json: partial_rotary_factor is %g", part);
    l->rotary_dim = (uint32_t)(l->head_dim * part) / 2 * 2;
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    if (!read_scaling(rope, m->spec.context, &l->scaling, e)) return false;
    if (is_no_rotation(&l->scaling) || l->rotary_dim == 0) layer_drop_rope(l);
    return true;
}

/* rope_parameters may be one mapping, or one per layer type. */
static const json_t *rope_of_layer(const json_t *config, uint32_t layer) {
    const json_t *rope = json_object_get(config, "rope_parameters");
    if (!json_is_object(rope)) rope = json_object_get(config, "rope_scaling");
    const char *type = json_string_value(json_array_get(json_object_get(config, "layer_types"), layer));
    const json_t *own = type ? json_object_get(rope, type) : NULL;
    return json_is_object(own) ? own : json_is_object(rope) ? rope : NULL;
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

/* ---- the whole ---- */

static bool read_sizes(Model *m, const json_t *config, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    if (!need_u32(config, "num_hidden_layers", 1, MAX_LAYERS, &s->n_layers, e) ||
        !need_u32(config, "hidden_size", 1, 1 << 20, &s->width, e) ||
        !need_u32(config, "vocab_size", 1, 1 << 26, &s->vocab, e) ||
        !need_u32(config, "num_attention_heads", 1, 4096, &l->n_heads, e) ||
        !need_u32(config, "intermediate_size", 1, 1 << 22, &l->ffn_dim, e) ||
        !need_u32(config, "max_position_embeddings", 1, UINT32_MAX, &s->context, e))
        return false;
    l->n_kv_heads = l->n_heads;
    l->head_dim = s->width / l->n_heads;
    bool has_kv = json_is_integer(json_object_get(config, "num_key_value_heads"));
    bool has_dim = json_is_integer(json_object_get(config, "head_dim"));
    if (has_kv && !need_u32(config, "num_key_value_heads", 1, 4096, &l->n_kv_heads, e)) return false;
    if (has_dim && !need_u32(config, "head_dim", 1, 8192, &l->head_dim, e)) return false;
    if (l->n_heads % l->n_kv_heads)
        return error_set(e, ERR_INPUT, "config.json: %u heads cannot share %u key/value heads evenly",
                         l->n_heads, l->n_kv_heads);
    if (l->head_dim == 0 || l->head_dim % 2)
        return error_set(e, ERR_INPUT, "config.json: head_dim %u is not an even number", l->head_dim);
    return true;
}

bool spec_from_config(Model *m, const json_t *config, Error *e) {
    ModelSpec *s = &m->spec;
    LayerSpec l = {0};
    const char *act = json_get_string(config, "hidden_act");
    if (act && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return error_set(e, ERR_INPUT, "config.json: hidden_act '%.40s' is not supported (silu)", act);
    if (!read_sizes(m, config, &l, e)) return false;
    s->rms_eps = number_or(config, "rms_norm_eps", 1e-6);
    if (!json_get_bool(config, "tie_word_embeddings", &s->tied_head)) s->tied_head = m->family->tied_head;
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    l.softmax_scale = 1 / sqrt(l.head_dim);
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        s->layers[i] = l;
        if (!read_layer_rope(m, config, rope_of_layer(config, i), &s->layers[i], e)) return false;
    }
    return !m->family->read_config || m->family->read_config(m, config, e);
}
