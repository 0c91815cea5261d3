/* Encoders that search (quants_encode.c). All take n elements in whole blocks. */
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
