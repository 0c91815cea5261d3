/* Tests of formats/dtype.h and formats/floats.h: all bit patterns of the small floats, rounding at all
 * midpoints, and the table of types against independent copies of the specifications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/dtype.h"
#include "formats/floats.h"

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The value of a small float by its definition: a sign, `e` exponent bits with bias 2^(e-1) - 1, `m` mantissa
 * bits, with infinities and NaNs as in IEEE 754. */
static double spelled(uint32_t x, int e, int m) {
    int exponent = (int)(x >> m & ((1u << e) - 1)), bias = (1 << (e - 1)) - 1;
    double mantissa = (double)(x & ((1u << m) - 1)) / (1 << m);
    double sign = x >> (e + m) ? -1 : 1;
    if (exponent == (1 << e) - 1) return mantissa != 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1 + mantissa, exponent - bias) : ldexp(mantissa, 1 - bias));
}

static void assert_value(const char *what, uint32_t pattern, float got, double expected) {
    bool same = isnan(expected) ? isnan(got) : got == expected && !signbit(got) == !signbit(expected);
    if (!same) fail_msg("%s %#x: %.9g, expected %.9g", what, pattern, got, expected);
}

/* Decodes all 65536 patterns and encodes them again. Each gives the value of its definition and comes back as
 * the same pattern; a NaN comes back quiet, with the rest of its payload. */
static void every_pattern_of(const char *what, int e, int m, float (*decode)(uint16_t),
                             uint16_t (*encode)(float)) {
    for (uint32_t h = 0; h < 65536; h++) {
        float f = decode((uint16_t)h);
        double value = spelled(h, e, m);
        assert_value(what, h, f, value);
        uint32_t back = isnan(value) ? h | 1u << (m - 1) : h;
        if (encode(f) != back) fail_msg("%s %#x comes back as %#x", what, h, encode(f));
    }
}

static void assert_encodes(const char *what, uint16_t (*encode)(float), float f, uint32_t expected) {
    if (encode(f) != expected) fail_msg("%a becomes %s %#x, expected %#x", f, what, encode(f), expected);
    if (encode(-f) != (expected | 0x8000)) fail_msg("%a becomes %s %#x", -f, what, encode(-f));
}

/* Encodes floats around the midpoint of each two neighbours: the midpoint itself goes to the neighbour with
 * an even mantissa, values beside it to the nearer one. The last midpoint is the one between the largest
 * number and the next power of two; from there on the result is infinity. */
static void every_midpoint_of(const char *what, int e, int m, uint16_t (*encode)(float)) {
    uint32_t infinity = ((1u << e) - 1) << m;
    for (uint32_t h = 0; h < infinity; h++) {
        double low = spelled(h, e, m);
        double high = h + 1 == infinity ? ldexp(1, 1 << (e - 1)) : spelled(h + 1, e, m);
        float middle = (float)((low + high) / 2);
        assert_true(middle == (low + high) / 2);
        assert_encodes(what, encode, middle, h & 1 ? h + 1 : h);
        assert_encodes(what, encode, nextafterf(middle, 0), h);
        assert_encodes(what, encode, nextafterf(middle, INFINITY), h + 1);
    }
    assert_encodes(what, encode, INFINITY, infinity);
    assert_encodes(what, encode, 0x1.fffffep127f, infinity);
}

static void f16_is_ieee(void **state) {
    (void)state;
    every_pattern_of("f16", 5, 10, f16_to_f32, f32_to_f16);
    every_midpoint_of("f16", 5, 10, f32_to_f16);
    assert_int_equal(f32_to_f16(from_bits(0x7f800001)), 0x7e00); /* a payload that F16 has no room for */
    assert_int_equal(f32_to_f16(from_bits(1)), 0);
}

static void bf16_is_the_upper_half_of_f32(void **state) {
    (void)state;
    every_pattern_of("bf16", 8, 7, bf16_to_f32, f32_to_bf16);
    every_midpoint_of("bf16", 8, 7, f32_to_bf16);
    assert_int_equal(f32_to_bf16(from_bits(0x7f800001)), 0x7fc0);
    assert_int_equal(f32_to_bf16(from_bits(0xffffffff)), 0xffff);
    assert_int_equal(bits_of(bf16_to_f32(0x8001)), 0x80010000);
}

/* The conversion functions of the table, which work on arrays, agree with those for single values, also on
 * memory that is not aligned. */
