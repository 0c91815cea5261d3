/* Plain element types as arrays of floats (floats.c). dtype.c puts these functions into the table of types;
 * the conversions of single numbers are also used by the block types (formats/quant_block.h).
 *
 * All conversions give the same bits on each CPU: to float they are exact or correctly rounded, from float
 * they round to nearest, ties to even. */
#ifndef DEROPE_FORMATS_FLOATS_H
#define DEROPE_FORMATS_FLOATS_H

#include <stdint.h>

/* IEEE 754 binary16 and bfloat16 (the upper half of a float), as bit patterns. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* overflow gives infinity; a NaN keeps the upper bits of its payload */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* a NaN stays a NaN */

/* The double with the fewest decimal digits that rounds to `f`. A GGUF holds 1e-05 as the nearest float; a
 * JSON file should say 1e-05 again, not 9.999999747378752e-06. */
double float_shortest(float f);

/* Decoders: `n` little-endian elements at any alignment become floats. Integers and f64 are rounded to
 * float. */
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
/* Decoders of the 8-bit floating-point formats; formats/dtype.h says what each format is. */
void e8m0_decode(const void *src, uint64_t n, float *dst);
void e4m3fnuz_decode(const void *src, uint64_t n, float *dst);
void e5m2fnuz_decode(const void *src, uint64_t n, float *dst);
void e4m3_decode(const void *src, uint64_t n, float *dst);
void e5m2_decode(const void *src, uint64_t n, float *dst);
/* Encoders: `n` floats become little-endian elements at any alignment, rounded as described above. */
void f32_encode(const float *src, uint64_t n, void *dst);
void f16_encode(const float *src, uint64_t n, void *dst);
void bf16_encode(const float *src, uint64_t n, void *dst);

#endif
