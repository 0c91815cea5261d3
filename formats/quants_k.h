/* Decoders of ggml's super-blocks of 256 elements, the "K-quants" (quants_k.c). Their encoders, which search
 * for good scales, are in formats/quants_encode.h.
 *
 * All functions take `n` elements, a multiple of 256. Blocks need no alignment. */
#ifndef DEROPE_FORMATS_QUANTS_K_H
#define DEROPE_FORMATS_QUANTS_K_H

#include <stdint.h>

void q2_k_decode(const void *src, uint64_t n, float *dst);
void q3_k_decode(const void *src, uint64_t n, float *dst);
void q4_k_decode(const void *src, uint64_t n, float *dst);
void q5_k_decode(const void *src, uint64_t n, float *dst);
void q6_k_decode(const void *src, uint64_t n, float *dst);

#endif
