/* The super-blocks of 256 ("K-quants"): 8 or 16 sub-blocks, whose own scales are quantised too. */
#include "formats/quants_k.h"

#include <string.h>

#include "formats/quant_block.h"

enum { SUPER = 256 };

/* scales[16] (4-bit scale, 4-bit minimum), 2-bit values [64], d, dmin */
void q2_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 84) {
        const uint8_t *scales = p, *q = p + 16;
        float d = load_f16(p + 80), dmin = load_f16(p + 82);
        for (int sub = 0; sub < 16; sub++) {
            float scale = d * (float)(scales[sub] & 15), low = dmin * (float)(scales[sub] >> 4);
            const uint8_t *bytes = q + sub / 8 * 32 + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2;
            for (int i = 0; i < 16; i++)
                *dst++ = scale * (float)(bytes[i] >> shift & 3) - low;
        }
    }
}

/* high bits [32], 2-bit values [64], 6-bit scales in 12 bytes, d */
void q3_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 110) {
        const uint8_t *high = p, *q = p + 32, *s = p + 96;
        float d = load_f16(p + 108);
        for (int sub = 0; sub < 16; sub++) {
            int scale = (sub < 8 ? s[sub] & 15 : s[sub - 8] >> 4) | (s[8 + sub % 4] >> sub / 4 * 2 & 3) << 4;
            float dl = d * (float)(scale - 32);
            const uint8_t *bytes = q + sub / 8 * 32 + sub % 2 * 16, *mask = high + sub % 2 * 16;
            int shift = sub % 8 / 2 * 2, bit = sub / 2;
            for (int i = 0; i < 16; i++)
                *dst++ = dl * (float)((bytes[i] >> shift & 3) - ((mask[i] >> bit & 1) ? 0 : 4));
        }
    }
}

/* Sub-block `i` of eight: 6-bit scale and minimum out of 12 bytes. */
static void scale_and_minimum(const uint8_t *s, int i, int *scale, int *minimum) {
    if (i < 4) {
        *scale = s[i] & 63;
        *minimum = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *minimum = (s[i + 4] >> 4) | (s[i] >> 6) << 4;
    }
}

/* d, dmin, scales [12], 4-bit values [128] */
void q4_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 144) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int sub = 0; sub < 8; sub++) {
            int scale, minimum;
            scale_and_minimum(p + 4, sub, &scale, &minimum);
            float dl = d * (float)scale, low = dmin * (float)minimum;
            const uint8_t *q = p + 16 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int i = 0; i < 32; i++)
                *dst++ = dl * (float)(q[i] >> shift & 15) - low;
        }
    }
}

/* d, dmin, scales [12], high bits [32], 4-bit values [128] */
void q5_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 176) {
        float d = load_f16(p), dmin = load_f16(p + 2);
        for (int sub = 0; sub < 8; sub++) {
            int scale, minimum;
            scale_and_minimum(p + 4, sub, &scale, &minimum);
            float dl = d * (float)scale, low = dmin * (float)minimum;
            const uint8_t *high = p + 16, *q = p + 48 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int i = 0; i < 32; i++)
                *dst++ = dl * (float)((q[i] >> shift & 15) | (high[i] >> sub & 1) << 4) - low;
        }
    }
}

/* low 4 bits [128], high 2 bits [64], 8-bit scales [16], d */
void q6_k_decode(const void *src, uint64_t n, float *dst) {
    for (const uint8_t *p = src; n; n -= SUPER, p += 210) {
        const uint8_t *low = p, *high = p + 128;
        const int8_t *scales = (const int8_t *)p + 192;
        float d = load_f16(p + 208);
        for (int group = 0; group < 8; group++) {
            const uint8_t *l = low + group / 4 * 64 + group % 2 * 32, *h = high + group / 4 * 32;
            int nibble = group % 4 / 2 * 4, pair = group % 4 * 2;
            for (int i = 0; i < 32; i++) {
                int q = (l[i] >> nibble & 15) | (h[i] >> pair & 3) << 4;
                *dst++ = d * (float)scales[2 * group + i / 16] * (float)(q - 32);
            }
        }
    }
}
