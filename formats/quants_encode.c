/* Encoders that search for good scales: see formats/quants_encode.h.
 *
 * A block type stores an element as a small integer, its level, and a sub-block of elements shares a scale
 * (and, in Q2_K, Q4_K and Q5_K, a minimum). Rounding to the nearest level is easy once the scale is known;
 * the search is for the scale that makes the total error small. Super-blocks of 256 elements then store the
 * scales of their sub-blocks as small integers too, times one half-precision factor, and the levels are
 * computed again with the scales as they will be decoded.
 *
 * The search is that of ggml's reference (ggml-quants.c: make_qkx2_quants, make_qx_quants, make_q3_quants),
 * operation by operation, so that the bytes are equal. For speed, computations that do not depend on each
 * other run side by side in the lanes of an array: the sub-blocks of a super-block, or the candidate scales
 * of one sub-block. Each sum still adds its terms in the reference's order. */
#include "formats/quants_encode.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "formats/quant_block.h"

enum {
    SUPER = 256, /* elements of a super-block */
    LANES = 20,  /* at least the sub-blocks of a super-block (16) and the candidate scales (19) */
};

/* If all magnitudes of a sub-block are below this, its scale and levels are 0 (ggml: GROUP_MAX_EPS). */
static const float NEGLIGIBLE = 1e-15f;

/* A scale as the decoder will see it, after it was stored in half precision. */
static float through_f16(float f) {
    return f16_to_f32(f32_to_f16(f));
}

/* The nearest whole number, ties to even, limited to [low, high]; NaN becomes `low`. Adding 1.5 * 2^23 leaves
 * no bits for a fraction in the sum, so the addition rounds; it vectorises, and rounds as nearest_int of ggml
 * does. */
static inline float nearest(float v, float low, float high) {
    v = v + 0x1.8p23f - 0x1.8p23f;
    return v > low ? v < high ? v : high : low;
}

/* ---- types with scale and minimum: Q2_K, Q4_K, Q5_K ---- */

/* The parameters by which the three types differ. */
typedef struct AffineSearch {
    int lanes;       /* sub-blocks of the super-block: 8 of 32 elements, or 16 of 16 */
    float max_level; /* levels are 0 to max_level */
    /* Candidate i divides the range of the values into max_level + first + step * i steps. With more steps
     * than levels, the outermost values are clipped, which often reduces the total error. */
    float first, step;
    int tries;     /* number of candidates */
    bool absolute; /* the error to minimise is the sum of |error| and not of its square */
} AffineSearch;

/* A super-block, its sub-blocks side by side: element i of sub-block `lane` is at [i * lanes + lane]. A level
 * stands for the value scale * level + minimum, with minimum <= 0. */
typedef struct AffineFit {
    float x[SUPER];       /* the values to encode */
    float weight[SUPER];  /* of each error in the sum */
    float level[SUPER];   /* the best levels so far */
    float scale[LANES];   /* their scales, one for each sub-block */
    float minimum[LANES]; /* their minima */
} AffineFit;

/* One candidate in each lane. */
typedef struct Candidate {
    float inverse[LANES];                             /* levels per unit of value */
    float level[SUPER];                               /* levels under it, laid out like AffineFit.level */
    float sum_l[LANES], sum_ll[LANES], sum_xl[LANES]; /* weighted sums of level, level^2, x * level */
    float scale[LANES], minimum[LANES];               /* the best ones for these levels */
    float error[LANES];                               /* the weighted error under them */
} Candidate;

/* Inlined into each encoder, where search->lanes is a constant, so that the loops over lanes are unrolled and
 * vectorised. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Rounds the values to levels under the candidate's inverse scale and the best minimum so far, and sums what
 * the least-squares fit needs. */
