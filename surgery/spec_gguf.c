/* GGUF metadata -> spec (key names: llama.cpp's llama-arch.cpp). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/meta.h"
#include "surgery/family.h"

const char *arch_key(char out[128], const Checkpoint *c, const char *suffix) {
    const char *arch = meta_string(c, "general.architecture", NULL);
    snprintf(out, 128, "%.60s.%.60s", arch ? arch : "", suffix);
    return out;
}

/* Some sizes may be lists, one per layer; only lists of equals make a family of ours. */
static bool equal_list(const Checkpoint *c, const char *key, uint64_t *out) {
    const MetaEntry *list = meta_find(c, key);
    double first, v;
    if (!list || list->type != META_ARRAY || !meta_array_f64(list, 0, &first) || !(first >= 0 && first < 1e9))
        return false;
    for (uint64_t i = 1; i < list->count; i++)
        if (!meta_array_f64(list, i, &v) || v != first) return false;
    *out = (uint64_t)first;
    return true;
}

static bool read_u32(const Checkpoint *c, const char *suffix, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e) {
    char key[128];
    uint64_t v;
    if (!meta_u64(c, arch_key(key, c, suffix), &v) && !equal_list(c, key, &v)) {
        const MetaEntry *there = meta_find(c, key);
        return error_set(e, ERR_INPUT, "%s: key '%s': expected a whole number, found %s", c->path, key,
                         !there                      ? "nothing"
                         : there->type == META_ARRAY ? "a list of unequal ones"
                                                     : "another type");
    }
    if (v < low || v > high)
        return error_set(e, ERR_INPUT, "%s: key '%s': %llu is not between %u and %u", c->path, key,
                         (unsigned long long)v, low, high);
    *out = (uint32_t)v;
    return true;
}

bool arch_real(const Checkpoint *c, const char *suffix, double *out, Error *e) {
    char key[128];
    double v;
    if (!meta_find(c, arch_key(key, c, suffix))) return true;
    if (!meta_f64(c, key, &v) || !isfinite(v))
        return error_set(e, ERR_INPUT, "%s: key '%s': expected a number", c->path, key);
    *out = v;
    return true;
}

bool gguf_window(const Checkpoint *c, uint32_t *window, Error *e) {
    char key[128];
    if (!meta_find(c, arch_key(key, c, "attention.sliding_window"))) return true;
    return read_u32(c, "attention.sliding_window", 0, INT32_MAX, window, e);
}

bool read_gguf_window_pattern(Model *m, const Checkpoint *c, uint32_t window, uint64_t every, Error *e) {
    char key[128];
    double flag;
    const MetaEntry *list = meta_find(c, arch_key(key, c, "attention.sliding_window_pattern"));
    if (!list || list->type != META_ARRAY) {
        meta_u64(c, key, &every);
        set_window_pattern(m, window, every);
        return true;
    }
    if (list->count < m->spec.n_layers)
        return error_set(e, ERR_INPUT, "%s: key '%s' is shorter than %u layers", c->path, key,
                         m->spec.n_layers);
    for (uint32_t i = 0; i < m->spec.n_layers; i++)
        m->spec.layers[i].window = meta_array_f64(list, i, &flag) && flag != 0 ? window : 0;
    return true;
}

/* The embedding's rows are the vocabulary; the tokenizer must agree, as llama.cpp insists. */
static bool read_vocabulary(ModelSpec *s, const Checkpoint *c, Error *e) {
    const Tensor *embed = checkpoint_find(c, "token_embd.weight");
    if (!embed || embed->rank != 2)
        return error_set(e, ERR_INPUT, "%s: has no tensor 'token_embd.weight' of rank 2", c->path);
    if (embed->shape[0] < 1 || embed->shape[0] > 1 << 26)
        return error_set(e, ERR_INPUT, "%s: tensor 'token_embd.weight': a vocabulary of %llu", c->path,
                         (unsigned long long)embed->shape[0]);
    const MetaEntry *tokens = meta_find(c, "tokenizer.ggml.tokens");
    if (tokens && tokens->count != embed->shape[0])
        return error_set(e, ERR_INPUT, "%s: tensor 'token_embd.weight' has %llu rows for %llu tokens",
                         c->path, (unsigned long long)embed->shape[0], (unsigned long long)tokens->count);
    s->vocab = (uint32_t)embed->shape[0];
    s->tied_head = !checkpoint_find(c, "output.weight");
    return true;
}

