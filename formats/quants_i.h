/* Decoders of ggml's blocks whose elements are codes into tables or ternary digits (quants_i.c): IQ1 to IQ4,
 * TQ, MXFP4, NVFP4. The encoders of IQ4 are in formats/quants_encode.h; the other types have none here.
 *
 * All functions take `n` elements, a whole number of blocks. Blocks need no alignment. */
#ifndef DEROPE_FORMATS_QUANTS_I_H
#define DEROPE_FORMATS_QUANTS_I_H

#include <stdint.h>

void iq2_xxs_decode(const void *src, uint64_t n, float *dst);
void iq2_xs_decode(const void *src, uint64_t n, float *dst);
void iq2_s_decode(const void *src, uint64_t n, float *dst);
void iq3_xxs_decode(const void *src, uint64_t n, float *dst);
void iq3_s_decode(const void *src, uint64_t n, float *dst);
void iq1_s_decode(const void *src, uint64_t n, float *dst);
void iq1_m_decode(const void *src, uint64_t n, float *dst);
void iq4_nl_decode(const void *src, uint64_t n, float *dst);
void iq4_xs_decode(const void *src, uint64_t n, float *dst);
void tq1_0_decode(const void *src, uint64_t n, float *dst);
void tq2_0_decode(const void *src, uint64_t n, float *dst);
void mxfp4_decode(const void *src, uint64_t n, float *dst);
void nvfp4_decode(const void *src, uint64_t n, float *dst);

#endif