ALWAYS_INLINE void quantize_candidate(const AffineSearch *s, const AffineFit *b, Candidate *t) {
    memset(t->sum_l, 0, 3 * sizeof t->sum_l); /* and sum_ll and sum_xl, which follow it */
    for (int i = 0; i < SUPER; i += s->lanes) {
#pragma omp simd
        for (int lane = 0; lane < s->lanes; lane++) {
            float x = b->x[i + lane], w = b->weight[i + lane];
            float l = nearest(t->inverse[lane] * (x - b->minimum[lane]), 0, s->max_level);
            t->level[i + lane] = l;
            t->sum_l[lane] += w * l;
            t->sum_ll[lane] += w * l * l;
            t->sum_xl[lane] += w * l * x;
        }
    }
}

/* The weighted error of the candidate's levels under its scale and minimum. */
ALWAYS_INLINE void measure_candidate(const AffineSearch *s, const AffineFit *b, Candidate *t) {
    memset(t->error, 0, sizeof t->error);
    for (int i = 0; i < SUPER; i += s->lanes) {
#pragma omp simd
        for (int lane = 0; lane < s->lanes; lane++) {
            float off = t->scale[lane] * t->level[i + lane] + t->minimum[lane] - b->x[i + lane];
            t->error[lane] += b->weight[i + lane] * (s->absolute ? fabsf(off) : off * off);
        }
    }
}

/* The scale and minimum that reproduce the levels best, by weighted least squares: minimise sum(w * (scale *
 * l + minimum - x)^2). The normal equations are a system of two, solved by Cramer's rule. A minimum above 0
 * is not possible in the format; then the minimum is 0 and only the scale is fitted. If all levels of a lane
 * are equal, the determinant is 0 and there is no solution: NaN as scale makes the error NaN, which is not
 * less than any other. */
ALWAYS_INLINE void solve_candidate(const AffineSearch *s, Candidate *t, const float *sum_w,
                                   const float *sum_x) {
    for (int lane = 0; lane < s->lanes; lane++) {
        float l = t->sum_l[lane], ll = t->sum_ll[lane], xl = t->sum_xl[lane];
        float determinant = sum_w[lane] * ll - l * l;
        t->scale[lane] = (sum_w[lane] * xl - sum_x[lane] * l) / determinant;
        t->minimum[lane] = (ll * sum_x[lane] - l * xl) / determinant;
        if (t->minimum[lane] > 0) {
            t->minimum[lane] = 0;
            t->scale[lane] = xl / ll;
        }
        if (!(determinant > 0)) t->scale[lane] = NAN;
    }
}

/* Keeps the candidate in the lanes where its error is less than `best`. Its minimum becomes the one from
 * which later candidates round. */
ALWAYS_INLINE void keep_better(const AffineSearch *s, AffineFit *b, const Candidate *t, float *best) {
    bool better[LANES], any = false;
    for (int lane = 0; lane < s->lanes; lane++) {
        any |= better[lane] = t->error[lane] < best[lane];
        if (!better[lane]) continue;
        best[lane] = t->error[lane];
        b->scale[lane] = t->scale[lane];
        b->minimum[lane] = t->minimum[lane];
    }
    for (int i = 0; any && i < SUPER; i += s->lanes)
        for (int lane = 0; lane < s->lanes; lane++)
            if (better[lane]) b->level[i + lane] = t->level[i + lane];
}

