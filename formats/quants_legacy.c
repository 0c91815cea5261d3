/* The blocks of 32: a scale (and a minimum) in F16, then 4, 5 or 8 bits an element. */
#include "formats/quants_legacy.h"

#include <math.h>
#include <string.h>

#include "formats/quant_block.h"

enum { BLOCK = 32, HALF = 16 };

void q4_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 18, dst += BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)((p[2 + i] & 15) - 8);
            dst[i + HALF] = d * (float)((p[2 + i] >> 4) - 8);
        }
    }
}

void q4_1_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 20, dst += BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)(p[4 + i] & 15) + m;
            dst[i + HALF] = d * (float)(p[4 + i] >> 4) + m;
        }
    }
}

void q5_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 22, dst += BLOCK) {
        float d = load_f16(p);
        uint32_t high;
        memcpy(&high, p + 2, sizeof high);
        for (int i = 0; i < HALF; i++) {
            int low = p[6 + i];
            dst[i] = d * (float)(((low & 15) | (int)(high >> i & 1) << 4) - 16);
            dst[i + HALF] = d * (float)(((low >> 4) | (int)(high >> (i + HALF) & 1) << 4) - 16);
        }
    }
}

void q5_1_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 24, dst += BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        uint32_t high;
        memcpy(&high, p + 4, sizeof high);
        for (int i = 0; i < HALF; i++) {
            int low = p[8 + i];
            dst[i] = d * (float)((low & 15) | (int)(high >> i & 1) << 4) + m;
            dst[i + HALF] = d * (float)((low >> 4) | (int)(high >> (i + HALF) & 1) << 4) + m;
        }
    }
}

void q8_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 34, dst += BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < BLOCK; i++)
            dst[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* What numpy's astype(uint8) and ggml's cast give for the values that can occur; anything else (NaN, overflow
 * of a hostile scale) becomes 0 rather than undefined behaviour. */
static int to_int(float x, int low, int high) {
    if (!(x >= -2147483648.0f && x < 2147483648.0f)) return 0;
    int v = (int)x;
    return v < low ? low : v > high ? high : v;
}

static void range_of(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        if (x[i] < *low) *low = x[i];
        if (x[i] > *high) *high = x[i];
    }
}

void q4_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 18, src += BLOCK) {
        float extreme = extreme_of(src, BLOCK); /* it becomes -8 */
        float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
        store_f16(p, d);
        for (int i = 0; i < HALF; i++) {
            int low = to_int(src[i] * inverse + 8.5f, 0, 15);
            int high = to_int(src[i + HALF] * inverse + 8.5f, 0, 15);
            p[2 + i] = (uint8_t)(low | high << 4);
        }
    }
}

void q4_1_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 20, src += BLOCK) {
        float low, high;
        range_of(src, &low, &high);
        float d = (high - low) / 15, inverse = d != 0 ? 1 / d : 0;
        store_f16(p, d);
        store_f16(p + 2, low);
        for (int i = 0; i < HALF; i++) {
            int a = to_int((src[i] - low) * inverse + 0.5f, 0, 15);
            int b = to_int((src[i + HALF] - low) * inverse + 0.5f, 0, 15);
            p[4 + i] = (uint8_t)(a | b << 4);
        }
    }
}

/* The fifth bits of 32 levels in a word, their nibbles as the blocks of 4 bits have them. */
static void pack_five(const int *levels, uint8_t *p) {
    uint32_t high = 0;
    for (int i = 0; i < BLOCK; i++)
        high |= (uint32_t)(levels[i] >> 4) << i;
    memcpy(p, &high, sizeof high);
    for (int i = 0; i < HALF; i++)
        p[4 + i] = (uint8_t)((levels[i] & 15) | (levels[i + HALF] & 15) << 4);
}

void q5_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 22, src += BLOCK) {
        float extreme = extreme_of(src, BLOCK); /* it becomes -16 */
        float d = extreme / -16, inverse = d != 0 ? 1 / d : 0;
        int levels[BLOCK];
        store_f16(p, d);
        for (int i = 0; i < BLOCK; i++)
            levels[i] = to_int(src[i] * inverse + 16.5f, 0, 31);
        pack_five(levels, p + 2);
    }
}

void q5_1_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 24, src += BLOCK) {
        float low, high;
        range_of(src, &low, &high);
        float d = (high - low) / 31, inverse = d != 0 ? 1 / d : 0;
        int levels[BLOCK];
        store_f16(p, d);
        store_f16(p + 2, low);
        for (int i = 0; i < BLOCK; i++)
            levels[i] = to_int((src[i] - low) * inverse + 0.5f, 0, 31);
        pack_five(levels, p + 4);
    }
}

void q8_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 34, src += BLOCK) {
        float peak = 0;
        for (int i = 0; i < BLOCK; i++)
            peak = fmaxf(peak, fabsf(src[i]));
        float d = peak / 127, inverse = d != 0 ? 1 / d : 0;
        store_f16(p, d);
        for (int i = 0; i < BLOCK; i++)
            p[2 + i] = (uint8_t)(int8_t)to_int(roundf(src[i] * inverse), -128, 127);
    }
}