static void arrays_convert_as_single_values(void **state) {
    (void)state;
    enum { N = 65536 };
    uint8_t *from = malloc(2 * N + 1), *to = malloc(2 * N + 1);
    float *values = malloc(N * sizeof *values);
    static const DType types[] = {DTYPE_F16, DTYPE_BF16};
    for (int i = 0; i < 2; i++) {
        const DTypeInfo *d = dtype_info(types[i]);
        for (uint32_t h = 0; h < N; h++)
            memcpy(from + 1 + 2 * h, &(uint16_t){(uint16_t)h}, 2);
        d->decode(from + 1, N, values);
        for (uint32_t h = 0; h < N; h++)
            assert_value(d->name, h, values[h], i ? spelled(h, 8, 7) : spelled(h, 5, 10));
        d->encode(values, N, to + 1);
        for (uint32_t h = 0; h < N; h++) {
            uint16_t back;
            memcpy(&back, to + 1 + 2 * h, 2);
            if (!isnan(values[h])) assert_int_equal(back, h);
        }
    }
    free(from), free(to), free(values);
}

static void e5m2_and_e4m3(void **state) {
    (void)state;
    for (uint32_t x = 0; x < 256; x++) {
        uint8_t byte = (uint8_t)x;
        float f;
        dtype_info(DTYPE_F8_E5M2)->decode(&byte, 1, &f);
        assert_value("e5m2", x, f, spelled(x, 5, 2));
        dtype_info(DTYPE_F8_E4M3)->decode(&byte, 1, &f);
        bool top = (x & 0x78) == 0x78; /* a binade of numbers where IEEE has infinity; its last is the NaN */
        double normal = (x & 0x80 ? -1 : 1) * ldexp(1 + (x & 7) / 8.0, 8);
        assert_value("e4m3", x, f, !top ? spelled(x, 4, 3) : (x & 7) == 7 ? NAN : normal);
    }
    static const struct {
        DType type;
        uint8_t byte;
        float value;
    } known[] = {{DTYPE_F8_E4M3, 0x7e, 448},      {DTYPE_F8_E4M3, 0x01, 0x1p-9f},  {DTYPE_F8_E4M3, 0x38, 1},
                 {DTYPE_F8_E5M2, 0x7b, 57344},    {DTYPE_F8_E5M2, 0x01, 0x1p-16f}, {DTYPE_F8_E5M2, 0x3c, 1},
                 {DTYPE_F8_E5M2, 0xfc, -INFINITY}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        float f;
        dtype_info(known[i].type)->decode(&known[i].byte, 1, &f);
        assert_true(f == known[i].value);
    }
}

static float decoded(DType t, const void *bytes) {
    float f;
    dtype_info(t)->decode(bytes, 1, &f);
    return f;
}

static void whole_numbers(void **state) {
    (void)state;
    assert_true(decoded(DTYPE_I8, &(int8_t){-128}) == -128);
    assert_true(decoded(DTYPE_U8, &(uint8_t){255}) == 255);
    assert_true(decoded(DTYPE_BOOL, &(uint8_t){1}) == 1);
    assert_true(decoded(DTYPE_I16, &(int16_t){-32768}) == -32768);
    assert_true(decoded(DTYPE_U16, &(uint16_t){65535}) == 65535);
    assert_true(decoded(DTYPE_I32, &(int32_t){INT32_MIN}) == -0x1p31f);
    assert_true(decoded(DTYPE_U32, &(uint32_t){UINT32_MAX}) == 0x1p32f);
    assert_true(decoded(DTYPE_I64, &(int64_t){INT64_MIN}) == -0x1p63f);
    assert_true(decoded(DTYPE_U64, &(uint64_t){UINT64_MAX}) == 0x1p64f);
    assert_true(decoded(DTYPE_F64, &(double){0.1}) == 0.1f);
    assert_true(decoded(DTYPE_F64, &(double){1e300}) == INFINITY);
}

/* The types as the documents of safetensors and ggml list them: name, name in safetensors, number in ggml,
 * elements and bytes of a block. */