/* Finds levels, scale and minimum of each sub-block. */
ALWAYS_INLINE void fit_affine(const AffineSearch *s, AffineFit *b) {
    float most[LANES] = {0}, best[LANES], sum_w[LANES] = {0}, sum_x[LANES] = {0};
    memset(b->minimum, 0, sizeof b->minimum);
    for (int lane = 0; lane < s->lanes; lane++)
        most[lane] = b->x[lane];
    /* Range and weighted sums of the values. The minimum is at most 0, so that 0 is representable. */
    for (int i = 0; i < SUPER; i++) {
        int lane = i % s->lanes;
        if (b->x[i] < b->minimum[lane]) b->minimum[lane] = b->x[i];
        if (b->x[i] > most[lane]) most[lane] = b->x[i];
        sum_w[lane] += b->weight[i];
        sum_x[lane] += b->weight[i] * b->x[i];
    }
    /* The first candidate maps the range exactly to the levels. */
    Candidate t = {0};
    for (int lane = 0; lane < s->lanes; lane++) {
        best[lane] = INFINITY;
        t.inverse[lane] = s->max_level / (most[lane] - b->minimum[lane]);
        t.scale[lane] = 1 / t.inverse[lane];
        t.minimum[lane] = b->minimum[lane];
    }
    quantize_candidate(s, b, &t);
    measure_candidate(s, b, &t);
    keep_better(s, b, &t, best);
    /* The others stretch or shrink the range a little, and fit scale and minimum to the levels that
     * result. */
    for (int i = 0; i < s->tries; i++) {
        for (int lane = 0; lane < s->lanes; lane++)
            t.inverse[lane] =
                (s->first + s->step * (float)i + s->max_level) / (most[lane] - b->minimum[lane]);
        quantize_candidate(s, b, &t);
        solve_candidate(s, &t, sum_w, sum_x);
        measure_candidate(s, b, &t);
        keep_better(s, b, &t, best);
    }
}

/* Scales and minima of a super-block as they are stored: whole multiples of two factors. */
typedef struct ScaleCodes {
    float d, dmin;        /* the factors, to be stored in half precision */
    uint8_t scale[LANES]; /* scale of a sub-block / d */
    uint8_t low[LANES];   /* -minimum of a sub-block / dmin */
} ScaleCodes;

/* The factors are chosen so that the largest scale and the largest -minimum get the code `max_level`. */
static ScaleCodes code_scales(const AffineSearch *s, const AffineFit *b, float max_level) {
    float scale = 0, low = 0;
    for (int i = 0; i < s->lanes; i++) {
        if (b->scale[i] > scale) scale = b->scale[i];
        if (-b->minimum[i] > low) low = -b->minimum[i];
    }
    ScaleCodes m = {.d = scale / max_level, .dmin = low / max_level};
    float per_scale = scale > 0 ? max_level / scale : 0, per_low = low > 0 ? max_level / low : 0;
    for (int i = 0; i < s->lanes; i++) {
        m.scale[i] = (uint8_t)nearest(per_scale * b->scale[i], 0, max_level);
        m.low[i] = (uint8_t)nearest(per_low * -b->minimum[i], 0, max_level);
    }
    return m;
}

/* The levels under the scales as they will be decoded, which differ from those of the search by rounding. In
 * the order of elements, sub-block after sub-block. Where a scale became 0, every level decodes to the same
 * value and the searched one is kept, as ggml does. */
static void requantize(const AffineSearch *s, const AffineFit *b, const ScaleCodes *m,
                       uint8_t levels[SUPER]) {
    for (int lane = 0; lane < s->lanes; lane++) {
        float d = through_f16(m->d) * (float)m->scale[lane], low = through_f16(m->dmin) * (float)m->low[lane];
        for (int i = lane; i < SUPER; i += s->lanes)
            *levels++ = (uint8_t)(d != 0 ? nearest((b->x[i] + low) / d, 0, s->max_level) : b->level[i]);
    }
}

/* Packs 256 levels of 2 bits into 64 bytes. Each 32 bytes hold 128 levels: byte i has levels i, i + 32, i +
 * 64 and i + 96, from the lowest bits up. */
static void pack_2_bits(const uint8_t *levels, uint8_t *q) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *l = levels + i / 32 * 128 + i % 32;
        q[i] = (uint8_t)((l[0] & 3) | (l[32] & 3) << 2 | (l[64] & 3) << 4 | (l[96] & 3) << 6);
    }
}

/* block_q2_K, 84 bytes: 16 codes of scale and minimum (4 bits each), 64 bytes of levels, d, dmin. 16
 * sub-blocks of 16; errors are weighted by |x|. */