static bool read_heads(const ModelSpec *s, const Checkpoint *c, LayerSpec *l, Error *e) {
    char key[128];
    l->n_kv_heads = l->n_heads;
    if (meta_find(c, arch_key(key, c, "attention.head_count_kv")) &&
        !read_u32(c, "attention.head_count_kv", 1, 4096, &l->n_kv_heads, e))
        return false;
    l->head_dim = s->hidden_size / l->n_heads;
    bool has_length = meta_find(c, arch_key(key, c, "attention.key_length")) != NULL;
    if (has_length && !read_u32(c, "attention.key_length", 1, 8192, &l->head_dim, e)) return false;
    if (!has_length && s->hidden_size % l->n_heads)
        return error_set(e, ERR_INPUT, "%s: an embedding_length of %u is not a multiple of %u heads", c->path,
                         s->hidden_size, l->n_heads);
    uint32_t value_length = l->head_dim;
    if (meta_find(c, arch_key(key, c, "attention.value_length")) &&
        !read_u32(c, "attention.value_length", 1, 8192, &value_length, e))
        return false;
    if (value_length != l->head_dim)
        return error_set(e, ERR_INPUT, "%s: key '%s': %u, while keys have %u dimensions: not supported",
                         c->path, key, value_length, l->head_dim);
    if (l->n_heads % l->n_kv_heads || l->head_dim == 0 || l->head_dim % 2)
        return error_set(e, ERR_INPUT, "%s: %u heads of %u dimensions over %u key/value heads make no model",
                         c->path, l->n_heads, l->head_dim, l->n_kv_heads);
    return true;
}

static bool read_experts(const Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    char key[128];
    uint64_t experts = 0;
    meta_u64(c, arch_key(key, c, "expert_count"), &experts);
    if (experts && !m->family->layer.n_experts)
        return error_set(e, ERR_INPUT, "%s: key '%s': a mixture of %llu experts is not supported", c->path,
                         key, (unsigned long long)experts);
    if (!m->family->layer.n_experts) return true;
    bool own_width = meta_find(c, arch_key(key, c, "expert_feed_forward_length")) != NULL;
    return read_u32(c, "expert_count", 1, 4096, &l->n_experts, e) &&
           read_u32(c, "expert_used_count", 1, l->n_experts, &l->top_k, e) &&
           (!own_width || read_u32(c, "expert_feed_forward_length", 1, 1 << 22, &l->ffn_dim, e));
}

static bool read_sizes(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    if (!read_u32(c, "block_count", 1, 512, &s->n_layers, e) ||
        !read_u32(c, "embedding_length", 1, 1 << 20, &s->hidden_size, e) ||
        !read_u32(c, "attention.head_count", 1, 4096, &l->n_heads, e) ||
        !read_u32(c, "feed_forward_length", 1, 1 << 22, &l->ffn_dim, e) ||
        !read_u32(c, "context_length", 1, UINT32_MAX, &s->context, e))
        return false;
    return read_experts(m, c, l, e) && read_heads(s, c, l, e) && read_vocabulary(s, c, e);
}

/* The original context, which an element in the middle band gives away. If none is there, every context
 * between the last wave that stays and the first that is slowed means the same: 8192 if it is one of them. */
static double original_context(const double *plain, const float *divisors, uint64_t n, const RopeScaling *r) {
    double above = 0, below = INFINITY;
    for (uint64_t i = 0; i < n; i++) {
        double wave = 2 * M_PI / plain[i];
        double share = (1 / (double)divisors[i] - 1 / r->factor) / (1 - 1 / r->factor);
        if (share > 0.01 && share < 0.99)
            return round(wave * (share * (r->high_freq_factor - r->low_freq_factor) + r->low_freq_factor));
        if (share >= 0.99) above = fmax(above, wave * r->high_freq_factor);
        if (share <= 0.01) below = fmin(below, wave * r->low_freq_factor);
    }
    return 8192 > above && 8192 < below ? 8192 : above > 0 ? sqrt(above * below) : below / 2;
}

