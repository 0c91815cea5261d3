/* Decoders of the super-blocks of 256, "K-quants" (quants_k.c). All take n elements in whole blocks. */
#ifndef DEROPE_FORMATS_QUANTS_K_H
#define DEROPE_FORMATS_QUANTS_K_H

#include <stdint.h>

void q2_k_decode(const void *src, uint64_t n, float *dst);
void q3_k_decode(const void *src, uint64_t n, float *dst);
void q4_k_decode(const void *src, uint64_t n, float *dst);
void q5_k_decode(const void *src, uint64_t n, float *dst);
void q6_k_decode(const void *src, uint64_t n, float *dst);

#endif