void q2_k_encode(const float *src, uint64_t n, void *dst) {
    static const AffineSearch search = {
        .lanes = 16, .max_level = 3, .first = -0.5f, .step = 0.1f, .tries = 16, .absolute = true};
    for (uint8_t *p = dst; n; n -= SUPER, p += 84, src += SUPER) {
        uint8_t levels[SUPER];
        AffineFit b = {0};
        for (int i = 0; i < SUPER; i++) {
            b.x[i] = src[i % 16 * 16 + i / 16];
            b.weight[i] = fabsf(b.x[i]);
        }
        fit_affine(&search, &b);
        ScaleCodes m = code_scales(&search, &b, 15);
        requantize(&search, &b, &m, levels);
        for (int sub = 0; sub < 16; sub++)
            p[sub] = (uint8_t)(m.scale[sub] | m.low[sub] << 4);
        pack_2_bits(levels, p + 16);
        store_f16(p + 80, m.d);
        store_f16(p + 82, m.dmin);
    }
}

/* Encodes scales and minima of Q4_K and Q5_K into the first 16 bytes of a block and returns the levels: d,
 * dmin, then 8 pairs of 6-bit codes in 12 bytes. 8 sub-blocks of 32; the weight of an error is |x| plus the
 * root mean square of the sub-block, so that small values count too. */
ALWAYS_INLINE void encode_affine(const AffineSearch *s, const float *src, uint8_t *levels, uint8_t *p) {
    AffineFit b = {0};
    for (int sub = 0; sub < 8; sub++) {
        float squares = 0;
        for (int i = 0; i < 32; i++)
            squares += src[32 * sub + i] * src[32 * sub + i];
        float mean = sqrtf(squares / 32);
        for (int i = 0; i < 32; i++) {
            b.x[8 * i + sub] = src[32 * sub + i];
            b.weight[8 * i + sub] = mean + fabsf(src[32 * sub + i]);
        }
    }
    fit_affine(s, &b);
    ScaleCodes m = code_scales(s, &b, 63);
    requantize(s, &b, &m, levels);
    store_f16(p, m.d);
    store_f16(p + 2, m.dmin);
    /* The codes of the first four sub-blocks take the lower 6 bits of bytes 0 to 3 (scales) and 4 to 7
     * (minima). Bytes 8 to 11 hold the lower 4 bits of the last four, whose upper 2 bits go into the free
     * bits of bytes 0 to 7. */
    for (int i = 0; i < 4; i++) {
        p[4 + i] = (uint8_t)(m.scale[i] | m.scale[i + 4] >> 4 << 6);
        p[8 + i] = (uint8_t)(m.low[i] | m.low[i + 4] >> 4 << 6);
        p[12 + i] = (uint8_t)((m.scale[i + 4] & 15) | (m.low[i + 4] & 15) << 4);
    }
}

/* Packs 256 levels of 4 bits into 128 bytes. Each 32 bytes hold 64 levels: byte i has level i in its low and
 * level i + 32 in its high half. */
static void pack_4_bits(const uint8_t *levels, uint8_t *q) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *l = levels + i / 32 * 64 + i % 32;
        q[i] = (uint8_t)((l[0] & 15) | (l[32] & 15) << 4);
    }
}

/* block_q4_K, 144 bytes: 16 bytes of scales, 128 bytes of levels. */
void q4_k_encode(const float *src, uint64_t n, void *dst) {
    static const AffineSearch search = {.lanes = 8, .max_level = 15, .first = -1, .step = 0.1f, .tries = 21};
    for (uint8_t *p = dst; n; n -= SUPER, p += 144, src += SUPER) {
        uint8_t levels[SUPER];
        encode_affine(&search, src, levels, p);
        pack_4_bits(levels, p + 16);
    }
}

/* block_q5_K, 176 bytes: 16 bytes of scales, 32 bytes with the fifth bits of the levels (bit `sub` of byte i
 * belongs to element i of sub-block `sub`), 128 bytes with the lower 4 bits. */
void q5_k_encode(const float *src, uint64_t n, void *dst) {
    static const AffineSearch search = {
        .lanes = 8, .max_level = 31, .first = -0.5f, .step = 0.1f, .tries = 16};
    for (uint8_t *p = dst; n; n -= SUPER, p += 176, src += SUPER) {
        uint8_t levels[SUPER];
        encode_affine(&search, src, levels, p);
        memset(p + 16, 0, 32);
        for (int i = 0; i < SUPER; i++)
            p[16 + i % 32] |= (uint8_t)(levels[i] >> 4 << i / 32);
        pack_4_bits(levels, p + 48);
    }
}