/* The first element in which a table is not that of this scaling; n: none. */
static uint64_t first_other(const Model *m, const LayerSpec *l, const double *plain, const float *divisors,
                            uint64_t n, double *expected) {
    double scaled[4096];
    uint64_t i = 0;
    rope_frequencies(&m->spec, l, 0, scaled);
    for (; i < n; i++) {
        *expected = plain[i] / scaled[i];
        if (!(fabs(*expected / divisors[i] - 1) < 1e-4)) break;
    }
    return i;
}

/* llama.cpp keeps Llama 3's scaling as a table of divisors. The factor is its last element and the bands are
 * 1 and 4, or 1 and 1 (Llama 4); recognised by recomputing it. */
static bool read_rope_divisors(const Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    const Tensor *t = checkpoint_find(c, "rope_freqs.weight");
    if (!t || l->position == POSITION_NOPE) return true;
    if (l->scaling.kind != ROPE_SCALING_NONE)
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight' beside %s scaling is not supported",
                         c->path, rope_scaling_name(l->scaling.kind));
    uint64_t n = tensor_elems(t);
    float divisors[4096];
    double plain[4096], expected = 0;
    if (n != l->rotary_dim / 2 || n > 4096)
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight': %llu elements, expected %u", c->path,
                         (unsigned long long)n, l->rotary_dim / 2);
    if (!tensor_read_f32(t, divisors, e)) return false;
    if (n == 0 || !(divisors[n - 1] >= 1) || !isfinite(divisors[n - 1]))
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight' does not end in a factor", c->path);
    l->scaling = (RopeScaling){0};
    rope_frequencies(&m->spec, l, 0, plain);
    if (divisors[n - 1] == 1) return true;
    uint64_t other = 0;
    for (double high = 4; high >= 1 && other < n; high -= 3) {
        l->scaling = (RopeScaling){.kind = ROPE_SCALING_LLAMA3,
                                   .factor = divisors[n - 1],
                                   .low_freq_factor = 1,
                                   .high_freq_factor = high};
        l->scaling.original_context = original_context(plain, divisors, n, &l->scaling);
        other = first_other(m, l, plain, divisors, n, &expected);
    }
    if (other < n)
        return error_set(
            e, ERR_INPUT,
            "%s: tensor 'rope_freqs.weight' is not Llama 3's table (element %llu is %g, expected %g)",
            c->path, (unsigned long long)other, divisors[other], expected);
    return true;
}

static const double *gguf_factors(Model *m, const Checkpoint *c, const char *name, uint32_t n, Error *e) {
    const Tensor *t = checkpoint_find(c, name);
    if (!t || tensor_elems(t) != n) {
        error_set(e, ERR_INPUT, "%s: tensor '%s': expected %u elements, found %llu", c->path, name, n,
                  t ? (unsigned long long)tensor_elems(t) : 0ULL);
        return NULL;
    }
    float *values = xcalloc(n, sizeof *values);
    double *out = arena_alloc(&m->arena, n * sizeof *out);
    bool ok = tensor_read_f32(t, values, e);
    for (uint32_t i = 0; ok && i < n; i++) {
        out[i] = values[i];
        if (!(values[i] > 0 && isfinite(values[i])))
            ok = error_set(e, ERR_INPUT, "%s: tensor '%s': element %u is %g", c->path, name, i, values[i]);
    }
    free(values);
    return ok ? out : NULL;
}

/* LongRoPE: two tables of divisors, and a factor for cos and sin that the file states. */
static bool read_longrope(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    if (!checkpoint_find(c, "rope_factors_long.weight") || l->position == POSITION_NOPE) return true;
    char key[128];
    uint64_t original = m->spec.context;
    double attention = 1;
    meta_u64(c, arch_key(key, c, "rope.scaling.original_context_length"), &original);
    if (!arch_real(c, "rope.scaling.attn_factor", &attention, e)) return false;
    if (original < 2 || !(attention > 0))
        return error_set(e, ERR_INPUT, "%s: LongRoPE has original context %llu, attention factor %g", c->path,
                         (unsigned long long)original, attention);
    RopeScaling r = {.kind = ROPE_SCALING_LONGROPE,
                     .factor = m->spec.context / (double)original,
                     .original_context = (double)original,
                     .n_factors = l->rotary_dim / 2};
    r.attention_factor = fabs(attention / rope_usual_factor(&r) - 1) < 1e-6 ? 0 : attention;
    r.short_factors = gguf_factors(m, c, "rope_factors_short.weight", r.n_factors, e);
    r.long_factors = r.short_factors ? gguf_factors(m, c, "rope_factors_long.weight", r.n_factors, e) : NULL;
    l->scaling = r;
    return r.long_factors != NULL;
}