static const struct {
    DType type;
    const char *name, *safetensors;
    int ggml;
    uint32_t elems, bytes;
} all[] = {
    {DTYPE_F64, "f64", "F64", 28, 1, 8},
    {DTYPE_F32, "f32", "F32", 0, 1, 4},
    {DTYPE_F16, "f16", "F16", 1, 1, 2},
    {DTYPE_BF16, "bf16", "BF16", 30, 1, 2},
    {DTYPE_I64, "i64", "I64", 27, 1, 8},
    {DTYPE_I32, "i32", "I32", 26, 1, 4},
    {DTYPE_I16, "i16", "I16", 25, 1, 2},
    {DTYPE_I8, "i8", "I8", 24, 1, 1},
    {DTYPE_U64, "u64", "U64", -1, 1, 8},
    {DTYPE_U32, "u32", "U32", -1, 1, 4},
    {DTYPE_U16, "u16", "U16", -1, 1, 2},
    {DTYPE_U8, "u8", "U8", -1, 1, 1},
    {DTYPE_BOOL, "bool", "BOOL", -1, 1, 1},
    {DTYPE_C64, "c64", "C64", -1, 1, 8},
    {DTYPE_F8_E4M3, "f8_e4m3", "F8_E4M3", -1, 1, 1},
    {DTYPE_F8_E5M2, "f8_e5m2", "F8_E5M2", -1, 1, 1},
    {DTYPE_F8_E8M0, "f8_e8m0", "F8_E8M0", -1, 1, 1},
    {DTYPE_F8_E4M3FNUZ, "f8_e4m3fnuz", "F8_E4M3FNUZ", -1, 1, 1},
    {DTYPE_F8_E5M2FNUZ, "f8_e5m2fnuz", "F8_E5M2FNUZ", -1, 1, 1},
    {DTYPE_F6_E2M3, "f6_e2m3", "F6_E2M3", -1, 4, 3},
    {DTYPE_F6_E3M2, "f6_e3m2", "F6_E3M2", -1, 4, 3},
    {DTYPE_F4, "f4", "F4", -1, 2, 1},
    {DTYPE_Q4_0, "q4_0", NULL, 2, 32, 2 + 16},
    {DTYPE_Q4_1, "q4_1", NULL, 3, 32, 4 + 16},
    {DTYPE_Q5_0, "q5_0", NULL, 6, 32, 2 + 4 + 16},
    {DTYPE_Q5_1, "q5_1", NULL, 7, 32, 4 + 4 + 16},
    {DTYPE_Q8_0, "q8_0", NULL, 8, 32, 2 + 32},
    {DTYPE_Q8_1, "q8_1", NULL, 9, 32, 4 + 32},
    {DTYPE_Q2_K, "q2_k", NULL, 10, 256, 16 + 64 + 4},
    {DTYPE_Q3_K, "q3_k", NULL, 11, 256, 32 + 64 + 12 + 2},
    {DTYPE_Q4_K, "q4_k", NULL, 12, 256, 4 + 12 + 128},
    {DTYPE_Q5_K, "q5_k", NULL, 13, 256, 4 + 12 + 32 + 128},
    {DTYPE_Q6_K, "q6_k", NULL, 14, 256, 128 + 64 + 16 + 2},
    {DTYPE_Q8_K, "q8_k", NULL, 15, 256, 4 + 256 + 32},
    {DTYPE_IQ2_XXS, "iq2_xxs", NULL, 16, 256, 2 + 64},
    {DTYPE_IQ2_XS, "iq2_xs", NULL, 17, 256, 2 + 64 + 8},
    {DTYPE_IQ3_XXS, "iq3_xxs", NULL, 18, 256, 2 + 96},
    {DTYPE_IQ1_S, "iq1_s", NULL, 19, 256, 2 + 32 + 16},
    {DTYPE_IQ4_NL, "iq4_nl", NULL, 20, 32, 2 + 16},
    {DTYPE_IQ3_S, "iq3_s", NULL, 21, 256, 2 + 64 + 8 + 32 + 4},
    {DTYPE_IQ2_S, "iq2_s", NULL, 22, 256, 2 + 64 + 16},
    {DTYPE_IQ4_XS, "iq4_xs", NULL, 23, 256, 2 + 2 + 4 + 128},
    {DTYPE_IQ1_M, "iq1_m", NULL, 29, 256, 32 + 16 + 8},
    {DTYPE_TQ1_0, "tq1_0", NULL, 34, 256, 48 + 4 + 2},
    {DTYPE_TQ2_0, "tq2_0", NULL, 35, 256, 64 + 2},
    {DTYPE_MXFP4, "mxfp4", NULL, 39, 32, 1 + 16},
    {DTYPE_NVFP4, "nvfp4", NULL, 40, 64, 4 + 32},
    {DTYPE_Q1_0, "q1_0", NULL, 41, 128, 2 + 16},
    {DTYPE_Q2_0, "q2_0", NULL, 42, 64, 2 + 16},
};

