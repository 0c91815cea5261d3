/* Block decoders and encoders behind the table in dtype.c. The layouts are ggml's (ggml-common.h); values
 * equal the reference bit for bit, so the order of every multiplication and addition matters. */
#ifndef DEROPE_FORMATS_QUANTS_H
#define DEROPE_FORMATS_QUANTS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "formats/dtype.h"

/* All: n elements, whole blocks. */
void q4_0_decode(const void *src, uint64_t n, float *dst);
void q4_1_decode(const void *src, uint64_t n, float *dst);
void q5_0_decode(const void *src, uint64_t n, float *dst);
void q5_1_decode(const void *src, uint64_t n, float *dst);
void q8_0_decode(const void *src, uint64_t n, float *dst);
void q2_k_decode(const void *src, uint64_t n, float *dst);
void q3_k_decode(const void *src, uint64_t n, float *dst);
void q4_k_decode(const void *src, uint64_t n, float *dst);
void q5_k_decode(const void *src, uint64_t n, float *dst);
void q6_k_decode(const void *src, uint64_t n, float *dst);
void iq2_xxs_decode(const void *src, uint64_t n, float *dst);
void iq2_xs_decode(const void *src, uint64_t n, float *dst);
void iq3_xxs_decode(const void *src, uint64_t n, float *dst);
void iq1_s_decode(const void *src, uint64_t n, float *dst);
void iq4_nl_decode(const void *src, uint64_t n, float *dst);
void iq3_s_decode(const void *src, uint64_t n, float *dst);
void iq2_s_decode(const void *src, uint64_t n, float *dst);
void iq4_xs_decode(const void *src, uint64_t n, float *dst);
void iq1_m_decode(const void *src, uint64_t n, float *dst);
void tq1_0_decode(const void *src, uint64_t n, float *dst);
void tq2_0_decode(const void *src, uint64_t n, float *dst);
void mxfp4_decode(const void *src, uint64_t n, float *dst);
void nvfp4_decode(const void *src, uint64_t n, float *dst);
void q4_0_encode(const float *src, uint64_t n, void *dst);
void q4_1_encode(const float *src, uint64_t n, void *dst);
void q8_0_encode(const float *src, uint64_t n, void *dst);
void q5_0_encode(const float *src, uint64_t n, void *dst);
void q5_1_encode(const float *src, uint64_t n, void *dst);
void q2_k_encode(const float *src, uint64_t n, void *dst);
void q3_k_encode(const float *src, uint64_t n, void *dst);
void q4_k_encode(const float *src, uint64_t n, void *dst);
void q5_k_encode(const float *src, uint64_t n, void *dst);
void q6_k_encode(const float *src, uint64_t n, void *dst);
void iq4_nl_encode(const float *src, uint64_t n, void *dst);
void iq4_xs_encode(const float *src, uint64_t n, void *dst);

/* What the codes of IQ4 stand for, in order. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* ---- what the files of blocks share ---- */

static inline float load_f16(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_to_f32(h);
}

static inline void store_f16(uint8_t *p, float f) {
    uint16_t h = f32_to_f16(f);
    memcpy(p, &h, sizeof h);
}

/* The value of largest magnitude, with its sign. */
static inline float extreme_of(const float *x, int n) {
    float peak = 0, extreme = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > peak) {
            peak = fabsf(x[i]);
            extreme = x[i];
        }
    return extreme;
}

#endif
