/* The common part of reading a GGUF's metadata. The steps are the parts of this file: sizes, heads and
 * experts; then rotation, whose scaling may be stated by keys (linear, YaRN) or by tensors with divisors
 * (Llama 3, LongRoPE). What is particular to an architecture is added by the family's hook at the end. Key
 * names are those of llama.cpp's src/llama-arch.cpp, and absent keys mean what its src/llama-model.cpp takes
 * them for. */
#include "surgery/spec_gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/arch_keys.h"
#include "surgery/family.h"
#include "surgery/rope_frequencies.h"

/* ---- sizes ---- */

/* The vocabulary is as large as the embedding has rows. The tokenizer has to have as many tokens: llama.cpp
 * refuses a file in which the two differ. Without output.weight the embedding is the output matrix as well.
 */
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

/* A number that may be absent; then `*out` stays. */
static bool read_optional(const Checkpoint *c, const char *suffix, uint32_t low, uint32_t high, uint32_t *out,
                          Error *e) {
    return !arch_find(c, suffix) || arch_read_u32(c, suffix, low, high, out, e);
}

/* Heads of attention and their size; n_heads is read already. key_length is head_dim; where it is absent,
 * heads divide the hidden size. llama.cpp allows values of another length than keys, the spec does not. */
static bool read_heads(const ModelSpec *s, const Checkpoint *c, LayerSpec *l, Error *e) {
    l->n_kv_heads = l->n_heads;
    l->head_dim = s->hidden_size / l->n_heads;
    bool has_length = arch_find(c, "attention.key_length") != NULL;
    if (!read_optional(c, "attention.head_count_kv", 1, 4096, &l->n_kv_heads, e) ||
        !read_optional(c, "attention.key_length", 1, 8192, &l->head_dim, e))
        return false;
    if (!has_length && s->hidden_size % l->n_heads)
        return error_set(e, ERR_INPUT, "%s: an embedding_length of %u is not a multiple of %u heads", c->path,
                         s->hidden_size, l->n_heads);
    uint32_t value_length = l->head_dim;
    if (!read_optional(c, "attention.value_length", 1, 8192, &value_length, e)) return false;
    if (value_length != l->head_dim)
        return arch_error(e, c, "attention.value_length",
                          ": %u, while keys have %u dimensions: not supported", value_length, l->head_dim);
    /* Grouped-query attention gives each key/value head the same number of query heads; rotation needs pairs.
     */
    if (l->n_heads % l->n_kv_heads || l->head_dim == 0 || l->head_dim % 2)
        return error_set(e, ERR_INPUT, "%s: %u heads of %u dimensions over %u key/value heads make no model",
                         c->path, l->n_heads, l->head_dim, l->n_kv_heads);
    return true;
}

/* Experts are read for families that have them; in a file of another family they are an error. */
static bool read_experts(const Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    uint64_t experts = 0;
    arch_get_u64(c, "expert_count", &experts);
    if (experts && !m->family->layer.n_experts)
        return arch_error(e, c, "expert_count", ": a mixture of %llu experts is not supported",
                          (unsigned long long)experts);
    if (!m->family->layer.n_experts) return true;
    return arch_read_u32(c, "expert_count", 1, 4096, &l->n_experts, e) &&
           arch_read_u32(c, "expert_used_count", 1, l->n_experts, &l->top_k, e) &&
           read_optional(c, "expert_feed_forward_length", 1, 1 << 22, &l->ffn_dim, e);
}

/* The upper limits lie far above real models. They keep products of sizes within 64 bits whatever a file
 * says. */
