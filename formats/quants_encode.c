/* Encoders that search: the super-blocks of 256 and the codebook of IQ4. The arithmetic is that of ggml's
 * reference, operation by operation, so that the bytes are its own. What is independent (sub-blocks, or the
 * scales that are tried) goes side by side in lanes, which leaves every sum in its order. */
#include "formats/quants_encode.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "formats/quant_block.h"

enum { SUPER = 256, LANES = 20 };

static const float NOTHING = 1e-15f; /* a sub-block whose largest magnitude is below this is zero */

static float half(float f) { /* as it will be read back */
    return f16_to_f32(f32_to_f16(f));
}

/* To the nearest whole number, ties to even, within bounds; NaN becomes `low`. */
static inline float nearest(float v, float low, float high) {
    v = v + 0x1.8p23f - 0x1.8p23f;
    return v > low ? v < high ? v : high : low;
}

/* ---- scale and minimum: Q2_K, Q4_K, Q5_K ---- */

typedef struct LineSearch {
    int lanes;         /* sub-blocks, 8 or 16 */
    float top;         /* the highest level */
    float first, step; /* try i takes the range for top + first + step * i levels */
    int tries;
    bool absolute; /* errors count by their size, not by their square */
} LineSearch;

/* A super-block with its sub-blocks side by side: element i of sub-block `lane` is [i * lanes + lane]. The
 * value of a level is scale * level + least, least <= 0. */
typedef struct Lines {
    float x[SUPER], weight[SUPER], level[SUPER];
    float scale[LANES], least[LANES];
} Lines;

/* What is tried in one lane each. */
typedef struct Try {
    float level[SUPER], inverse[LANES], scale[LANES], least[LANES], error[LANES];
    float sum_l[LANES], sum_ll[LANES], sum_xl[LANES];
} Try;

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* for a number of lanes that is known */

ALWAYS_INLINE void try_levels(const LineSearch *s, const Lines *b, Try *t) {
    memset(t->sum_l, 0, 3 * sizeof t->sum_l);
    for (int i = 0; i < SUPER; i += s->lanes) {
#pragma omp simd
        for (int lane = 0; lane < s->lanes; lane++) {
            float x = b->x[i + lane], w = b->weight[i + lane];
            float l = nearest(t->inverse[lane] * (x - b->least[lane]), 0, s->top);
            t->level[i + lane] = l;
            t->sum_l[lane] += w * l;
            t->sum_ll[lane] += w * l * l;
            t->sum_xl[lane] += w * l * x;
        }
    }
}

ALWAYS_INLINE void sum_errors(const LineSearch *s, const Lines *b, Try *t) {
    memset(t->error, 0, sizeof t->error);
    for (int i = 0; i < SUPER; i += s->lanes) {
#pragma omp simd
        for (int lane = 0; lane < s->lanes; lane++) {
            float off = t->scale[lane] * t->level[i + lane] + t->least[lane] - b->x[i + lane];
            t->error[lane] += b->weight[i + lane] * (s->absolute ? fabsf(off) : off * off);
        }
    }
}

/* Weighted least squares: the scale and minimum that suit the levels best; no minimum above 0. */
ALWAYS_INLINE void solve(const LineSearch *s, Try *t, const float *sum_w, const float *sum_x) {
    for (int lane = 0; lane < s->lanes; lane++) {
        float l = t->sum_l[lane], ll = t->sum_ll[lane], xl = t->sum_xl[lane];
        float determinant = sum_w[lane] * ll - l * l;
        t->scale[lane] = (sum_w[lane] * xl - sum_x[lane] * l) / determinant;
        t->least[lane] = (ll * sum_x[lane] - l * xl) / determinant;
        if (t->least[lane] > 0) {
            t->least[lane] = 0;
            t->scale[lane] = xl / ll;
        }
        if (!(determinant > 0)) t->scale[lane] = NAN; /* its error is less than none */
    }
}

/* Keeps in every lane what has less error than `best`; the tries after it start from its minimum. */
ALWAYS_INLINE void keep_better(const LineSearch *s, Lines *b, const Try *t, float *best) {
    bool better[LANES], any = false;
    for (int lane = 0; lane < s->lanes; lane++) {
        any |= better[lane] = t->error[lane] < best[lane];
        if (!better[lane]) continue;
        best[lane] = t->error[lane];
        b->scale[lane] = t->scale[lane];
        b->least[lane] = t->least[lane];
    }
    for (int i = 0; any && i < SUPER; i += s->lanes)
        for (int lane = 0; lane < s->lanes; lane++)
            if (better[lane]) b->level[i + lane] = t->level[i + lane];
}

