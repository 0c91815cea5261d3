#include "formats/dtype.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "formats/quants.h"

/* ---- plain types ---- */

/* Conversions by integer arithmetic and one float addition that rounds or renormalises: the same bits as the
 * CPU's own instructions, on every CPU, and loops over them vectorise. */
static inline float half_value(uint16_t h) {
    const uint32_t infinity = 0x7c00u << 13;
    uint32_t bits = (h & 0x7fffu) << 13, exponent = bits & infinity;
    bits += (127 - 15) << 23;
    if (exponent == infinity) bits += (128 - 16) << 23;
    float f;
    uint32_t denormal_bits = bits + (1 << 23);
    memcpy(&f, &denormal_bits, sizeof f);
    f -= 0x1p-14f; /* renormalises: the implicit one of a denormal is not there */
    if (exponent != 0) memcpy(&f, &bits, sizeof f);
    memcpy(&bits, &f, sizeof bits);
    bits |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint16_t value_half(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits & 0x80000000u;
    bits ^= sign;
    float small;
    memcpy(&small, &bits, sizeof small);
    small += 0.5f; /* the sum's last bits are a denormal half's, rounded to nearest even */
    uint32_t small_bits;
    memcpy(&small_bits, &small, sizeof small_bits);
    uint32_t normal = (bits + ((uint32_t)(15 - 127) << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
    uint32_t half = bits < (113u << 23) ? small_bits - 0x3f000000u : normal;
    if (bits >= (143u << 23)) half = 0x7c00;
    if (bits > 0x7f800000u) half = 0x7e00 | (bits >> 13 & 0x3ff);
    return (uint16_t)(half | sign >> 16);
}

float f16_to_f32(uint16_t h) {
    return half_value(h);
}

uint16_t f32_to_f16(float f) {
    return value_half(f);
}

float bf16_to_f32(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t f32_to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* a quiet NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void f32_decode(const void *src, uint64_t n, float *dst) {
    memcpy(dst, src, n * sizeof *dst);
}

static void f32_encode(const float *src, uint64_t n, void *dst) {
    memcpy(dst, src, n * sizeof *src);
}

/* One function per plain type: element i of unaligned little-endian memory, as float. */
#define PLAIN_DECODE(name, type, value)                                                                      \
    static void name(const void *src, uint64_t n, float *dst) {                                              \
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

static void f16_encode(const float *src, uint64_t n, void *dst) {
#pragma omp simd
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h = value_half(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, sizeof h);
    }
}

static void bf16_encode(const float *src, uint64_t n, void *dst) {
#pragma omp simd
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h = f32_to_bf16(src[i]);
        memcpy((uint8_t *)dst + 2 * i, &h, sizeof h);
    }
}

/* OCP 8-bit floats: E4M3 has no infinity, E5M2 is the upper half of an F16. */
static float e4m3_value(uint8_t x) {
    int exponent = x >> 3 & 15, mantissa = x & 7;
    float sign = x & 0x80 ? -1.0f : 1.0f;
    if (exponent == 15 && mantissa == 7) return sign * __builtin_nanf("");
    float m = exponent ? 1.0f + (float)mantissa / 8 : (float)mantissa / 8;
    return sign * __builtin_ldexpf(m, (exponent ? exponent : 1) - 7);
}

/* The kinds without a negative zero (its code is the one NaN), with one more power of two below. */
static float fnuz_value(uint8_t x, int mantissa_bits, int bias) {
    int exponent = (x & 0x7f) >> mantissa_bits, mantissa = x & ((1 << mantissa_bits) - 1);
    if (x == 0x80) return __builtin_nanf("");
    float m = (float)mantissa / (float)(1 << mantissa_bits) + (exponent ? 1.0f : 0.0f);
    return (x & 0x80 ? -1.0f : 1.0f) * __builtin_ldexpf(m, (exponent ? exponent : 1) - bias);
}

/* Powers of two; the last code is NaN. */
static float e8m0_value(uint8_t x) {
    return x == 255 ? __builtin_nanf("") : __builtin_ldexpf(1, x - 127);
}

PLAIN_DECODE(e8m0_decode, uint8_t, e8m0_value(x))
PLAIN_DECODE(e4m3fnuz_decode, uint8_t, fnuz_value(x, 3, 8))
PLAIN_DECODE(e5m2fnuz_decode, uint8_t, fnuz_value(x, 2, 16))
PLAIN_DECODE(e4m3_decode, uint8_t, e4m3_value(x))
PLAIN_DECODE(e5m2_decode, uint8_t, f16_to_f32((uint16_t)(x << 8)))

/* ---- the table ---- */

static const DTypeInfo table[DTYPE_COUNT] = {
    [DTYPE_F64] = {"f64", 1, 8, "F64", 28, f64_decode, NULL},
    [DTYPE_F32] = {"f32", 1, 4, "F32", 0, f32_decode, f32_encode},
    [DTYPE_F16] = {"f16", 1, 2, "F16", 1, f16_decode, f16_encode},
    [DTYPE_BF16] = {"bf16", 1, 2, "BF16", 30, bf16_decode, bf16_encode},
    [DTYPE_I64] = {"i64", 1, 8, "I64", 27, i64_decode, NULL},
    [DTYPE_I32] = {"i32", 1, 4, "I32", 26, i32_decode, NULL},
    [DTYPE_I16] = {"i16", 1, 2, "I16", 25, i16_decode, NULL},
    [DTYPE_I8] = {"i8", 1, 1, "I8", 24, i8_decode, NULL},
    [DTYPE_U64] = {"u64", 1, 8, "U64", -1, u64_decode, NULL},
    [DTYPE_U32] = {"u32", 1, 4, "U32", -1, u32_decode, NULL},
    [DTYPE_U16] = {"u16", 1, 2, "U16", -1, u16_decode, NULL},
    [DTYPE_U8] = {"u8", 1, 1, "U8", -1, u8_decode, NULL},
    [DTYPE_BOOL] = {"bool", 1, 1, "BOOL", -1, u8_decode, NULL},
    [DTYPE_C64] = {"c64", 1, 8, "C64", -1, NULL, NULL},
    [DTYPE_F8_E4M3] = {"f8_e4m3", 1, 1, "F8_E4M3", -1, e4m3_decode, NULL},
    [DTYPE_F8_E5M2] = {"f8_e5m2", 1, 1, "F8_E5M2", -1, e5m2_decode, NULL},
    [DTYPE_F8_E8M0] = {"f8_e8m0", 1, 1, "F8_E8M0", -1, e8m0_decode, NULL},
    [DTYPE_F8_E4M3FNUZ] = {"f8_e4m3fnuz", 1, 1, "F8_E4M3FNUZ", -1, e4m3fnuz_decode, NULL},
    [DTYPE_F8_E5M2FNUZ] = {"f8_e5m2fnuz", 1, 1, "F8_E5M2FNUZ", -1, e5m2fnuz_decode, NULL},
    [DTYPE_F6_E2M3] = {"f6_e2m3", 4, 3, "F6_E2M3", -1, NULL, NULL},
    [DTYPE_F6_E3M2] = {"f6_e3m2", 4, 3, "F6_E3M2", -1, NULL, NULL},
    [DTYPE_F4] = {"f4", 2, 1, "F4", -1, NULL, NULL},
    [DTYPE_Q4_0] = {"q4_0", 32, 18, NULL, 2, q4_0_decode, q4_0_encode},
    [DTYPE_Q4_1] = {"q4_1", 32, 20, NULL, 3, q4_1_decode, q4_1_encode},
    [DTYPE_Q5_0] = {"q5_0", 32, 22, NULL, 6, q5_0_decode, q5_0_encode},
    [DTYPE_Q5_1] = {"q5_1", 32, 24, NULL, 7, q5_1_decode, q5_1_encode},
    [DTYPE_Q8_0] = {"q8_0", 32, 34, NULL, 8, q8_0_decode, q8_0_encode},
    [DTYPE_Q8_1] = {"q8_1", 32, 36, NULL, 9, NULL, NULL},
    [DTYPE_Q2_K] = {"q2_k", 256, 84, NULL, 10, q2_k_decode, q2_k_encode},
    [DTYPE_Q3_K] = {"q3_k", 256, 110, NULL, 11, q3_k_decode, q3_k_encode},
    [DTYPE_Q4_K] = {"q4_k", 256, 144, NULL, 12, q4_k_decode, q4_k_encode},
    [DTYPE_Q5_K] = {"q5_k", 256, 176, NULL, 13, q5_k_decode, q5_k_encode},
    [DTYPE_Q6_K] = {"q6_k", 256, 210, NULL, 14, q6_k_decode, q6_k_encode},
    [DTYPE_Q8_K] = {"q8_k", 256, 292, NULL, 15, NULL, NULL},
    [DTYPE_IQ2_XXS] = {"iq2_xxs", 256, 66, NULL, 16, iq2_xxs_decode, NULL},
    [DTYPE_IQ2_XS] = {"iq2_xs", 256, 74, NULL, 17, iq2_xs_decode, NULL},
    [DTYPE_IQ3_XXS] = {"iq3_xxs", 256, 98, NULL, 18, iq3_xxs_decode, NULL},
    [DTYPE_IQ1_S] = {"iq1_s", 256, 50, NULL, 19, iq1_s_decode, NULL},
    [DTYPE_IQ4_NL] = {"iq4_nl", 32, 18, NULL, 20, iq4_nl_decode, iq4_nl_encode},
    [DTYPE_IQ3_S] = {"iq3_s", 256, 110, NULL, 21, iq3_s_decode, NULL},
    [DTYPE_IQ2_S] = {"iq2_s", 256, 82, NULL, 22, iq2_s_decode, NULL},
    [DTYPE_IQ4_XS] = {"iq4_xs", 256, 136, NULL, 23, iq4_xs_decode, iq4_xs_encode},
    [DTYPE_IQ1_M] = {"iq1_m", 256, 56, NULL, 29, iq1_m_decode, NULL},
    [DTYPE_TQ1_0] = {"tq1_0", 256, 54, NULL, 34, tq1_0_decode, NULL},
    [DTYPE_TQ2_0] = {"tq2_0", 256, 66, NULL, 35, tq2_0_decode, NULL},
    [DTYPE_MXFP4] = {"mxfp4", 32, 17, NULL, 39, mxfp4_decode, NULL},
    [DTYPE_NVFP4] = {"nvfp4", 64, 36, NULL, 40, nvfp4_decode, NULL},
    [DTYPE_Q1_0] = {"q1_0", 128, 18, NULL, 41, NULL, NULL},
    [DTYPE_Q2_0] = {"q2_0", 64, 18, NULL, 42, NULL, NULL},
};

const DTypeInfo *dtype_info(DType t) {
    return &table[t];
}

bool dtype_from_name(const char *name, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcasecmp(table[i].name, name) == 0) {
            *out = (DType)i;
            return true;
        }
    return false;
}

bool dtype_from_safetensors(const char *name, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (table[i].safetensors && strcmp(table[i].safetensors, name) == 0) {
            *out = (DType)i;
            return true;
        }
    return false;
}

bool dtype_from_ggml(uint32_t id, DType *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (table[i].ggml >= 0 && (uint32_t)table[i].ggml == id) {
            *out = (DType)i;
            return true;
        }
    return false;
}

bool dtype_bytes(DType t, uint64_t n, uint64_t *out) {
    const DTypeInfo *d = &table[t];
    return n % d->block_elems == 0 &&
           !__builtin_mul_overflow(n / d->block_elems, (uint64_t)d->block_bytes, out);
}

bool dtype_widens(DType from, DType to) {
    switch (from) {
    case DTYPE_F32:
        return to == DTYPE_F64;
    case DTYPE_F16:
    case DTYPE_BF16:
        return to == DTYPE_F32 || to == DTYPE_F64;
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return to == DTYPE_F16 || to == DTYPE_BF16 || to == DTYPE_F32 || to == DTYPE_F64;
    default:
        return false;
    }
}

DType dtype_written(DType t) {
    return dtype_info(t)->encode ? t : DTYPE_Q8_0;
}

bool dtype_for_rows(DType wanted, uint64_t row_elems, DType *out) {
    static const struct {
        DType from, to;
    } smaller_blocks[] = {{DTYPE_Q2_K, DTYPE_Q4_0}, {DTYPE_Q3_K, DTYPE_Q4_0}, {DTYPE_Q4_K, DTYPE_Q5_0},
                          {DTYPE_Q5_K, DTYPE_Q5_1}, {DTYPE_Q6_K, DTYPE_Q8_0}, {DTYPE_IQ4_XS, DTYPE_IQ4_NL}};
    *out = wanted;
    if (row_elems % table[wanted].block_elems == 0) return true;
    for (size_t i = 0; i < sizeof smaller_blocks / sizeof *smaller_blocks; i++)
        if (smaller_blocks[i].from == wanted && row_elems % table[smaller_blocks[i].to].block_elems == 0) {
            *out = smaller_blocks[i].to;
            return true;
        }
    return false;
}
