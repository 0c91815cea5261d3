/* Decoders and encoders of ggml's blocks of 32 elements: see formats/quants_legacy.h; dtype.c has them in its
 * table. The layouts are block_q4_0 to block_q8_0 of ggml-common.h, the arithmetic is that of
 * quantize_row_q4_0_ref, dequantize_row_q4_0 and so on of ggml-quants.c, so that the bytes are equal. d is
 * the half-precision scale, m the half-precision minimum. In all types with 4 or 5 bits, byte i holds the
 * lower 4 bits of element i in its low and of element i + 16 in its high half. Every function takes `n`
 * elements, a multiple of 32. */
#include "formats/quants_legacy.h"

#include <math.h>
#include <string.h>

#include "formats/quant_block.h"

enum { BLOCK = 32, HALF = 16 };

/* 18 bytes: d, 16 bytes of levels. Levels are from -8 to 7, stored with an offset of 8. */
void q4_0_decode(const void *src, uint64_t n, float *dst) {
    /* `p` steps over blocks, `dst` over the decoded elements. */
    for (const uint8_t *p = src; n; n -= BLOCK, p += 18, dst += BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)((p[2 + i] & 15) - 8);
            dst[i + HALF] = d * (float)((p[2 + i] >> 4) - 8);
        }
    }
}

/* 20 bytes: d, m, 16 bytes of levels. value = d * level + m, levels from 0 to 15. */
void q4_1_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 20, dst += BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        for (int i = 0; i < HALF; i++) {
            dst[i] = d * (float)(p[4 + i] & 15) + m;
            dst[i + HALF] = d * (float)(p[4 + i] >> 4) + m;
        }
    }
}

/* 22 bytes: d, the fifth bits of the 32 levels as a u32, 16 bytes with the lower 4 bits. Levels are from -16
 * to 15, stored with an offset of 16. */
void q5_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 22, dst += BLOCK) {
        float d = load_f16(p);
        uint32_t high;
        memcpy(&high, p + 2, sizeof high);
        for (int i = 0; i < HALF; i++) {
            /* The fifth bit of element i is bit i of `high`. */
            int low = p[6 + i];
            dst[i] = d * (float)(((low & 15) | (int)(high >> i & 1) << 4) - 16);
            dst[i + HALF] = d * (float)(((low >> 4) | (int)(high >> (i + HALF) & 1) << 4) - 16);
        }
    }
}

/* 24 bytes: d, m, the fifth bits as a u32, 16 bytes with the lower 4 bits. value = d * level + m. */
void q5_1_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 24, dst += BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        uint32_t high;
        memcpy(&high, p + 4, sizeof high);
        for (int i = 0; i < HALF; i++) {
            /* The fifth bit of element i is bit i of `high`. */
            int low = p[8 + i];
            dst[i] = d * (float)((low & 15) | (int)(high >> i & 1) << 4) + m;
            dst[i + HALF] = d * (float)((low >> 4) | (int)(high >> (i + HALF) & 1) << 4) + m;
        }
    }
}

/* 34 bytes: d, 32 signed levels. */
void q8_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= BLOCK, p += 34, dst += BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < BLOCK; i++)
            dst[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* The conversion of a C cast to int, limited to [low, high], but defined for all inputs: NaN and values
 * beyond int, which only the scales of damaged data produce, give 0. */
static int to_int(float x, int low, int high) {
    if (!(x >= -2147483648.0f && x < 2147483648.0f)) return 0;
    int v = (int)x;
    return v < low ? low : v > high ? high : v;
}

/* The smallest and the largest of the 32 values of a block. */
static void range_of(const float *x, float *low, float *high) {
    *low = *high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        if (x[i] < *low) *low = x[i];
        if (x[i] > *high) *high = x[i];
    }
}

/* The value of largest magnitude gets the level -8, whatever its sign, because there is no level 8: d has the
 * opposite sign. Adding 8.5 and cutting off rounds to nearest. */
void q4_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 18, src += BLOCK) {
        /* The scale, then two levels in each byte. */
        float extreme = extreme_of(src, BLOCK);
        float d = extreme / -8, inverse = d != 0 ? 1 / d : 0;
        store_f16(p, d);
        /* Two levels in each byte. */
        for (int i = 0; i < HALF; i++) {
            int low = to_int(src[i] * inverse + 8.5f, 0, 15);
            int high = to_int(src[i + HALF] * inverse + 8.5f, 0, 15);
            p[2 + i] = (uint8_t)(low | high << 4);
        }
    }
}

/* d and m map the smallest value to level 0 and the largest to level 15. Levels are computed with the
 * unrounded d, as in ggml. */
void q4_1_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 20, src += BLOCK) {
        /* Scale and minimum, then two levels in each byte. */
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

/* Writes 32 levels of 5 bits: the fifth bits as a u32, then the lower 4 bits in 16 bytes. */
static void pack_five(const int *levels, uint8_t *p) {
    uint32_t high = 0;
    for (int i = 0; i < BLOCK; i++)
        high |= (uint32_t)(levels[i] >> 4) << i;
    memcpy(p, &high, sizeof high);
    for (int i = 0; i < HALF; i++)
        p[4 + i] = (uint8_t)((levels[i] & 15) | (levels[i + HALF] & 15) << 4);
}

/* The value of largest magnitude gets the level -16, whatever its sign, because there is no level 16; d has
 * the opposite sign. */
void q5_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 22, src += BLOCK) {
        float extreme = extreme_of(src, BLOCK);
        float d = extreme / -16, inverse = d != 0 ? 1 / d : 0;
        /* Levels are rounded as in q4_0_encode, then their fifth bits are split off. */
        int levels[BLOCK];
        store_f16(p, d);
        for (int i = 0; i < BLOCK; i++)
            levels[i] = to_int(src[i] * inverse + 16.5f, 0, 31);
        pack_five(levels, p + 2);
    }
}

/* d and m map the smallest value to level 0 and the largest to level 31. */
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

/* d maps the largest magnitude to level 127 or -127; -128 is not used. Levels are rounded half away from
 * zero. */
void q8_0_encode(const float *src, uint64_t n, void *dst) {
    for (uint8_t *p = dst; n; n -= BLOCK, p += 34, src += BLOCK) {
        /* The scale, then one byte for each level. */
        float peak = 0;
        for (int i = 0; i < BLOCK; i++)
            peak = fmaxf(peak, fabsf(src[i]));
        float d = peak / 127, inverse = d != 0 ? 1 / d : 0;
        store_f16(p, d);
        for (int i = 0; i < BLOCK; i++)
            p[2 + i] = (uint8_t)(int8_t)to_int(roundf(src[i] * inverse), -128, 127);
    }
}