static bool read_sizes(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    ModelSpec *s = &m->spec;
    if (!arch_read_u32(c, "block_count", 1, 512, &s->n_layers, e) ||
        !arch_read_u32(c, "embedding_length", 1, 1 << 20, &s->hidden_size, e) ||
        !arch_read_u32(c, "attention.head_count", 1, 4096, &l->n_heads, e) ||
        !arch_read_u32(c, "feed_forward_length", 1, 1 << 22, &l->ffn_dim, e) ||
        !arch_read_u32(c, "context_length", 1, UINT32_MAX, &s->context, e))
        return false;
    return read_experts(m, c, l, e) && read_heads(s, c, l, e) && read_vocabulary(s, c, e);
}

/* ---- Llama 3's scaling, from a table of divisors ---- */

/* The original context that a table of divisors was computed from, which the file does not state. `plain` has
 * the n unscaled frequencies, `r` the factor and the bands. In Llama 3's formula a frequency between the two
 * bands is interpolated, with a weight that depends on wavelength and original context, so one such element
 * is enough to solve for the context. If no element lies between the bands, every context between two bounds
 * gives the same table: above the longest wavelength that stays and below the shortest that is divided (times
 * the band's factor). Then 8192 is taken if it is allowed, because Llama 3 has it, and otherwise the middle.
 */
static double original_context(const double *plain, const float *divisors, uint64_t n, const RopeScaling *r) {
    double above = 0, below = INFINITY;
    for (uint64_t i = 0; i < n; i++) {
        double wavelength = 2 * M_PI / plain[i];
        /* the weight of the unscaled frequency: 1 if it stays, 0 if it is divided by the whole factor */
        double smooth = (1 / (double)divisors[i] - 1 / r->factor) / (1 - 1 / r->factor);
        if (smooth > 0.01 && smooth < 0.99)
            return round(wavelength *
                         (smooth * (r->high_freq_factor - r->low_freq_factor) + r->low_freq_factor));
        if (smooth >= 0.99) above = fmax(above, wavelength * r->high_freq_factor);
        if (smooth <= 0.01) below = fmin(below, wavelength * r->low_freq_factor);
    }
    return 8192 > above && 8192 < below ? 8192 : above > 0 ? sqrt(above * below) : below / 2;
}

/* The first element in which the table differs from that of the layer's scaling, and what it would have to
 * be; n if all agree. */
static uint64_t first_difference(const Model *m, const LayerSpec *l, const double *plain,
                                 const float *divisors, uint64_t n, double *expected) {
    double scaled[4096];
    uint64_t i = 0;
    rope_frequencies(&m->spec, l, 0, scaled);
    for (; i < n; i++) {
        *expected = plain[i] / scaled[i];
        if (!(fabs(*expected / divisors[i] - 1) < 1e-4)) break;
    }
    return i;
}

/* rope_freqs.weight: rotary_dim / 2 divisors of the frequencies. llama.cpp would apply any table; a spec has
 * only Llama 3's formula, so its parameters are recovered and the table is recomputed from them for
 * comparison. */
static bool read_rope_divisors(const Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    const Tensor *t = checkpoint_find(c, "rope_freqs.weight");
    if (!t || l->position == POSITION_NOPE) return true;
    if (l->scaling.kind != ROPE_SCALING_NONE)
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight' beside %s scaling is not supported",
                         c->path, rope_scaling_name(l->scaling.kind));
    /* Check the size before reading: the arrays below have room for half of the largest rotary_dim. */
    uint64_t n = tensor_elems(t);
    float divisors[4096];
    double plain[4096], expected = 0;
    if (n != l->rotary_dim / 2 || n > 4096)
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight': %llu elements, expected %u", c->path,
                         (unsigned long long)n, l->rotary_dim / 2);
    if (!tensor_read_f32(t, divisors, e)) return false;
    if (n == 0 || !(divisors[n - 1] >= 1) || !isfinite(divisors[n - 1]))
        return error_set(e, ERR_INPUT, "%s: tensor 'rope_freqs.weight' does not end in a factor", c->path);
    /* The last element belongs to the lowest frequency, which is divided by the whole factor. */
    l->scaling = (RopeScaling){0};
    rope_frequencies(&m->spec, l, 0, plain);
    if (divisors[n - 1] == 1) return true; /* no scaling at all */
    /* The bands are 1 and 4 in Llama 3 and 1 and 1 in Llama 4. */
    uint64_t other = 0;
    for (double high = 4; high >= 1 && other < n; high -= 3) {
        l->scaling = (RopeScaling){.kind = ROPE_SCALING_LLAMA3,
                                   .factor = divisors[n - 1],
                                   .low_freq_factor = 1,
                                   .high_freq_factor = high};
        l->scaling.original_context = original_context(plain, divisors, n, &l->scaling);
        other = first_difference(m, l, plain, divisors, n, &expected);
    }
    if (other < n)
        return error_set(
            e, ERR_INPUT,
            "%s: tensor 'rope_freqs.weight' is not Llama 3's table (element %llu is %g, expected %g)",
            c->path, (unsigned long long)other, divisors[other], expected);
    return true;
}