static void every_type_is_in_the_table(void **state) {
    (void)state;
    assert_int_equal(sizeof all / sizeof *all, DTYPE_COUNT);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const DTypeInfo *d = dtype_info(all[i].type);
        DType t;
        uint64_t bytes;
        assert_string_equal(d->name, all[i].name);
        assert_true(dtype_from_name(all[i].name, &t) && t == all[i].type);
        assert_int_equal(d->safetensors != NULL, all[i].safetensors != NULL);
        if (all[i].safetensors)
            assert_true(dtype_from_safetensors(all[i].safetensors, &t) && t == all[i].type);
        assert_int_equal(d->ggml, all[i].ggml);
        if (all[i].ggml >= 0) assert_true(dtype_from_ggml((uint32_t)all[i].ggml, &t) && t == all[i].type);
        assert_true(dtype_bytes(all[i].type, 3 * all[i].elems, &bytes));
        assert_int_equal(bytes, 3 * all[i].bytes);
        assert_true(dtype_bytes(all[i].type, 0, &bytes) && bytes == 0);
        if (all[i].elems > 1) assert_false(dtype_bytes(all[i].type, 3 * all[i].elems + 1, &bytes));
        uint64_t many = UINT64_MAX / all[i].elems * all[i].elems;
        assert_int_equal(dtype_bytes(all[i].type, many, &bytes), all[i].bytes <= all[i].elems);
    }
}

/* dtype_encodable lists each type with an encoder once and no other type. The names of plain types and of
 * block types are separate lists. */
static void what_can_be_written_is_listed(void **state) {
    (void)state;
    size_t n, times[DTYPE_COUNT] = {0};
    const DType *list = dtype_encodable(&n);
    for (size_t i = 0; i < n; i++)
        times[list[i]]++;
    for (int t = 0; t < DTYPE_COUNT; t++)
        assert_int_equal(times[t], dtype_info((DType)t)->encode != NULL);
    Buffer plain = {0}, blocks = {0};
    dtype_list_names(false, &plain);
    dtype_list_names(true, &blocks);
    assert_string_equal(buffer_string(&plain), "f32, bf16, f16");
    assert_string_equal(buffer_string(&blocks),
                        "q8_0, q6_k, q5_k, q4_k, q3_k, q2_k, q5_0, q5_1, q4_0, q4_1, iq4_nl, iq4_xs");
    buffer_free(&plain);
    buffer_free(&blocks);
}

static void unknown_names_are_not_found(void **state) {
    (void)state;
    DType t;
    assert_true(dtype_from_name("Bf16", &t) && t == DTYPE_BF16);
    assert_false(dtype_from_name("bf17", &t) || dtype_from_name("", &t));
    assert_false(dtype_from_safetensors("bf16", &t) || dtype_from_safetensors("Q8_0", &t));
    static const uint32_t absent[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, UINT32_MAX};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_false(dtype_from_ggml(absent[i], &t));
}

/* Where dtype_widens says yes, each value of the narrower type survives the conversion there and back. */
static void what_widens_is_undone(void **state) {
    (void)state;
    for (DType from = 0; from < DTYPE_COUNT; from++)
        for (DType to = 0; to < DTYPE_COUNT; to++) {
            const DTypeInfo *f = dtype_info(from), *w = dtype_info(to);
            if (!dtype_widens(from, to)) continue;
            assert_true(from != to && f->decode && f->block_bytes <= w->block_bytes);
            if (!w->encode || f->block_bytes > 2) continue;
            for (uint32_t x = 0; x < 1u << 8 * f->block_bytes; x++) {
                float value, wide;
                uint8_t bytes[8];
                f->decode(&x, 1, &value);
                w->encode(&value, 1, bytes);
                w->decode(bytes, 1, &wide);
                assert_value(w->name, x, wide, value);
            }
        }
    assert_true(dtype_widens(DTYPE_BF16, DTYPE_F32) && dtype_widens(DTYPE_F16, DTYPE_F32));
    assert_true(dtype_widens(DTYPE_F8_E4M3, DTYPE_BF16) && dtype_widens(DTYPE_F8_E5M2, DTYPE_F16));
    assert_false(dtype_widens(DTYPE_F16, DTYPE_BF16) || dtype_widens(DTYPE_BF16, DTYPE_F16));
    assert_false(dtype_widens(DTYPE_F32, DTYPE_BF16) || dtype_widens(DTYPE_F32, DTYPE_F32));
}