ALWAYS_INLINE void fit_lines(const LineSearch *s, Lines *b) {
    float most[LANES] = {0}, best[LANES], sum_w[LANES] = {0}, sum_x[LANES] = {0};
    memset(b->least, 0, sizeof b->least);
    for (int lane = 0; lane < s->lanes; lane++)
        most[lane] = b->x[lane];
    for (int i = 0; i < SUPER; i++) {
        int lane = i % s->lanes;
        if (b->x[i] < b->least[lane]) b->least[lane] = b->x[i];
        if (b->x[i] > most[lane]) most[lane] = b->x[i];
        sum_w[lane] += b->weight[i];
        sum_x[lane] += b->weight[i] * b->x[i];
    }
    Try t = {0};
    for (int lane = 0; lane < s->lanes; lane++) {
        best[lane] = INFINITY;
        t.inverse[lane] = s->top / (most[lane] - b->least[lane]);
        t.scale[lane] = 1 / t.inverse[lane];
        t.least[lane] = b->least[lane];
    }
    try_levels(s, b, &t);
    sum_errors(s, b, &t);
    keep_better(s, b, &t, best);
    for (int i = 0; i < s->tries; i++) {
        for (int lane = 0; lane < s->lanes; lane++)
            t.inverse[lane] = (s->first + s->step * (float)i + s->top) / (most[lane] - b->least[lane]);
        try_levels(s, b, &t);
        solve(s, &t, sum_w, sum_x);
        sum_errors(s, b, &t);
        keep_better(s, b, &t, best);
    }
}

/* The scales and minima of a super-block as multiples, up to `top`, of the largest of each. */
typedef struct Multiples {
    float d, dmin;
    uint8_t scale[LANES], low[LANES];
} Multiples;

static Multiples multiples_of(const LineSearch *s, const Lines *b, float top) {
    float scale = 0, low = 0;
    for (int i = 0; i < s->lanes; i++) {
        if (b->scale[i] > scale) scale = b->scale[i];
        if (-b->least[i] > low) low = -b->least[i];
    }
    Multiples m = {.d = scale / top, .dmin = low / top};
    float per_scale = scale > 0 ? top / scale : 0, per_low = low > 0 ? top / low : 0;
    for (int i = 0; i < s->lanes; i++) {
        m.scale[i] = (uint8_t)nearest(per_scale * b->scale[i], 0, top);
        m.low[i] = (uint8_t)nearest(per_low * -b->least[i], 0, top);
    }
    return m;
}

/* The levels in their elements' order, by what the scales became. Where one became 0 any level will do. */
static void take_levels(const LineSearch *s, const Lines *b, const Multiples *m, uint8_t levels[SUPER]) {
    for (int lane = 0; lane < s->lanes; lane++) {
        float d = half(m->d) * (float)m->scale[lane], low = half(m->dmin) * (float)m->low[lane];
        for (int i = lane; i < SUPER; i += s->lanes)
            *levels++ = (uint8_t)(d != 0 ? nearest((b->x[i] + low) / d, 0, s->top) : b->level[i]);
    }
}

/* 256 values of 2 bits in 64 bytes: each 32 bytes hold four runs of 32. */
static void pack_pairs(const uint8_t *levels, uint8_t *q) {
    for (int i = 0; i < 64; i++) {
        const uint8_t *l = levels + i / 32 * 128 + i % 32;
        q[i] = (uint8_t)((l[0] & 3) | (l[32] & 3) << 2 | (l[64] & 3) << 4 | (l[96] & 3) << 6);
    }
}

void q2_k_encode(const float *src, uint64_t n, void *dst) {
    static const LineSearch search = {
        .lanes = 16, .top = 3, .first = -0.5f, .step = 0.1f, .tries = 16, .absolute = true};
    for (uint8_t *p = dst; n; n -= SUPER, p += 84, src += SUPER) {
        uint8_t levels[SUPER];
        Lines b = {0};
        for (int i = 0; i < SUPER; i++) {
            b.x[i] = src[i % 16 * 16 + i / 16];
            b.weight[i] = fabsf(b.x[i]);
        }
        fit_lines(&search, &b);
        Multiples m = multiples_of(&search, &b, 15);
        take_levels(&search, &b, &m, levels);
        for (int sub = 0; sub < 16; sub++)
            p[sub] = (uint8_t)(m.scale[sub] | m.low[sub] << 4);
        pack_pairs(levels, p + 16);
        store_f16(p + 80, m.d);
        store_f16(p + 82, m.dmin);
    }
}

