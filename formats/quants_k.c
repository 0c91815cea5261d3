/* Decoders of ggml's super-blocks of 256 elements: see formats/quants_k.h; the encoders are in
 * quants_encode.c, and dtype.c has both in its table. The layouts are block_q2_K to block_q6_K of
 * ggml-common.h, the arithmetic is dequantize_row_q2_K and so on of ggml-quants.c. Below, `sub` counts
 * sub-blocks, and d and dmin are the half-precision factors of a super-block. Every function takes `n`
 * elements, a multiple of 256. */
#include "formats/quants_k.h"

#include <string.h>

#include "formats/quant_block.h"

enum { SUPER = 256 };

/* 84 bytes: 16 bytes with the codes of scale (low half) and minimum (high half) of the 16 sub-blocks of 16;
 * 64 bytes of levels, 2 bits each; d; dmin. value = d * scale * level - dmin * minimum. Each 32 bytes of
 * levels hold 8 sub-blocks: two side by side, four one above the other in the bits of a byte. */
void q2_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 84) {
        const uint8_t *scales = p, *q = p + 16;
        float d = load_f16(p + 80), dmin = load_f16(p + 82);
        for (int sub = 0; sub < 16; sub++) {
            /* The scale and minimum of this sub-block. */
            float scale = d * (float)(scales[sub] & 15), low = dmin * (float)(scales[sub] >> 4);
            /* Its levels: which 16 bytes, and which 2 bits of each. */
            const uint8_t *bytes = q + sub / 8 * 32 + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2;
            for (int i = 0; i < 16; i++)
                *dst++ = scale * (float)(bytes[i] >> shift & 3) - low;
        }
    }
}

/* 110 bytes: 32 bytes with the third bits of the levels; 64 bytes with their lower 2 bits, laid out as in
 * Q2_K; 12 bytes with 16 scale codes of 6 bits; d. Levels are from -4 to 3: a third bit of 0 means that 4 is
 * subtracted. Scale codes have an offset of 32: their lower 4 bits are the halves of bytes 0 to 7, their
 * upper 2 bits lie in bytes 8 to 11. */
void q3_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 110) {
        const uint8_t *high = p, *q = p + 32, *s = p + 96;
        float d = load_f16(p + 108);
        for (int sub = 0; sub < 16; sub++) {
            /* The 6-bit scale code, of which 32 is subtracted. */
            int scale = (sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4) | (s[8 + sub % 4] >> sub / 4 * 2 & 3) << 4;
            float dl = d * (float)(scale - 32);
            /* Lower 2 bits and third bit of each level. */
            const uint8_t *bytes = q + sub / 8 * 32 + sub % 2 * 16, *mask = high + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2, bit = sub / 2;
            for (int i = 0; i < 16; i++)
                *dst++ = dl * (float)((bytes[i] >> shift & 3) - ((mask[i] >> bit & 1) ? 0 : 4));
        }
    }
}

/* The 6-bit scale and minimum of sub-block `i` of 8, from the 12 bytes `s` of Q4_K and Q5_K. The layout is
 * described at encode_affine in quants_encode.c; ggml calls this function get_scale_min_k4. */
static void scale_and_minimum(const uint8_t *s, int i, int *scale, int *minimum) {
    if (i < 4) {
        *scale = s[i] & 63;
        *minimum = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *minimum = (s[i + 4] >> 4) | (s[i] >> 6) << 4;
    }
}

/* 144 bytes: d; dmin; 12 bytes of scales and minima of the 8 sub-blocks of 32; 128 bytes of levels, 4 bits
 * each. Two sub-blocks share 32 bytes: the first has the low halves, the second the high ones. */
void q4_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 144) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int sub = 0; sub < 8; sub++) {
            int scale, minimum;
            scale_and_minimum(p + 4, sub, &scale, &minimum);
            float dl = d * (float)scale, low = dmin * (float)minimum;
            /* Two sub-blocks share 32 bytes. */
            const uint8_t *q = p + 16 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int i = 0; i < 32; i++)
                *dst++ = dl * (float)(q[i] >> shift & 15) - low;
        }
    }
}

/* 176 bytes: d; dmin; 12 bytes of scales and minima; 32 bytes with the fifth bits of the levels, bit `sub` of
 * byte i for element i of the sub-block; 128 bytes with the lower 4 bits, laid out as in Q4_K. */
void q5_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 176) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int sub = 0; sub < 8; sub++) {
            int scale, minimum;
            scale_and_minimum(p + 4, sub, &scale, &minimum);
            float dl = d * (float)scale, low = dmin * (float)minimum;
            /* Fifth bits and lower 4 bits of the levels. */
            const uint8_t *high = p + 16, *q = p + 48 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int i = 0; i < 32; i++)
                *dst++ = dl * (float)((q[i] >> shift & 15) | (high[i] >> sub & 1) << 4) - low;
        }
    }
}

/* 210 bytes: 128 bytes with the lower 4 bits of the levels; 64 bytes with the upper 2 bits; 16 signed 8-bit
 * scales, one for each sub-block of 16; d. Levels are from -32 to 31, stored with an offset of 32. A group is
 * 32 elements that lie side by side in the same bits of their bytes. */
void q6_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 210) {
        const uint8_t *low = p, *high = p + 128;
        const int8_t *scales = (const int8_t *)p + 192;
        float d = load_f16(p + 208);
        for (int group = 0; group < 8; group++) {
            /* Where the lower 4 and the upper 2 bits of this group lie. */
            const uint8_t *l = low + group / 4 * 64 + group % 2 * 32, *h = high + group / 4 * 32;
            int nibble = group % 4 / 2 * 4, pair = group % 4 * 2;
            for (int i = 0; i < 32; i++) {
                int q = (l[i] >> nibble & 15) | (h[i] >> pair & 3) << 4;
                *dst++ = d * (float)scales[2 * group + i / 16] * (float)(q - 32);
            }
        }
    }
}