/* Encoders are given infinities, NaNs and huge values: the blocks decode without undefined behaviour, and
 * nothing is written past their end. */
static void blocks_of_nonsense(void **state) {
    (void)state;
    static const float nonsense[] = {NAN, INFINITY, -INFINITY, 0x1.fffffep127f, -0x1.fffffep127f, 0x1p-149f};
    for (DType type = 0; type < DTYPE_COUNT; type++) {
        const DTypeInfo *d = dtype_info(type);
        int n = (int)d->block_elems;
        if (n == 1 || !d->encode) continue;
        uint8_t block[300];
        float values[256] = {0}, back[256];
        d->encode(values, n, block);
        d->decode(block, n, back);
        for (int k = 0; k < n; k++)
            assert_true(back[k] == 0);
        for (size_t j = 0; j < sizeof nonsense / sizeof *nonsense; j++) {
            for (int k = 0; k < n; k++)
                values[k] = k == 17 ? nonsense[j] : (float)k;
            memset(block, 0xaa, sizeof block);
            d->encode(values, n, block);
            d->decode(block, n, back);
            assert_int_equal(block[d->block_bytes], 0xaa);
        }
        for (int k = 0; k < n; k++) /* and a tiny one is as good as zero */
            values[k] = 0x1p-149f;
        d->encode(values, n, block);
        d->decode(block, n, back);
        for (int k = 0; k < n; k++)
            assert_true(fabsf(back[k]) <= 0x1p-24f);
    }
}

/* On normally distributed values each type has an error that its number of bits allows; on constant values
 * nearly none. */
static void blocks_come_back_closely(void **state) {
    (void)state;
    static const struct {
        DType type;
        double error; /* relative, root mean square */
    } all_blocks[] = {{DTYPE_Q8_0, 0.006},  {DTYPE_Q6_K, 0.020}, {DTYPE_Q5_K, 0.036},   {DTYPE_Q5_1, 0.040},
                      {DTYPE_Q5_0, 0.045},  {DTYPE_Q4_K, 0.075}, {DTYPE_Q4_1, 0.083},   {DTYPE_Q4_0, 0.090},
                      {DTYPE_IQ4_NL, 0.08}, {DTYPE_Q3_K, 0.16},  {DTYPE_IQ4_XS, 0.085}, {DTYPE_Q2_K, 0.33}};
    for (size_t i = 0; i < sizeof all_blocks / sizeof *all_blocks; i++) {
        const DTypeInfo *d = dtype_info(all_blocks[i].type);
        uint8_t bytes[4 * 300];
        float values[1024], back[1024];
        double off = 0, all_squares = 0;
        uint32_t seed = 3;
        for (int k = 0; k < 1024; k++) {
            values[k] = 0;
            for (int j = 0; j < 6; j++) /* nearly a bell */
                values[k] += (float)((seed = seed * 1664525 + 1013904223) >> 16) / 65536 - 0.5f;
        }
        for (int constant = 0; constant < 2; constant++) {
            off = all_squares = 0;
            for (int k = 0; k < 1024; k++)
                if (constant) values[k] = -0.37f;
            d->encode(values, 1024, bytes);
            d->decode(bytes, 1024, back);
            for (int k = 0; k < 1024; k++) {
                off += pow(back[k] - values[k], 2);
                all_squares += pow(values[k], 2);
            }
            double error = sqrt(off / all_squares), most = constant ? 0.01 : all_blocks[i].error;
            if (!(error < most)) fail_msg("%s: %g is off by %g, at most %g", d->name, values[0], error, most);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_is_ieee),
        cmocka_unit_test(bf16_is_the_upper_half_of_f32),
        cmocka_unit_test(arrays_convert_as_single_values),
        cmocka_unit_test(e5m2_and_e4m3),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(every_type_is_in_the_table),
        cmocka_unit_test(what_can_be_written_is_listed),
        cmocka_unit_test(unknown_names_are_not_found),
        cmocka_unit_test(what_widens_is_undone),
        cmocka_unit_test(blocks_of_nonsense),
        cmocka_unit_test(blocks_come_back_closely),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
