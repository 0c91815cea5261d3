/* What the encoders and decoders of quantized blocks share: all inline.
 *
 * The layouts are ggml's (ggml-common.h). Values equal those of its reference bit for bit, so the order of
 * every multiplication and addition matters. */
#ifndef DEROPE_FORMATS_QUANT_BLOCK_H
#define DEROPE_FORMATS_QUANT_BLOCK_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "formats/floats.h"

/* What the codes of IQ4 stand for, in order. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

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