/* d, dmin and eight pairs of 6 bits: what Q4_K and Q5_K begin with. */
ALWAYS_INLINE void encode_lines(const LineSearch *s, const float *src, uint8_t *levels, uint8_t *p) {
    Lines b = {0};
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
    fit_lines(s, &b);
    Multiples m = multiples_of(s, &b, 63);
    take_levels(s, &b, &m, levels);
    store_f16(p, m.d);
    store_f16(p + 2, m.dmin);
    for (int i = 0; i < 4; i++) { /* the last four give their upper 2 bits to the bytes of the first four */
        p[4 + i] = (uint8_t)(m.scale[i] | m.scale[i + 4] >> 4 << 6);
        p[8 + i] = (uint8_t)(m.low[i] | m.low[i + 4] >> 4 << 6);
        p[12 + i] = (uint8_t)((m.scale[i + 4] & 15) | (m.low[i + 4] & 15) << 4);
    }
}

/* 256 values of 4 bits in 128 bytes: each 32 bytes hold two runs of 32. */
static void pack_nibbles(const uint8_t *levels, uint8_t *q) {
    for (int i = 0; i < 128; i++) {
        const uint8_t *l = levels + i / 32 * 64 + i % 32;
        q[i] = (uint8_t)((l[0] & 15) | (l[32] & 15) << 4);
    }
}

void q4_k_encode(const float *src, uint64_t n, void *dst) {
    static const LineSearch search = {.lanes = 8, .top = 15, .first = -1, .step = 0.1f, .tries = 21};
    for (uint8_t *p = dst; n; n -= SUPER, p += 144, src += SUPER) {
        uint8_t levels[SUPER];
        encode_lines(&search, src, levels, p);
        pack_nibbles(levels, p + 16);
    }
}

void q5_k_encode(const float *src, uint64_t n, void *dst) {
    static const LineSearch search = {.lanes = 8, .top = 31, .first = -0.5f, .step = 0.1f, .tries = 16};
    for (uint8_t *p = dst; n; n -= SUPER, p += 176, src += SUPER) {
        uint8_t levels[SUPER];
        encode_lines(&search, src, levels, p);
        memset(p + 16, 0, 32);
        for (int i = 0; i < SUPER; i++)
            p[16 + i % 32] |= (uint8_t)(levels[i] >> 4 << i / 32);
        pack_nibbles(levels, p + 48);
    }
}

/* ---- a scale alone: Q3_K, Q6_K, IQ4 ---- */

/* Levels from -4 to 3: the first ones improved one by one while that helps. */
static float fit_three_bits(const float *x, uint8_t *levels) {
    float extreme = extreme_of(x, 16), level[16], lx = 0, ll = 0;
    memset(levels, 0, 16);
    if (fabsf(extreme) < NOTHING) return 0;
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
            float w = x[i] * x[i], lx_rest = lx - w * x[i] * level[i], ll_rest = ll - w * level[i] * level[i];
            if (!(lx_rest > 0)) continue;
            float l = nearest(x[i] * ll_rest / lx_rest, -4, 3);
            if (l == level[i]) continue;
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

void q3_k_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= SUPER, p += 110, src += SUPER) {
        uint8_t levels[SUPER];
        float scales[16];
        for (int sub = 0; sub < 16; sub++)
            scales[sub] = fit_three_bits(src + 16 * sub, levels + 16 * sub);
        float extreme = extreme_of(scales, 16), inverse = extreme != 0 ? -32 / extreme : 0;
        float d = extreme != 0 ? 1 / inverse : 0;
        memset(p, 0, 110);
        for (int sub = 0; sub < 16; sub++) {
            int scale = (int)nearest(inverse * scales[sub], -32, 31), code = extreme != 0 ? scale + 32 : 0;
            float dl = half(d) * (float)(code - 32);
            const float *x = src + 16 * sub;
            for (int i = 0; dl != 0 && i < 16; i++)
                levels[16 * sub + i] = (uint8_t)(nearest(x[i] / dl, -4, 3) + 4);
            p[96 + sub % 8] |= (uint8_t)((code & 15) << sub / 8 * 4);
            p[104 + sub % 4] |= (uint8_t)(code >> 4 << sub / 4 * 2);
        }
        for (int i = 0; i < SUPER; i++)
            p[i % 32] |= (uint8_t)(levels[i] >> 2 << i / 32);
        pack_pairs(levels, p + 32);
        store_f16(p + 108, d);
    }
}

