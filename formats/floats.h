/* Plain element types as arrays of floats (floats.c). */
#ifndef DEROPE_FORMATS_FLOATS_H
#define DEROPE_FORMATS_FLOATS_H

#include <stdint.h>

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* round to nearest even, as the CPU does it */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */

/* n elements of unaligned little-endian memory, as float. */
void f64_decode(const void *src, uint64_t n, float *dst);
void f32_decode(const void *src, uint64_t n, float *dst);
void bf16_decode(const void *src, uint64_t n, float *dst);
void f16_decode(const void *src, uint64_t n, float *dst);
void i64_decode(const void *src, uint64_t n, float *dst);
void i32_decode(const void *src, uint64_t n, float *dst);
void i16_decode(const void *src, uint64_t n, float *dst);
void i8_decode(const void *src, uint64_t n, float *dst);
void u64_decode(const void *src, uint64_t n, float *dst);
void u32_decode(const void *src, uint64_t n, float *dst);
void u16_decode(const void *src, uint64_t n, float *dst);
void u8_decode(const void *src, uint64_t n, float *dst);
void e8m0_decode(const void *src, uint64_t n, float *dst);
void e4m3fnuz_decode(const void *src, uint64_t n, float *dst);
void e5m2fnuz_decode(const void *src, uint64_t n, float *dst);
void e4m3_decode(const void *src, uint64_t n, float *dst);
void e5m2_decode(const void *src, uint64_t n, float *dst);
/* And back: n floats, each rounded to nearest even. */
void f32_encode(const float *src, uint64_t n, void *dst);
void f16_encode(const float *src, uint64_t n, void *dst);
void bf16_encode(const float *src, uint64_t n, void *dst);

#endif
