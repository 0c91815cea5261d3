/* What the encoders and decoders of ggml's block types share. All inline.
 *
 * The layouts are those of ggml (ggml-common.h, block_q4_0 and so on). Decoded values and encoded bytes equal
 * those of ggml's reference (ggml-quants.c) bit for bit, which tests/peers compares. The order of each
 * multiplication and addition is therefore part of the code's meaning: formats/ is compiled without
 * contraction to fused multiply-add. */
#ifndef DEROPE_FORMATS_QUANT_BLOCK_H
#define DEROPE_FORMATS_QUANT_BLOCK_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "formats/floats.h"

/* The levels that the 4-bit codes of IQ4_NL and IQ4_XS stand for (ggml-common.h, kvalues_iq4nl). They are
 * denser near zero, where most weights are. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* A half-precision scale at any alignment. */
static inline float load_f16(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_to_f32(h);
}

static inline void store_f16(uint8_t *p, float f) {
    uint16_t h = f32_to_f16(f);
    memcpy(p, &h, sizeof h);
}

/* The value of largest magnitude among `n`, with its sign; the first one of several; 0 if all are 0 or
 * NaN. */
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
