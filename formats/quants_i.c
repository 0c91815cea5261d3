/* Blocks of codes: into a table of 16 values (IQ4, MXFP4, NVFP4), into codebooks of whole rows (IQ1, IQ2,
 * IQ3), and ternary digits (TQ1, TQ2). */
#include "formats/quants_i.h"

#include <stdbool.h>
#include <string.h>

#include "formats/quant_block.h"
#include "formats/quants_grids.h"

enum { SUPER = 256 };

static uint16_t load_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- 16 values ---- */

/* OCP's E2M1, doubled */
static const int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* n codes: the low halves of n / 2 bytes, then the high ones. */
static void nibbles(const uint8_t *q, int n, const int8_t values[16], float scale, float *dst) {
    for (int i = 0; i < n; i++)
        dst[i] = scale * (float)values[i < n / 2 ? q[i] & 15 : q[i - n / 2] >> 4];
}

/* d, codes [16] */
void iq4_nl_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 32, p += 18, dst += 32)
        nibbles(p + 2, 32, iq4_values, load_f16(p), dst);
}

/* d, upper 2 bits of 8 scales, lower 4, codes [128] */
void iq4_xs_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 136)
        for (int sub = 0; sub < 8; sub++, dst += 32) {
            int low = p[4 + sub / 2] >> sub % 2 * 4 & 15, high = load_u16(p + 2) >> 2 * sub & 3;
            nibbles(p + 8 + 16 * sub, 32, iq4_values, load_f16(p) * (float)((low | high << 4) - 32), dst);
        }
}

/* Half of 2^(e - 127), as the doubled values want it. */
static float half_e8m0(uint8_t e) {
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* e8m0 scale, codes [16] */
void mxfp4_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 32, p += 17, dst += 32)
        nibbles(p + 1, 32, fp4_values, half_e8m0(p[0]), dst);
}

/* Half of an unsigned E4M3; its NaN is 0 here. */
static float half_ue4m3(uint8_t x) {
    int exponent = x >> 3 & 15;
    float mantissa = (float)(x & 7);
    if (x == 0x7f) return 0;
    float m = exponent ? 1.0f + mantissa / 8.0f : mantissa / 8.0f;
    return __builtin_ldexpf(m, (exponent ? exponent : 1) - 7) * 0.5f;
}

/* 4 scales, codes of 4 sub-blocks [8] each */
void nvfp4_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 64, p += 36)
        for (int sub = 0; sub < 4; sub++, dst += 16)
            nibbles(p + 4 + 8 * sub, 16, fp4_values, half_ue4m3(p[sub]), dst);
}

/* ---- ternary ---- */

/* Digit `i` of a byte that holds five as a fraction of 243 in 256ths. */
static float trit(uint8_t byte, int i) {
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    return (float)(((uint8_t)(byte * powers[i]) * 3 >> 8) - 1);
}

/* 5 digits each [32] and [16], 4 each [4], d */
void tq1_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 54) {
        float d = load_f16(p + 52);
        const struct { int at, width, digits; } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
        for (int r = 0; r < 3; r++)
            for (int digit = 0; digit < runs[r].digits; digit++)
                for (int i = 0; i < runs[r].width; i++)
                    *dst++ = d * trit(p[runs[r].at + i], digit);
    }
}

/* 2 bits each [64], d */
void tq2_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 66) {
        float d = load_f16(p + 64);
        for (int i = 0; i < SUPER; i++)
            *dst++ = d * (float)((p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
    }
}

/* ---- codebooks ---- */

/* A row of 8 from three levels of 2 bits, with a sign for each. */
static void row8(uint16_t packed, uint8_t signs, float scale, float *dst) {
    static const float levels[4] = {0x08, 0x19, 0x2b, 0};
    for (int i = 0; i < 8; i++)
        dst[i] = scale * levels[packed >> 2 * i & 3] * (signs >> i & 1 ? -1.0f : 1.0f);
}

/* Seven signs; the eighth makes their number even. */
static uint8_t even_signs(uint32_t seven) {
    return (uint8_t)(seven | (uint32_t)(__builtin_popcount(seven) & 1) << 7);
}

/* d, then per 32: 4 rows, their signs (7 bits each) under a scale (4 bits) */
void iq2_xxs_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 66)
        for (int sub = 0; sub < 8; sub++) {
            const uint8_t *rows = p + 2 + 8 * sub;
            uint32_t signs = load_u32(rows + 4);
            float scale = load_f16(p) * (0.5f + (float)(signs >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++, dst += 8)
                row8(iq2_xxs_grid[rows[i]], even_signs(signs >> 7 * i & 127), scale, dst);
        }
}