/* ---- types with a scale alone: Q3_K, Q6_K, IQ4_NL, IQ4_XS ---- */

/* Levels of a sub-block of 16 for Q3_K, from -4 to 3 (stored as 0 to 7); returns the scale. ggml's
 * make_q3_quants.
 *
 * For given levels the best scale is lx / ll with lx = sum(w x l) and ll = sum(w l l), and it explains lx^2 /
 * ll of the weighted sum of squares. So lx^2 / ll is what to maximise. Beginning with the levels of the plain
 * scale, which maps the extreme value to -4, each element is moved to the level that is nearest under the
 * scale of the others, if that raises the ratio. At most 5 rounds. */
static float fit_3_bits(const float *x, uint8_t *levels) {
    float extreme = extreme_of(x, 16), level[16], lx = 0, ll = 0;
    memset(levels, 0, 16);
    if (fabsf(extreme) < NEGLIGIBLE) return 0;
    float inverse = -4 / extreme;
    for (int i = 0; i < 16; i++) {
        float l = nearest(inverse * x[i], -4, 3), w = x[i] * x[i];
        level[i] = l;
        lx += w * x[i] * l;
        ll += w * l * l;
    }
    bool better = true;
    for (int round = 0; round < 5 && better; round++) {
        better = false;
        for (int i = 0; i < 16; i++) {
            /* The sums without this element. */
            float w = x[i] * x[i], lx_rest = lx - w * x[i] * level[i], ll_rest = ll - w * level[i] * level[i];
            if (!(lx_rest > 0)) continue;
            float l = nearest(x[i] * ll_rest / lx_rest, -4, 3);
            if (l == level[i]) continue;
            /* With the new level; lx^2 / ll has to grow, compared without division. */
            lx_rest += w * x[i] * l;
            ll_rest += w * l * l;
            if (!(ll_rest > 0 && lx_rest * lx_rest * ll > lx * lx * ll_rest)) continue;
            level[i] = l;
            lx = lx_rest;
            ll = ll_rest;
            better = true;
        }
    }
    for (int i = 0; i < 16; i++)
        levels[i] = (uint8_t)(level[i] + 4);
    return ll > 0 ? lx / ll : 0;
}

/* block_q3_K, 110 bytes: 32 bytes with the third bits of the levels, 64 bytes with the lower 2 bits, 16 codes
 * of 6 bits for the scales in 12 bytes, d. The codes are from -32 to 31, stored with an offset of 32; the
 * scale of largest magnitude gets -32. */
void q3_k_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= SUPER, p += 110, src += SUPER) {
        uint8_t levels[SUPER];
        float scales[16];
        for (int sub = 0; sub < 16; sub++)
            scales[sub] = fit_3_bits(src + 16 * sub, levels + 16 * sub);
        float extreme = extreme_of(scales, 16), inverse = extreme != 0 ? -32 / extreme : 0;
        float d = extreme != 0 ? 1 / inverse : 0;
        memset(p, 0, 110);
        for (int sub = 0; sub < 16; sub++) {
            int scale = (int)nearest(inverse * scales[sub], -32, 31), code = extreme != 0 ? scale + 32 : 0;
            float dl = through_f16(d) * (float)(code - 32);
            const float *x = src + 16 * sub;
            for (int i = 0; dl != 0 && i < 16; i++)
                levels[16 * sub + i] = (uint8_t)(nearest(x[i] / dl, -4, 3) + 4);
            p[96 + sub % 8] |= (uint8_t)((code & 15) << sub / 8 * 4);
            p[104 + sub % 4] |= (uint8_t)(code >> 4 << sub / 4 * 2);
        }
        for (int i = 0; i < SUPER; i++)
            p[i % 32] |= (uint8_t)(levels[i] >> 2 << i / 32);
        pack_2_bits(levels, p + 32);
        store_f16(p + 108, d);
    }
}