/* llama.cpp takes a factor without a type for linear, and calls it 0 when there is none. */
static bool read_scaling(const Model *m, const Checkpoint *c, RopeScaling *r, Error *e) {
    char key[128];
    const char *type = meta_string(c, arch_key(key, c, "rope.scaling.type"), NULL);
    double factor = 0, attention = 1;
    uint64_t original = m->spec.context;
    if (!arch_real(c, "rope.scale_linear", &factor, e) || !arch_real(c, "rope.scaling.factor", &factor, e) ||
        !arch_real(c, "rope.scaling.attn_factor", &attention, e))
        return false;
    meta_u64(c, arch_key(key, c, "rope.scaling.original_context_length"), &original);
    if (factor < 0 || original == 0 || !(attention > 0))
        return error_set(e, ERR_INPUT,
                         "%s: rope scaling has factor %g, original context %llu, attention factor %g",
                         c->path, factor, (unsigned long long)original, attention);
    if (factor == 0) factor = 1;
    if (checkpoint_find(c, "rope_factors_long.weight")) return true; /* LongRoPE's is read with its tables */
    bool yarn = type && strcmp(type, "yarn") == 0, linear = !type || strcmp(type, "linear") == 0;
    if (type && !yarn && !linear && strcmp(type, "none") != 0)
        return error_set(e, ERR_INPUT, "%s: rope scaling '%.40s' is not supported (none, linear, yarn)",
                         c->path, type);
    if (!yarn && attention != 1)
        return error_set(e, ERR_INPUT, "%s: an attention factor of %g without yarn is not supported", c->path,
                         attention);
    if (!yarn && (!linear || factor == 1)) return true;
    /* the ramp's ends are 32 and 1 turns whatever the file says: these architectures do not read them */
    *r = (RopeScaling){.kind = yarn ? ROPE_SCALING_YARN : ROPE_SCALING_LINEAR,
                       .factor = factor,
                       .original_context = (double)original,
                       .low_freq_factor = 1,
                       .high_freq_factor = 4,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .truncate = true};
    r->attention_factor = attention == 1 ? 0 : attention * rope_usual_factor(r);
    return true;
}

static bool read_rope(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    char key[128];
    l->rope_base = 10000;
    if (!arch_real(c, "rope.freq_base", &l->rope_base, e)) return false;
    if (!(l->rope_base > 0))
        return error_set(e, ERR_INPUT, "%s: key '%s': %g is no base", c->path,
                         arch_key(key, c, "rope.freq_base"), l->rope_base);
    l->rotary_dim = l->head_dim;
    if (meta_find(c, arch_key(key, c, "rope.dimension_count")) &&
        !read_u32(c, "rope.dimension_count", 0, l->head_dim, &l->rotary_dim, e))
        return false;
    if (l->rotary_dim != l->head_dim && (m->family->gguf.quirks & GGUF_INTERLEAVED_ROPE) != 0)
        return error_set(e, ERR_INPUT, "%s: key '%s': %u of %u dimensions: %s rotates whole heads", c->path,
                         key, l->rotary_dim, l->head_dim, meta_string(c, "general.architecture", NULL));
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    if (!read_scaling(m, c, &l->scaling, e)) return false;
    if (l->rotary_dim == 0 || rope_stops(&l->scaling)) layer_drop_rope(l);
    return read_rope_divisors(m, c, l, e) && read_longrope(m, c, l, e);
}

bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    LayerSpec l = m->family->layer;
    const char *eps = m->family->model.norm == NORM_LAYER ? "attention.layer_norm_epsilon"
                                                          : "attention.layer_norm_rms_epsilon";
    *s = m->family->model;
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    if (!read_sizes(m, c, &l, e) || !read_rope(m, c, &l, e)) return false;
    s->norm_eps = 1e-5;
    if (!arch_real(c, eps, &s->norm_eps, e)) return false;
    if (s->norm_eps < 0) return error_set(e, ERR_INPUT, "%s: a norm's epsilon of %g", c->path, s->norm_eps);
    l.softmax_scale = 1 / sqrt(l.head_dim);
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i] = l;
    return !m->family->gguf.read || m->family->gguf.read(m, c, e);
}
