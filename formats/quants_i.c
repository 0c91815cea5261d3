/* Decoders of ggml's blocks of codes: see formats/quants_i.h. Three families: 4-bit codes into a table of 16
 * values (IQ4, MXFP4, NVFP4), ternary digits (TQ1, TQ2), and codes of 8 to 11 bits into a codebook whose
 * entries are rows of 4 or 8 values (IQ1, IQ2, IQ3). The layouts are those of ggml-common.h, the arithmetic
 * is dequantize_row_iq4_nl and so on of ggml-quants.c. d is the half-precision scale of a block. */
#include "formats/quants_i.h"

#include <stdbool.h>
#include <string.h>

#include "formats/quant_block.h"
#include "formats/quants_grids.h"

enum { SUPER = 256 };

/* Numbers in a block are little-endian and need not be aligned. */
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

/* The values of OCP's 4-bit float E2M1 times 2, which makes them integers. The scale functions below return
 * half of the scale to compensate. */
static const int8_t fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Decodes n codes of 4 bits: the low halves of n / 2 bytes, then their high halves. */
static void nibbles(const uint8_t *q, int n, const int8_t values[16], float scale, float *dst) {
    for (int i = 0; i < n; i++)
        dst[i] = scale * (float)values[i < n / 2 ? q[i] & 15 : q[i - n / 2] >> 4];
}

/* IQ4_NL, 18 bytes for 32 elements: d, 16 bytes of codes. */
void iq4_nl_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 32, p += 18, dst += 32)
        nibbles(p + 2, 32, iq4_values, load_f16(p), dst);
}

/* IQ4_XS, 136 bytes for 256 elements: d; the upper 2 bits of 8 scale codes in 2 bytes; their lower 4 bits in
 * 4 bytes; 128 bytes of codes. A sub-block of 32 elements has the scale d * (code - 32). */
void iq4_xs_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 136)
        for (int sub = 0; sub < 8; sub++, dst += 32) {
            int low = p[4 + sub / 2] >> sub % 2 * 4 & 15, high = load_u16(p + 2) >> 2 * sub & 3;
            nibbles(p + 8 + 16 * sub, 32, iq4_values, load_f16(p) * (float)((low | high << 4) - 32), dst);
        }
}

/* Half of the scale 2^(e - 127). For e of 0 and 1 the half is a denormal float, whose bits are built
 * directly. */
static float half_e8m0(uint8_t e) {
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* MXFP4, 17 bytes for 32 elements: an E8M0 scale, 16 bytes of codes (OCP Microscaling Formats 1.0). */
void mxfp4_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 32, p += 17, dst += 32)
        nibbles(p + 1, 32, fp4_values, half_e8m0(p[0]), dst);
}

/* Half of a scale in unsigned E4M3, which is E4M3 without a sign. ggml reads its NaN as 0. */
static float half_ue4m3(uint8_t x) {
    int exponent = x >> 3 & 15;
    float mantissa = (float)(x & 7);
    if (x == 0x7f) return 0;
    float m = exponent ? 1.0f + mantissa / 8.0f : mantissa / 8.0f;
    return __builtin_ldexpf(m, (exponent ? exponent : 1) - 7) * 0.5f;
}

/* NVFP4, 36 bytes for 64 elements: 4 scales, one for each sub-block of 16; then 8 bytes of codes for each
 * sub-block. */
void nvfp4_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= 64, p += 36)
        for (int sub = 0; sub < 4; sub++, dst += 16)
            nibbles(p + 4 + 8 * sub, 16, fp4_values, half_ue4m3(p[sub]), dst);
}

/* ---- ternary ---- */

/* Digit `i`, as -1, 0 or 1, of a byte that holds five ternary digits. The byte is the fraction 0.d0 d1 d2 d3
 * d4 in base 3, scaled to 256: multiplied by 3^i modulo 256, digit i is the leading one, and times 3 / 256
 * gives it. */
static float trit(uint8_t byte, int i) {
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    return (float)(((uint8_t)(byte * powers[i]) * 3 >> 8) - 1);
}

/* TQ1_0, 54 bytes for 256 elements: 32 and 16 bytes with five digits each, 4 bytes with four digits each, d.
 * Within a run of bytes come the first digits of all bytes, then the second ones, and so on. */
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

/* TQ2_0, 66 bytes for 256 elements: 64 bytes with four 2-bit levels each, d. Level 1 stands for 0. Each 32
 * bytes hold 128 elements: byte i has elements i, i + 32, i + 64 and i + 96. */