/* Candidate scales of one sub-block, and how values become levels. */
typedef struct ScaleSearch {
    float inverse[LANES];    /* the inverses of the candidate scales */
    float (*level)(float v); /* the level for a value divided by the scale */
    bool level_first; /* sums are of w * l * x and not of w * x * l, as ggml has it for IQ4; the rounding
                         differs */
} ScaleSearch;

/* Finds the best scale among the candidates for `n` values. Each candidate gives levels; for them the best
 * scale is lx / ll, which explains lx^2 / ll of the sum of squares (see fit_3_bits). Errors are weighted by
 * x^2. Returns that scale; `*inverse` is the candidate that gave the levels. */
ALWAYS_INLINE float fit_scale(const ScaleSearch *s, int tries, const float *x, int n, float *inverse) {
    float lx[LANES] = {0}, ll[LANES] = {0};
    for (int i = 0; i < n; i++) {
        float w = x[i] * x[i];
#pragma omp simd
        for (int lane = 0; lane < tries; lane++) {
            float l = s->level(s->inverse[lane] * x[i]);
            lx[lane] += s->level_first ? w * l * x[i] : w * x[i] * l;
            ll[lane] += w * l * l;
        }
    }
    int best = 0;
    float scale = ll[0] != 0 ? lx[0] / ll[0] : 0, gain = scale * lx[0];
    for (int lane = 1; lane < tries; lane++) {
        if (!(ll[lane] > 0 && lx[lane] * lx[lane] > gain * ll[lane])) continue;
        best = lane;
        scale = lx[lane] / ll[lane];
        gain = scale * lx[lane];
    }
    *inverse = s->inverse[best];
    return scale;
}

static inline float level_6_bits(float v) {
    return nearest(v, -32, 31);
}

/* Levels of a sub-block of 16 for Q6_K, from -32 to 31 (stored as 0 to 63); returns the scale. Candidates map
 * the extreme value to -32 + 0.1 * i for i from -9 to 9, the exact one first. */
static float fit_6_bits(const float *x, uint8_t *levels) {
    float extreme = extreme_of(x, 16), inverse;
    memset(levels, 0, 16);
    if (fabsf(extreme) < NEGLIGIBLE) return 0;
    ScaleSearch s = {.level = level_6_bits};
    s.inverse[0] = -32 / extreme;
    for (int i = 1; i < 19; i++)
        s.inverse[i] = -(32 + 0.1f * (float)(i < 10 ? i - 10 : i - 9)) / extreme;
    float scale = fit_scale(&s, 19, x, 16, &inverse);
    for (int i = 0; i < 16; i++)
        levels[i] = (uint8_t)(level_6_bits(inverse * x[i]) + 32);
    return scale;
}

/* block_q6_K, 210 bytes: 128 bytes with the lower 4 bits of the levels, 64 bytes with the upper 2, 16 signed
 * 8-bit codes of the scales, d. The scale of largest magnitude gets the code -128. */
void q6_k_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= SUPER, p += 210, src += SUPER) {
        uint8_t levels[SUPER];
        float scales[16];
        for (int sub = 0; sub < 16; sub++)
            scales[sub] = fit_6_bits(src + 16 * sub, levels + 16 * sub);
        float extreme = extreme_of(scales, 16);
        memset(p, 0, 210);
        if (fabsf(extreme) < NEGLIGIBLE) continue;
        float inverse = -128 / extreme, d = 1 / inverse;
        for (int sub = 0; sub < 16; sub++) {
            int scale = (int)nearest(inverse * scales[sub], -128, 127);
            float dl = through_f16(d) * (float)scale;
            const float *x = src + 16 * sub;
            for (int i = 0; dl != 0 && i < 16; i++)
                levels[16 * sub + i] = (uint8_t)(level_6_bits(x[i] / dl) + 32);
            p[192 + sub] = (uint8_t)scale;
        }
        /* Each 64 bytes hold the lower bits of 128 levels: byte i has those of levels i and i + 64. */
        for (int i = 0; i < 128; i++) {
            const uint8_t *l = levels + i / 64 * 128 + i % 64;
            p[i] = (uint8_t)((l[0] & 15) | (l[64] & 15) << 4);
        }
        /* Each 32 bytes hold the upper bits of 128 levels: byte i has those of levels i, i + 32, i + 64 and
         * i + 96. */
        for (int i = 0; i < 64; i++) {
            const uint8_t *l = levels + i / 32 * 128 + i % 32;
            p[128 + i] = (uint8_t)(l[0] >> 4 | l[32] >> 4 << 2 | l[64] >> 4 << 4 | l[96] >> 4 << 6);
        }
        store_f16(p + 208, d);
    }
}

