/* Encoders that search for the scales with the smallest error (quants_encode.c): the K-quants and IQ4.
 *
 * All functions take `n` elements, a multiple of 256 (32 for IQ4_NL), and give the bytes that ggml's
 * reference gives without an importance matrix (ggml-quants.c, quantize_row_q4_K_ref and so on). */
#ifndef DEROPE_FORMATS_QUANTS_ENCODE_H
#define DEROPE_FORMATS_QUANTS_ENCODE_H

#include <stdint.h>

void q2_k_encode(const float *src, uint64_t n, void *dst);
void q3_k_encode(const float *src, uint64_t n, void *dst);
void q4_k_encode(const float *src, uint64_t n, void *dst);
void q5_k_encode(const float *src, uint64_t n, void *dst);
void q6_k_encode(const float *src, uint64_t n, void *dst);
void iq4_nl_encode(const float *src, uint64_t n, void *dst);
void iq4_xs_encode(const float *src, uint64_t n, void *dst);

#endif