void tq2_0_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 66) {
        float d = load_f16(p + 64);
        for (int i = 0; i < SUPER; i++)
            *dst++ = d * (float)((p[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - 1);
    }
}

/* ---- codebooks ---- */

/* A row of 8 values of IQ2: `packed` has 8 levels of 2 bits, of which three occur; bit i of `signs` negates
 * value i. */
static void row8(uint16_t packed, uint8_t signs, float scale, float *dst) {
    static const float levels[4] = {0x08, 0x19, 0x2b, 0};
    for (int i = 0; i < 8; i++)
        dst[i] = scale * levels[packed >> 2 * i & 3] * (signs >> i & 1 ? -1.0f : 1.0f);
}

/* Signs of a row as 7 bits. The eighth is not stored: the number of negative signs is always even, which the
 * encoder of ggml makes sure of. */
static uint8_t even_signs(uint32_t seven) {
    return (uint8_t)(seven | (uint32_t)(__builtin_popcount(seven) & 1) << 7);
}

/* 66 bytes for 256 elements: d, then 8 bytes for each 32 elements: 4 codes of 8 bits, and a u32 with 4 times
 * 7 signs and, in its upper 4 bits, the scale. */
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

/* 74 bytes for 256 elements: d, 32 words with a code of 9 bits and 7 signs, 8 bytes of scales, 4 bits for
 * each 16 elements. */
void iq2_xs_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 74)
        for (int i = 0; i < 32; i++, dst += 8) {
            uint16_t code = load_u16(p + 2 + 2 * i);
            float scale = load_f16(p) * (0.5f + (float)(p[66 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            row8(iq2_xs_grid[code & 511], even_signs(code >> 9), scale, dst);
        }
}

/* 82 bytes for 256 elements: d, the lower 8 bits of 32 codes, 32 bytes of signs, the upper 2 bits of the
 * codes in 8 bytes, 8 bytes of scales, 4 bits for each 16 elements. */
void iq2_s_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 82)
        for (int i = 0; i < 32; i++, dst += 8) {
            int code = p[2 + i] | (p[66 + i / 4] >> i % 4 * 2 & 3) << 8;
            float scale = load_f16(p) * (0.5f + (float)(p[74 + i / 4] >> i / 2 % 2 * 4 & 15)) * 0.25f;
            row8(iq2_s_grid[code], p[34 + i], scale, dst);
        }
}

/* A row of 4 values of IQ3: `packed` has 4 levels of 3 bits; bit i of `signs` negates value i. */
static void row4(uint16_t packed, const float levels[8], uint8_t signs, float scale, float *dst) {
    for (int i = 0; i < 4; i++)
        dst[i] = scale * levels[packed >> 3 * i & 7] * (signs >> i & 1 ? -1.0f : 1.0f);
}

/* 98 bytes for 256 elements: d, 64 codes of 8 bits, then a u32 for each 32 elements with 4 times 7 signs,
 * each for two rows, and, in its upper 4 bits, the scale. */
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

/* 110 bytes for 256 elements: d, the lower 8 bits of 64 codes, their ninth bits in 8 bytes, 32 bytes of
 * signs, 4 bytes of scales, 4 bits for each 32 elements. */
void iq3_s_decode(const void *src, uint64_t n, float *dst) {
    static const float levels[8] = {0x01, 0x03, 0x05, 0x07, 0x09, 0x0b, 0x0d, 0x0f};
    for (const uint8_t *p = src; n; n -= SUPER, p += 110)
        for (int i = 0; i < 64; i++, dst += 4) {
            int code = p[2 + i] | (p[66 + i / 8] >> i % 8 & 1) << 8;
            float scale = load_f16(p) * (float)(1 + 2 * (p[106 + i / 16] >> i / 8 % 2 * 4 & 15));
            row4(iq3_s_grid[code], levels, p[74 + i / 2] >> i % 2 * 4, scale, dst);
        }
}

/* A row of 8 values of IQ1: levels of 2 bits stand for -1, 0 and 1, and all of them are shifted by an eighth,
 * down or up. */
static void ternary_row(uint16_t packed, bool down, float scale, float *dst) {
    for (int i = 0; i < 8; i++)
        dst[i] = scale * ((float)(packed >> 2 * i & 3) - 1.0f + (down ? -0.125f : 0.125f));
}

/* 50 bytes for 256 elements: d, the lower 8 bits of 32 codes, then a word for each 32 elements with the upper
 * 3 bits of its 4 codes, a scale of 3 bits and, in the highest bit, the direction of the shift. */
void iq1_s_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 50)
        for (int i = 0; i < 32; i++, dst += 8) {
            uint16_t high = load_u16(p + 34 + 2 * (i / 4));
            int code = p[2 + i] | (high >> i % 4 * 3 & 7) << 8;
            float scale = load_f16(p) * (float)(2 * (high >> 12 & 7) + 1);
            ternary_row(iq1_s_grid[code], high & 0x8000, scale, dst);
        }
}

/* 56 bytes for 256 elements: the lower 8 bits of 32 codes; 16 bytes with, for each code, its upper 3 bits and
 * the direction of the shift; 4 words with four scales of 3 bits each. The upper 4 bits of the words together
 * are d. */
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