/* The code of the nearest of iq4_values, which are in ascending order: the number of midpoints between
 * neighbours that `v` reaches. Without branches, so that the loops over it vectorise. */
static inline int iq4_code(float v) {
    int code = 0;
    for (int i = 0; i < 15; i++)
        code += v >= 0.5f * (float)(iq4_values[i] + iq4_values[i + 1]);
    return code;
}

/* The nearest of iq4_values itself: the first one plus the distances to the next ones, up to the midpoint
 * that `v` does not reach. */
static inline float iq4_level(float v) {
    float level = iq4_values[0];
    for (int i = 0; i < 15; i++)
        level += v >= 0.5f * (float)(iq4_values[i] + iq4_values[i + 1])
                     ? (float)(iq4_values[i + 1] - iq4_values[i])
                     : 0;
    return level;
}

/* The scale of a sub-block of 32 for IQ4. The first candidate maps the value of largest magnitude to +127,
 * the others, i from 1 to 15, map it to -135 + i, as in ggml. */
static float fit_iq4(const float *x) {
    float extreme = extreme_of(x, 32), inverse;
    if (fabsf(extreme) < NEGLIGIBLE) return 0;
    ScaleSearch s = {.level = iq4_level, .level_first = true};
    s.inverse[0] = 1 / (-extreme / iq4_values[0]);
    for (int i = 1; i < 16; i++)
        s.inverse[i] = (float)(i - 8 + iq4_values[0]) / extreme;
    return fit_scale(&s, 16, x, 32, &inverse);
}

/* Codes of 32 values under the scale: value i in the low and value i + 16 in the high half of byte i. */
static void pack_iq4(const float *x, float scale, uint8_t *q) {
    float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(iq4_code(inverse * x[i]) | iq4_code(inverse * x[i + 16]) << 4);
}

/* block_iq4_nl, 18 bytes for 32 elements: the scale, 16 bytes of codes. */
void iq4_nl_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= 32, p += 18, src += 32) {
        float scale = fit_iq4(src);
        store_f16(p, scale);
        pack_iq4(src, scale, p + 2);
    }
}

/* block_iq4_xs, 136 bytes: d, the upper 2 bits of the 8 scale codes in 2 bytes, their lower 4 bits in 4
 * bytes, 128 bytes of levels. Codes are from -32 to 31, stored with an offset of 32. */
void iq4_xs_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= SUPER, p += 136, src += SUPER) {
        float scales[8];
        for (int sub = 0; sub < 8; sub++)
            scales[sub] = fit_iq4(src + 32 * sub);
        float d = -extreme_of(scales, 8) / 32, inverse = d != 0 ? 1 / d : 0;
        memset(p, 0, 8);
        store_f16(p, d);
        for (int sub = 0; sub < 8; sub++) {
            int scale = (int)nearest(inverse * scales[sub], -32, 31), code = scale + 32;
            p[4 + sub / 2] |= (uint8_t)((code & 15) << sub % 2 * 4);
            p[2 + sub / 4] |= (uint8_t)(code >> 4 << sub % 4 * 2);
            pack_iq4(src + 32 * sub, d * (float)scale, p + 8 + 16 * sub);
        }
    }
}
