#include "surgery/spec.h"

#include <jansson.h>
#include <math.h>

#include "surgery/model.h"

const char *position_name(Position p) {
    static const char *const names[] = {"rope", "partial", "nope"};
    return names[p];
}

const char *rope_scaling_name(RopeScalingKind k) {
    static const char *const names[] = {"none", "linear", "dynamic", "yarn", "llama3", "longrope"};
    return names[k];
}

static bool same_factors(const RopeScaling *a, const RopeScaling *b) {
    if (a->n_factors != b->n_factors) return false;
    for (uint32_t i = 0; i < a->n_factors; i++)
        if (a->short_factors[i] != b->short_factors[i] || a->long_factors[i] != b->long_factors[i])
            return false;
    return true;
}

bool rope_scaling_equal(const RopeScaling *a, const RopeScaling *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == ROPE_SCALING_NONE) return true;
    return a->factor == b->factor && a->original_context == b->original_context &&
           a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
           a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow &&
           a->attention_factor == b->attention_factor && a->truncate == b->truncate && same_factors(a, b);
}

double rope_usual_factor(const RopeScaling *r) {
    if (r->factor <= 1) return 1;
    if (r->kind == ROPE_SCALING_YARN) return 0.1 * log(r->factor) + 1;
    return r->kind == ROPE_SCALING_LONGROPE ? sqrt(1 + log(r->factor) / log(r->original_context)) : 1;
}

RopeScaling rope_stopped(RopeScalingKind kind) {
    RopeScaling r = {.kind = kind, .factor = 1e30};
    if (kind != ROPE_SCALING_LLAMA3) return r;
    r.original_context = r.low_freq_factor = 1;
    r.high_freq_factor = 4;
    return r;
}

bool rope_stops(const RopeScaling *r) {
    if (!(r->factor >= 1e20)) return false;
    return r->kind == ROPE_SCALING_LINEAR ||
           (r->kind == ROPE_SCALING_LLAMA3 && r->original_context / r->low_freq_factor < 2 * M_PI);
}

bool rope_counts_from_context(const RopeScaling *r) {
    return r->kind == ROPE_SCALING_DYNAMIC || r->kind == ROPE_SCALING_LONGROPE;
}

bool spec_is_uniform(const ModelSpec *s) {
    for (uint32_t i = 1; i < s->n_layers; i++) {
        const LayerSpec *a = &s->layers[0], *b = &s->layers[i];
        if (a->position != b->position || a->window != b->window || a->rope_base != b->rope_base ||
            !rope_scaling_equal(&a->scaling, &b->scaling))
            return false;
    }
    return true;
}

/* ---- frequencies: transformers' modeling_rope_utils, function by function ---- */

static void llama3_frequencies(const RopeScaling *r, uint32_t n, double *inv_freq) {
    double longest = r->original_context / r->low_freq_factor,
           shortest = r->original_context / r->high_freq_factor;
    for (uint32_t i = 0; i < n; i++) {
        double wave = 2 * M_PI / inv_freq[i];
        if (wave < shortest) continue;
        double slow = inv_freq[i] / r->factor;
        double share =
            (r->original_context / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        inv_freq[i] = wave > longest ? slow : (1 - share) * slow + share * inv_freq[i];
    }
}

/* The dimension that turns `rotations` times over the original context (YaRN, section 3.2). */
static double correction_dim(double rotations, double dim, double base, double context) {
    return dim * log(context / (rotations * 2 * M_PI)) / (2 * log(base));
}

static double yarn_frequencies(const RopeScaling *r, double base, uint32_t n, double *inv_freq) {
    double dim = 2.0 * n;
    double low = correction_dim(r->beta_fast, dim, base, r->original_context);
    double high = correction_dim(r->beta_slow, dim, base, r->original_context);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high) high += 0.001;
    for (uint32_t i = 0; i < n; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        inv_freq[i] = inv_freq[i] / r->factor * ramp + inv_freq[i] * (1 - ramp);
    }
    return r->attention_factor > 0 ? r->attention_factor : rope_usual_factor(r);
}

static double longrope_frequencies(const RopeScaling *r, uint64_t n_tokens, double *inv_freq) {
    const double *factors = (double)n_tokens > r->original_context ? r->long_factors : r->short_factors;
    for (uint32_t i = 0; i < r->n_factors; i++)
        inv_freq[i] /= factors[i];
    return r->attention_factor > 0 ? r->attention_factor : rope_usual_factor(r);
}

static double scaled_frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens,
                                 double *inv_freq) {
    uint32_t dim = l->rotary_dim, n = dim / 2;
    RopeScaling r = l->scaling;
    if (r.original_context <= 0) r.original_context = s->context;
    double base = l->rope_base;
    if (r.kind == ROPE_SCALING_DYNAMIC && dim > 2) {
        double length = n_tokens > s->context ? (double)n_tokens : s->context;
        base *= pow(r.factor * length / s->context - (r.factor - 1), dim / (dim - 2.0));
    }
    for (uint32_t i = 0; i < n; i++)
        inv_freq[i] = pow(base, -2.0 * i / dim);
    if (r.kind == ROPE_SCALING_LINEAR)
        for (uint32_t i = 0; i < n; i++)
            inv_freq[i] /= r.factor;
    if (r.kind == ROPE_SCALING_LLAMA3) llama3_frequencies(&r, n, inv_freq);
    if (r.kind == ROPE_SCALING_YARN) return yarn_frequencies(&r, base, n, inv_freq);
    if (r.kind == ROPE_SCALING_LONGROPE) return longrope_frequencies(&r, n_tokens, inv_freq);
    return 1;
}

