/* Rotary frequencies. inv_freq[i] is the angle in radians by which dimension pair i turns from one position
 * to the next; unscaled it is base^(-2i / rotary_dim) (RoFormer, arXiv 2104.09864). The forward pass in
 * recal/ rotates by them, spec_gguf.c and export_added.c convert between them and llama.cpp's tables of
 * divisors, and several files compare scalings. Everything is computed in double, as the tables of cos and
 * sin are made once and read for every token. */
#include "surgery/rope_frequencies.h"

#include <math.h>

/* ---- comparing scalings, and scalings that turn rotation off ---- */

/* Whether two LongRoPE scalings have the same tables of divisors. */
static bool same_factors(const RopeScaling *a, const RopeScaling *b) {
    if (a->n_factors != b->n_factors) return false;
    for (uint32_t i = 0; i < a->n_factors; i++)
        if (a->short_factors[i] != b->short_factors[i] || a->long_factors[i] != b->long_factors[i])
            return false;
    return true;
}

/* Fields that a kind does not use are 0 or have their defaults, so comparing all of them is right for every
 * kind. */
bool rope_scaling_equal(const RopeScaling *a, const RopeScaling *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == ROPE_SCALING_NONE) return true;
    return a->factor == b->factor && a->original_context == b->original_context &&
           a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
           a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow &&
           a->attention_factor == b->attention_factor && a->truncate == b->truncate && same_factors(a, b);
}

bool layer_rope_equal(const LayerSpec *a, const LayerSpec *b) {
    return a->rope_base == b->rope_base && a->rotary_dim == b->rotary_dim &&
           rope_scaling_equal(&a->scaling, &b->scaling);
}

/* A factor up to 1 shortens nothing, so scores are not sharpened. */
double rope_default_attention_factor(const RopeScaling *r) {
    if (r->factor <= 1) return 1;
    if (r->kind == ROPE_SCALING_YARN) return 0.1 * log(r->factor) + 1;
    return r->kind == ROPE_SCALING_LONGROPE ? sqrt(1 + log(r->factor) / log(r->original_context)) : 1;
}

RopeScaling rope_scaling_to_zero(RopeScalingKind kind) {
    RopeScaling r = {.kind = kind, .factor = 1e30};
    if (kind != ROPE_SCALING_LLAMA3) return r;
    /* llama3 scales wavelengths above original_context / low_freq_factor. The shortest wavelength is 2 pi, so
     * with a limit of 1 all of them are scaled. */
    r.original_context = r.low_freq_factor = 1;
    r.high_freq_factor = 4;
    return r;
}

/* With a factor of 1e20 all angles stay below 1e-10 in any context, which rounds to no rotation in fp32. For
 * llama3 the bands have to reach every frequency as well, the shortest wavelength being 2 pi. */
bool rope_scaling_is_zero(const RopeScaling *r) {
    if (!(r->factor >= 1e20)) return false;
    return r->kind == ROPE_SCALING_LINEAR ||
           (r->kind == ROPE_SCALING_LLAMA3 && r->original_context / r->low_freq_factor < 2 * M_PI);
}

bool rope_depends_on_context(const RopeScaling *r) {
    return r->kind == ROPE_SCALING_DYNAMIC || r->kind == ROPE_SCALING_LONGROPE;
}

/* ---- the kinds of scaling; each works in place on n = rotary_dim / 2 unscaled frequencies ---- */

/* Llama 3.1 (transformers' _compute_llama3_parameters): frequencies of long wavelengths are divided by the
 * factor, those of short ones stay, those between are interpolated. */
static void llama3_frequencies(const RopeScaling *r, uint32_t n, double *inv_freq) {
    double longest = r->original_context / r->low_freq_factor,
           shortest = r->original_context / r->high_freq_factor;
    for (uint32_t i = 0; i < n; i++) {
        double wavelength = 2 * M_PI / inv_freq[i];
        if (wavelength < shortest) continue;
        double scaled = inv_freq[i] / r->factor;
        /* The weight of the unscaled frequency: 0 at the longest wavelength of the band, 1 at the
         * shortest. */
        double smooth = (r->original_context / wavelength - r->low_freq_factor) /
                        (r->high_freq_factor - r->low_freq_factor);
        inv_freq[i] = wavelength > longest ? scaled : (1 - smooth) * scaled + smooth * inv_freq[i];
    }
}

/* The index of the dimension pair that makes `rotations` full turns over the original context (YaRN, section
 * 3.2). Dimension pairs before it turn more often. */
static double correction_dim(double rotations, double dim, double base, double context) {
    return dim * log(context / (rotations * 2 * M_PI)) / (2 * log(base));
}

/* YaRN (arXiv 2309.00071): dimension pairs that make more than beta_fast turns over the original context keep
 * their frequency, the frequencies of those with fewer than beta_slow turns are divided by the factor, and
 * between the two a linear ramp mixes both. Returns the attention factor. */
static double yarn_frequencies(const RopeScaling *r, double base, uint32_t n, double *inv_freq) {
    double dim = 2.0 * n;
    /* The dimension pairs at which the ramp begins and ends. */
    double low = correction_dim(r->beta_fast, dim, base, r->original_context);
    double high = correction_dim(r->beta_slow, dim, base, r->original_context);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high) high += 0.001; /* the ramp must not divide by zero */
    for (uint32_t i = 0; i < n; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        inv_freq[i] = inv_freq[i] / r->factor * ramp + inv_freq[i] * (1 - ramp);
    }
    return r->attention_factor > 0 ? r->attention_factor : rope_default_attention_factor(r);
}

/* LongRoPE (arXiv 2402.13753): each frequency has two divisors, one for texts up to the original context and
 * one for longer texts. Returns the attention factor. */
static double longrope_frequencies(const RopeScaling *r, uint64_t n_tokens, double *inv_freq) {
    const double *factors = (double)n_tokens > r->original_context ? r->long_factors : r->short_factors;
    for (uint32_t i = 0; i < r->n_factors; i++)
        inv_freq[i] /= factors[i];
    return r->attention_factor > 0 ? r->attention_factor : rope_default_attention_factor(r);
}

/* Computes the unscaled frequencies, then applies the layer's scaling. Returns the attention factor, which is
 * 1 except for YaRN and LongRoPE. */
static double scaled_frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens,
                                 double *inv_freq) {
    uint32_t dim = l->rotary_dim, n = dim / 2;
    RopeScaling r = l->scaling;
    if (r.original_context <= 0) r.original_context = s->context;
    double base = l->rope_base;
    /* "dynamic" is NTK-aware scaling by the length of the text. It increases the base instead of dividing the
     * frequencies. */
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
    /* Llama 4 norms queries and keys after the rotation, which cancels any factor. */
    return l->q_norm == QK_NORM_UNIT ? 1 : factor;
}
