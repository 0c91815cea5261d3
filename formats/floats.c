/* Conversions of plain element types to and from fp32: see formats/floats.h. dtype.c has them in its table,
 * and quants_*.c use the half-precision ones for scales.
 *
 * The conversions of half-precision floats use only integer arithmetic and one float addition, which rounds
 * or normalises in the way that is needed. They give the same bits as the conversion instructions of
 * processors that have them, on each processor, and loops over them vectorise. */
#include "formats/floats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Converts binary16 to float. The 15 bits of exponent and mantissa are shifted to their places in a float,
 * and the difference of the exponent biases, 127 - 15, is added. Infinities and NaNs (exponent 31) need
 * another 128 - 16 to arrive at exponent 255. Denormals (exponent 0) have no implicit leading one: they are
 * given one by adding 1 to the exponent, and subtracting 2^-14 as a float takes it away and normalises the
 * result. */
static inline float half_value(uint16_t h) {
    const uint32_t infinity = 0x7c00u << 13;
    uint32_t bits = (h & 0x7fffu) << 13, exponent = bits & infinity;
    bits += (127 - 15) << 23;
    if (exponent == infinity) bits += (128 - 16) << 23;
    float f;
    uint32_t denormal_bits = bits + (1 << 23);
    memcpy(&f, &denormal_bits, sizeof f);
    f -= 0x1p-14f;
    if (exponent != 0) memcpy(&f, &bits, sizeof f);
    memcpy(&bits, &f, sizeof bits);
    bits |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Converts float to binary16, rounding to nearest even. All cases are computed and the right one is selected,
 * without branches.
 *
 * Small values (below 2^-14) become denormals: adding 0.5 aligns the mantissa so that the lowest bits of the
 * sum are those of the result, already rounded. Normal values: the bias is changed and the bits below the
 * result are rounded, where 0xfff plus the lowest kept bit rounds ties to even; a carry into the exponent is
 * correct. From 2^16 on the result is infinity; a NaN keeps its upper mantissa bits and becomes quiet. */
static inline uint16_t value_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits & 0x80000000u;
    bits ^= sign;
    float small;
    memcpy(&small, &bits, sizeof small);
    small += 0.5f;
    uint32_t small_bits;
    memcpy(&small_bits, &small, sizeof small_bits);
    uint32_t normal = (bits + ((uint32_t)(15 - 127) << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
    uint32_t half = bits < (113u << 23) ? small_bits - 0x3f000000u : normal;
    if (bits >= (143u << 23)) half = 0x7c00;
    if (bits > 0x7f800000u) half = 0x7e00 | (bits >> 13 & 0x3ff);
    return (uint16_t)(half | sign >> 16);
}

/* The inline functions above under public names, for code that converts single numbers such as scales. */
float f16_to_f32(uint16_t h) {
    return half_value(h);
}

uint16_t f32_to_f16(float f) {
    return value_half(f);
}

/* bfloat16 is the upper half of a float. */
float bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest even, as in value_half. Rounding could carry the mantissa of a NaN into infinity, so NaNs
 * are cut off and made quiet. */
uint16_t f32_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Already in the right form. */
void f32_decode(const void *src, uint64_t n, float *dst) {
    memcpy(dst, src, n * sizeof *dst);
}

void f32_encode(const float *src, uint64_t n, void *dst) {
    memcpy(dst, src, n * sizeof *src);
}

/* Defines a decoder that reads elements of `type` as `x` and stores `value`. It is a macro because the
 * functions differ in a type. Integers and doubles are rounded to the nearest float. */
#define PLAIN_DECODE(name, type, value)                                                                      \
    void name(const void *src, uint64_t n, float *dst) {                                                     \
        for (uint64_t i = 0; i < n; i++) {                                                                   \
            type x;                                                                                          \
            memcpy(&x, (const uint8_t *)src + i * sizeof x, sizeof x);                                       \
            dst[i] = value;                                                                                  \
        }                                                                                                    \
    }

PLAIN_DECODE(f64_decode, double, (float)x)
PLAIN_DECODE(bf16_decode, uint16_t, bf16_to_f32(x))
PLAIN_DECODE(i64_decode, int64_t, (float)x)
PLAIN_DECODE(i32_decode, int32_t, (float)x)
PLAIN_DECODE(i16_decode, int16_t, (float)x)
PLAIN_DECODE(i8_decode, int8_t, (float)x)
PLAIN_DECODE(u64_decode, uint64_t, (float)x)
PLAIN_DECODE(u32_decode, uint32_t, (float)x)
PLAIN_DECODE(u16_decode, uint16_t, (float)x)
PLAIN_DECODE(u8_decode, uint8_t, (float)x)

PLAIN_DECODE(f16_decode, uint16_t, half_value(x))

/* The loops that writers spend most time in are marked for vectorisation. */
void f16_encode(const float *src, uint64_t n, void *dst) {
#pragma omp simd
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h = value_half(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, sizeof h);
    }
}

void bf16_encode(const float *src, uint64_t n, void *dst) {
#pragma omp simd
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h = f32_to_bf16(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, sizeof h);
    }
}

/* The value of an OCP 8-bit float (OFP8 specification 1.0). E4M3: bias 7, no infinity; exponent and mantissa
 * of all ones are NaN. E5M2 needs no function: it is the upper half of a binary16. */
static float e4m3_value(uint8_t x) {
    int exponent = x >> 3 & 15, mantissa = x & 7;
    float sign = x & 0x80 ? -1.0f : 1.0f;
    if (exponent == 15 && mantissa == 7) return sign * __builtin_nanf("");
    float m = exponent ? 1.0f + (float)mantissa / 8 : (float)mantissa / 8;
    return sign * __builtin_ldexpf(m, (exponent ? exponent : 1) - 7);
}

/* The value of a FNUZ variant (AMD, Graphcore): the bias is larger by 1, there is no negative zero, and its
 * code is the only NaN. */
static float fnuz_value(uint8_t x, int mantissa_bits, int bias) {
    int exponent = (x & 0x7f) >> mantissa_bits, mantissa = x & ((1 << mantissa_bits) - 1);
    if (x == 0x80) return __builtin_nanf("");
    float m = (float)mantissa / (float)(1 << mantissa_bits) + (exponent ? 1.0f : 0.0f);
    return (x & 0x80 ? -1.0f : 1.0f) * __builtin_ldexpf(m, (exponent ? exponent : 1) - bias);
}

/* The value of an E8M0 scale of the OCP MX formats: a power of two with bias 127; 255 is NaN. */
static float e8m0_value(uint8_t x) {
    return x == 255 ? __builtin_nanf("") : __builtin_ldexpf(1, x - 127);
}

PLAIN_DECODE(e8m0_decode, uint8_t, e8m0_value(x))
PLAIN_DECODE(e4m3fnuz_decode, uint8_t, fnuz_value(x, 3, 8))
PLAIN_DECODE(e5m2fnuz_decode, uint8_t, fnuz_value(x, 2, 16))
PLAIN_DECODE(e4m3_decode, uint8_t, e4m3_value(x))
PLAIN_DECODE(e5m2_decode, uint8_t, f16_to_f32((uint16_t)(x << 8)))

/* Nine digits tell all floats apart. */
double float_shortest(float f) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtof(text, NULL) == f) break;
    }
    return strtod(text, NULL);
}