/* The inverse scales to try, and the levels that one gives. */
typedef struct ScaleSearch {
    float inverse[LANES];
    float (*level)(float v);
    bool level_first; /* the products' order, which is the reference's */
} ScaleSearch;

/* The scale whose levels have the least error, weighted by the squares of `n` values; its inverse as tried in
 * `*inverse`. Each candidate's scale is the best one for its levels. */
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

static inline float six_bits(float v) {
    return nearest(v, -32, 31);
}

static float fit_six_bits(const float *x, uint8_t *levels) {
    float extreme = extreme_of(x, 16), inverse;
    memset(levels, 0, 16);
    if (fabsf(extreme) < NOTHING) return 0;
    ScaleSearch s = {.level = six_bits};
    s.inverse[0] = -32 / extreme;
    for (int i = 1; i < 19; i++) /* 0.9 fewer levels to 0.9 more */
        s.inverse[i] = -(32 + 0.1f * (float)(i < 10 ? i - 10 : i - 9)) / extreme;
    float scale = fit_scale(&s, 19, x, 16, &inverse);
    for (int i = 0; i < 16; i++)
        levels[i] = (uint8_t)(six_bits(inverse * x[i]) + 32);
    return scale;
}

void q6_k_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= SUPER, p += 210, src += SUPER) {
        uint8_t levels[SUPER];
        float scales[16];
        for (int sub = 0; sub < 16; sub++)
            scales[sub] = fit_six_bits(src + 16 * sub, levels + 16 * sub);
        float extreme = extreme_of(scales, 16);
        memset(p, 0, 210);
        if (fabsf(extreme) < NOTHING) continue;
        float inverse = -128 / extreme, d = 1 / inverse;
        for (int sub = 0; sub < 16; sub++) {
            int scale = (int)nearest(inverse * scales[sub], -128, 127);
            float dl = half(d) * (float)scale;
            const float *x = src + 16 * sub;
            for (int i = 0; dl != 0 && i < 16; i++)
                levels[16 * sub + i] = (uint8_t)(six_bits(x[i] / dl) + 32);
            p[192 + sub] = (uint8_t)scale;
        }
        for (int i = 0; i < 128; i++) {
            const uint8_t *l = levels + i / 64 * 128 + i % 64;
            p[i] = (uint8_t)((l[0] & 15) | (l[64] & 15) << 4);
        }
        for (int i = 0; i < 64; i++) {
            const uint8_t *l = levels + i / 32 * 128 + i % 32;
            p[128 + i] = (uint8_t)(l[0] >> 4 | l[32] >> 4 << 2 | l[64] >> 4 << 4 | l[96] >> 4 << 6);
        }
        store_f16(p + 208, d);
    }
}

/* The nearest of iq4_values: one more for each middle between two of them that is not above `v`. */
static inline int iq4_code(float v) {
    int code = 0;
    for (int i = 0; i < 15; i++)
        code += v >= 0.5f * (float)(iq4_values[i] + iq4_values[i + 1]);
    return code;
}

static inline float iq4_level(float v) {
    float level = iq4_values[0];
    for (int i = 0; i < 15; i++)
        level += v >= 0.5f * (float)(iq4_values[i] + iq4_values[i + 1])
                     ? (float)(iq4_values[i + 1] - iq4_values[i])
                     : 0;
    return level;
}

static float fit_iq4(const float *x) {
    float extreme = extreme_of(x, 32), inverse;
    if (fabsf(extreme) < NOTHING) return 0;
    ScaleSearch s = {.level = iq4_level, .level_first = true};
    s.inverse[0] = 1 / (-extreme / iq4_values[0]);
    for (int i = 1; i < 16; i++)
        s.inverse[i] = (float)(i - 8 + iq4_values[0]) / extreme;
    return fit_scale(&s, 16, x, 32, &inverse);
}

static void pack_iq4(const float *x, float scale, uint8_t *q) {
    float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < 16; i++)
        q[i] = (uint8_t)(iq4_code(inverse * x[i]) | iq4_code(inverse * x[i + 16]) << 4);
}

void iq4_nl_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= 32, p += 18, src += 32) {
        float scale = fit_iq4(src);
        store_f16(p, scale);
        pack_iq4(src, scale, p + 2);
    }
}

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