/* ---- LongRoPE, from two tables of divisors ---- */

/* A tensor of n positive numbers, copied into the model's arena. */
static const double *read_factors(Model *m, const Checkpoint *c, const char *name, uint32_t n, Error *e) {
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

/* The tables rope_factors_short.weight and rope_factors_long.weight, and the attention factor from a key. */
static bool read_longrope(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    if (!checkpoint_find(c, "rope_factors_long.weight") || l->position == POSITION_NOPE) return true;
    uint64_t original = m->spec.context;
    double attention = 1;
    arch_get_u64(c, "rope.scaling.original_context_length", &original);
    if (!arch_read_real(c, "rope.scaling.attn_factor", &attention, e)) return false;
    if (original < 2 || !(attention > 0))
        return error_set(e, ERR_INPUT, "%s: LongRoPE has original context %llu, attention factor %g", c->path,
                         (unsigned long long)original, attention);
    RopeScaling r = {.kind = ROPE_SCALING_LONGROPE,
                     .factor = m->spec.context / (double)original,
                     .original_context = (double)original,
                     .n_factors = l->rotary_dim / 2};
    /* A stated factor that is the default one is read as the default, as in the config.json that it came
     * from. */
    r.attention_factor = fabs(attention / rope_default_attention_factor(&r) - 1) < 1e-6 ? 0 : attention;
    r.short_factors = read_factors(m, c, "rope_factors_short.weight", r.n_factors, e);
    r.long_factors = r.short_factors ? read_factors(m, c, "rope_factors_long.weight", r.n_factors, e) : NULL;
    l->scaling = r;
    return r.long_factors != NULL;
}

/* ---- scaling by keys ---- */

/* Whether a string of the file, which has no terminating NUL, is `text`. */
static bool is_text(const char *bytes, size_t len, const char *text) {
    return bytes && len == strlen(text) && memcmp(bytes, text, len) == 0;
}

/* Linear scaling and YaRN. In llama.cpp a factor without a type means linear, a factor of 0 means 1, and
 * rope.scale_linear is the older name of the factor. */
static bool read_scaling(const Model *m, const Checkpoint *c, RopeScaling *r, Error *e) {
    size_t len = 0;
    const char *type = arch_get_string(c, "rope.scaling.type", &len);
    double factor = 0, attention = 1;
    uint64_t original = m->spec.context;
    if (!arch_read_real(c, "rope.scale_linear", &factor, e) ||
        !arch_read_real(c, "rope.scaling.factor", &factor, e) ||
        !arch_read_real(c, "rope.scaling.attn_factor", &attention, e))
        return false;
    arch_get_u64(c, "rope.scaling.original_context_length", &original);
    if (factor < 0 || original == 0 || !(attention > 0))
        return error_set(e, ERR_INPUT,
                         "%s: rope scaling has factor %g, original context %llu, attention factor %g",
                         c->path, factor, (unsigned long long)original, attention);
    if (factor == 0) factor = 1;
    if (checkpoint_find(c, "rope_factors_long.weight")) return true; /* read_longrope reads it */
    bool yarn = is_text(type, len, "yarn"), linear = !type || is_text(type, len, "linear");
    if (type && !yarn && !linear && !is_text(type, len, "none"))
        return error_set(e, ERR_INPUT, "%s: rope scaling '%.*s' is not supported (none, linear, yarn)",
                         c->path, len < 40 ? (int)len : 40, type);
    if (!yarn && attention != 1)
        return error_set(e, ERR_INPUT, "%s: an attention factor of %g without yarn is not supported", c->path,
                         attention);
    if (!yarn && (!linear || factor == 1)) return true;
    /* llama.cpp computes YaRN's ramp from 32 turns to 1 in these architectures; it does not read the two
     * keys. */
    *r = (RopeScaling){.kind = yarn ? ROPE_SCALING_YARN : ROPE_SCALING_LINEAR,
                       .factor = factor,
                       .original_context = (double)original,
                       .low_freq_factor = 1,
                       .high_freq_factor = 4,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .truncate = true};
    /* attn_factor multiplies the default attention factor */
    r->attention_factor = attention == 1 ? 0 : attention * rope_default_attention_factor(r);
    return true;
}

/* ---- the whole ---- */

/* Base, rotated dimensions and scaling, which in a GGUF are the same for all layers; families whose layers
 * differ change some of them in their hook. */
static bool read_rope(Model *m, const Checkpoint *c, LayerSpec *l, Error *e) {
    l->rope_base = 10000;
    if (!arch_read_real(c, "rope.freq_base", &l->rope_base, e)) return false;
    if (!(l->rope_base > 0)) return arch_error(e, c, "rope.freq_base", ": %g is no base", l->rope_base);
    l->rotary_dim = l->head_dim;
    if (!read_optional(c, "rope.dimension_count", 0, l->head_dim, &l->rotary_dim, e)) return false;
    if (l->rotary_dim != l->head_dim && m->family->gguf.quirks & GGUF_INTERLEAVED_ROPE)
        return arch_error(e, c, "rope.dimension_count", ": %u of %u dimensions: %s rotates whole heads",
                          l->rotary_dim, l->head_dim, m->family->gguf.arch);
    l->position = l->rotary_dim == l->head_dim ? POSITION_ROPE : POSITION_PARTIAL;
    if (!read_scaling(m, c, &l->scaling, e)) return false;
    if (l->rotary_dim == 0 || rope_scaling_is_zero(&l->scaling)) layer_drop_rope(l);
    return read_rope_divisors(m, c, l, e) && read_longrope(m, c, l, e);
}

/* All layers get the same description; the family's hook then changes those that differ. */
bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e) {
    ModelSpec *s = &m->spec;
    LayerSpec l = m->family->layer;
    const char *eps = m->family->model.norm == NORM_LAYER ? "attention.layer_norm_epsilon"
                                                          : "attention.layer_norm_rms_epsilon";
    /* The family's defaults first; what all layers have in common goes into `l`. */
    *s = m->family->model;
    s->embedding_scale = s->residual_scale = s->logit_scale = 1;
    if (!read_sizes(m, c, &l, e) || !read_rope(m, c, &l, e)) return false;
    s->norm_eps = 1e-5;
    if (!arch_read_real(c, eps, &s->norm_eps, e)) return false;
    if (s->norm_eps < 0) return error_set(e, ERR_INPUT, "%s: a norm's epsilon of %g", c->path, s->norm_eps);
    l.softmax_scale = 1 / sqrt(l.head_dim);
    s->layers = arena_alloc(&m->arena, s->n_layers * sizeof *s->layers);
    for (uint32_t i = 0; i < s->n_layers; i++)
        s->layers[i] = l;
    /* What is particular to the architecture: windows, multipliers, layers that do not rotate. */
    return !m->family->gguf.read || m->family->gguf.read(m, c, e);
}
