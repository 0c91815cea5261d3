/* Decoders of blocks of codes and ternary digits (quants_i.c). All take n elements in whole blocks. */
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
