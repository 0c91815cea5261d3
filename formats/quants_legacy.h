/* ggml's blocks of 32 elements (quants_legacy.c): Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 * All functions take `n` elements, a multiple of 32. Blocks need no alignment. */
#ifndef DEROPE_FORMATS_QUANTS_LEGACY_H
#define DEROPE_FORMATS_QUANTS_LEGACY_H

#include <stdint.h>

void q4_0_decode(const void *src, uint64_t n, float *dst);
void q4_1_decode(const void *src, uint64_t n, float *dst);
void q5_0_decode(const void *src, uint64_t n, float *dst);
void q5_1_decode(const void *src, uint64_t n, float *dst);
void q8_0_decode(const void *src, uint64_t n, float *dst);
void q4_0_encode(const float *src, uint64_t n, void *dst);
void q4_1_encode(const float *src, uint64_t n, void *dst);
void q5_0_encode(const float *src, uint64_t n, void *dst);
void q5_1_encode(const float *src, uint64_t n, void *dst);
void q8_0_encode(const float *src, uint64_t n, void *dst);

#endif