/* d, rows (9 bits) under signs (7 bits) [32], scales of 16 (4 bits) [8] */
void iq2_xs_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 74)
        for (int i = 0; i < 32; i++, dst += 8) {
            uint16_t code = load_u16(p + 2 + 2 * i);
            float scale = load_f16(p) * (0.5f + (float)(p[66 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            row8(iq2_xs_grid[code & 511], even_signs(code >> 9), scale, dst);
        }
}

/* d, rows [32], signs [32], their upper 2 bits [8], scales of 16 (4 bits) [8] */
void iq2_s_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 82)
        for (int i = 0; i < 32; i++, dst += 8) {
            int code = p[2 + i] | (p[66 + i / 4] >> i % 4 * 2 & 3) << 8;
            float scale = load_f16(p) * (0.5f + (float)(p[74 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            row8(iq2_s_grid[code], p[34 + i], scale, dst);
        }
}

/* A row of 4 from eight levels of 3 bits. */
static void row4(uint16_t packed, const float levels[8], uint8_t signs, float scale, float *dst) {
    for (int i = 0; i < 4; i++)
        dst[i] = scale * levels[packed >> 3 * i & 7] * (signs >> i & 1 ? -1.0f : 1.0f);
}

/* d, rows [64], then per 32 signs (4 times 7 bits) under a scale (4 bits) */
void iq3_xxs_decode(const void *src, uint64_t n, float *dst) {
    static const float levels[8] = {0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3e};
    for (const uint8_t *p = src; n; n -= SUPER, p += 98)
        for (int i = 0; i < 64; i++, dst += 4) {
            uint32_t signs = load_u32(p + 66 + 4 * (i / 8));
            float scale = load_f16(p) * (0.5f + (float)(signs >> 28)) * 0.5f;
            uint8_t of_eight = even_signs(signs >> 7 * (i / 2 % 4) & 127);
            row4(iq3_xxs_grid[p[2 + i]], levels, of_eight >> i % 2 * 4, scale, dst);
        }
}

/* d, rows [64], their ninth bits [8], signs [32], scales of 32 (4 bits) [4] */
void iq3_s_decode(const void *src, uint64_t n, float *dst) {
    static const float levels[8] = {0x01, 0x03, 0x05, 0x07, 0x09, 0x0b, 0x0d, 0x0f};
    for (const uint8_t *p = src; n; n -= SUPER, p += 110)
        for (int i = 0; i < 64; i++, dst += 4) {
            int code = p[2 + i] | (p[66 + i / 8] >> i % 8 & 1) << 8;
            float scale = load_f16(p) * (float)(1 + 2 * (p[106 + i / 16] >> i / 8 % 2 * 4 & 15));
            row4(iq3_s_grid[code], levels, p[74 + i / 2] >> i % 2 * 4, scale, dst);
        }
}

/* Eight of -1, 0, 1, all moved by an eighth up or down. */
static void ternary_row(uint16_t packed, bool down, float scale, float *dst) {
    for (int i = 0; i < 8; i++)
        dst[i] = scale * ((float)(packed >> 2 * i & 3) - 1.0f + (down ? -0.125f : 0.125f));
}

/* d, rows [32], per 32: 4 times 3 upper bits, scale (3 bits), direction */
void iq1_s_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 50)
        for (int i = 0; i < 32; i++, dst += 8) {
            uint16_t high = load_u16(p + 34 + 2 * (i / 4));
            int code = p[2 + i] | (high >> i % 4 * 3 & 7) << 8;
            float scale = load_f16(p) * (float)(2 * (high >> 12 & 7) + 1);
            ternary_row(iq1_s_grid[code], high & 0x8000, scale, dst);
        }
}

/* rows [32], per row 3 upper bits and a direction [16], 16 scales of 3 bits in 4 words, whose upper bits are
 * d */
void iq1_m_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 56) {
        uint16_t half = 0;
        for (int i = 0; i < 4; i++)
            half |= (uint16_t)((load_u16(p + 48 + 2 * i) >> 12) << 4 * i);
        float d = f16_to_f32(half);
        for (int i = 0; i < 32; i++, dst += 8) {
            int high = p[32 + i / 2] >> i % 2 * 4 & 15;
            float scale = d * (float)(2 * (load_u16(p + 48 + 2 * (i / 8)) >> i / 2 % 4 * 3 & 7) + 1);
            ternary_row(iq1_s_grid[p[i] | (high & 7) << 8], high & 8, scale, dst);
        }
    }
}