double rope_frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens, double *inv_freq) {
    double factor = scaled_frequencies(s, l, n_tokens, inv_freq);
    return l->q_norm == QK_NORM_UNIT ? 1 : factor; /* such norms come after the rotation, and undo it */
}

/* ---- as JSON ---- */

static json_t *rope_to_json(const LayerSpec *l) {
    json_t *o = json_pack("{s:f, s:i, s:s}", "base", l->rope_base, "rotary_dim", (int)l->rotary_dim,
                          "scaling", rope_scaling_name(l->scaling.kind));
    const RopeScaling *r = &l->scaling;
    if (r->kind != ROPE_SCALING_NONE) json_object_set_new(o, "factor", json_real(r->factor));
    if (r->kind == ROPE_SCALING_YARN || r->kind == ROPE_SCALING_LLAMA3 || r->kind == ROPE_SCALING_LONGROPE)
        json_object_set_new(o, "original_context", json_real(r->original_context));
    if (r->kind == ROPE_SCALING_LLAMA3) {
        json_object_set_new(o, "low_freq_factor", json_real(r->low_freq_factor));
        json_object_set_new(o, "high_freq_factor", json_real(r->high_freq_factor));
    }
    if (r->kind == ROPE_SCALING_YARN) {
        json_object_set_new(o, "truncate", json_boolean(r->truncate));
        json_object_set_new(o, "beta_fast", json_real(r->beta_fast));
        json_object_set_new(o, "beta_slow", json_real(r->beta_slow));
        if (r->attention_factor > 0)
            json_object_set_new(o, "attention_factor", json_real(r->attention_factor));
    }
    return o;
}

static json_t *layer_to_json(const LayerSpec *l) {
    static const char *const norms[] = {"none", "head", "full", "unit"},
                             *const layouts[] = {"sequential", "parallel", "shared"},
                             *const acts[] = {"silu", "gelu", "gelu_tanh", "clipped"};
    json_t *o = json_pack(
        "{s:s, s:o, s:i, s:i, s:i, s:f, s:b, s:b, s:b, s:s, s:b, s:i}", "position",
        position_name(l->position), "window", l->window ? json_integer(l->window) : json_null(), "heads",
        (int)l->n_heads, "kv_heads", (int)l->n_kv_heads, "head_dim", (int)l->head_dim, "softmax_scale",
        l->softmax_scale, "qkv_bias", l->q_bias || l->k_bias || l->v_bias, "o_bias", l->o_bias, "mlp_bias",
        l->mlp_bias, "q_norm", norms[l->q_norm], "sinks", l->sinks, "ffn_dim", (int)l->ffn_dim);
    json_object_set_new(o, "k_norm", json_string(norms[l->k_norm]));
    json_object_set_new(o, "residual_layout", json_string(layouts[l->residual_layout]));
    json_object_set_new(o, "pre_norms", json_boolean(!l->no_pre_norms));
    json_object_set_new(o, "post_norms", json_boolean(l->post_norms));
    json_object_set_new(o, "activation", json_string(acts[l->activation]));
    json_object_set_new(o, "gated", json_boolean(!l->no_gate));
    json_object_set_new(o, "experts", json_integer(l->n_experts));
    if (l->n_experts) json_object_set_new(o, "experts_used", json_integer(l->top_k));
    if (l->shared_expert) json_object_set_new(o, "shared_expert", json_true());
    if (l->chunked) json_object_set_new(o, "chunked", json_true());
    if (l->temperature_scale)
        json_object_set_new(
            o, "attention_temperature",
            json_pack("{s:f, s:f}", "scale", l->temperature_scale, "length", l->temperature_floor));
    json_object_set_new(o, "softcap", l->softcap > 0 ? json_real(l->softcap) : json_null());
    if (l->position != POSITION_NOPE) json_object_set_new(o, "rope", rope_to_json(l));
    return o;
}

json_t *spec_to_json(const ModelSpec *s) {
    json_t *layers = json_array();
    for (uint32_t i = 0; i < s->n_layers; i++)
        json_array_append_new(layers, layer_to_json(&s->layers[i]));
    json_t *o = json_pack("{s:i, s:i, s:i, s:I, s:f, s:b, s:f, s:f, s:f}", "n_layers", (int)s->n_layers,
                          "hidden_size", (int)s->hidden_size, "vocab", (int)s->vocab, "context",
                          (json_int_t)s->context, "norm_eps", s->norm_eps, "tied_head", s->tied_head,
                          "embedding_scale", s->embedding_scale, "residual_scale", s->residual_scale,
                          "logit_scale", s->logit_scale);
    json_object_set_new(o, "norm", json_string(s->norm == NORM_LAYER ? "layer" : "rms"));
    json_object_set_new(o, "unit_offset_norm", json_boolean(s->unit_offset_norm));
    json_object_set_new(o, "logit_softcap", s->logit_softcap > 0 ? json_real(s->logit_softcap) : json_null());
    json_object_set_new(o, "layers", layers);
    return o;
}
