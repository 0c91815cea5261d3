/* Tests of formats/tensor.h and formats/tensor_views.h: which bytes a view has, in which order and type. */
#include <float.h>
#include <math.h>

#include "formats/floats.h"
#include "formats/hash.h"
#include "formats/tensor_views.h"
#include "tests/scratch.h"

static const ByteSource *memory(Arena *a, const void *bytes, size_t n) {
    ByteSource *s = arena_alloc(a, sizeof *s);
    *s = (ByteSource){.path = "memory", .map = bytes, .size = n};
    return s;
}

/* A source without a map, which fails for requests past its end. */
static bool read_asked(const ByteSource *s, uint64_t offset, size_t n, void *out, Error *e) {
    if (offset + n > s->size) return error_set(e, ERR_INPUT, "%s: cut short", s->path);
    memcpy(out, (const uint8_t *)s->context + offset, n);
    return true;
}

static const ByteSource *asked(Arena *a, const void *bytes, size_t n) {
    ByteSource *s = arena_alloc(a, sizeof *s);
    *s = (ByteSource){.path = "asked", .size = n, .read = read_asked, .context = (void *)bytes};
    return s;
}

/* The numbers 0, 1, 2, ... as F32. */
static float *counting(Arena *a, size_t n) {
    float *v = arena_alloc(a, n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)i;
    return v;
}

static void shapes(void **state) {
    (void)state;
    Arena a = {0};
    float *v = counting(&a, 24);
    Tensor t = tensor_over(&a, "t", DTYPE_F32, 3, (uint64_t[]){2, 3, 4}, v);
    assert_true(t.n_rows == 6 && t.row_elems == 4);
    assert_int_equal(tensor_elems(&t), 24);
    assert_int_equal(tensor_bytes(&t), 96);
    assert_ptr_equal(tensor_map(&t), v);
    t = tensor_over(&a, "vector", DTYPE_F32, 1, (uint64_t[]){7}, v);
    assert_true(t.n_rows == 1 && t.row_elems == 7);
    t = tensor_over(&a, "scalar", DTYPE_F32, 0, NULL, v + 3);
    assert_int_equal(tensor_bytes(&t), 4);
    float x;
    Error e = {0};
    assert_true(tensor_read_f32(&t, &x, &e) && x == 3);
    t = tensor_over(&a, "q", DTYPE_Q8_0, 2, (uint64_t[]){5, 64}, v);
    assert_int_equal(tensor_bytes(&t), 5 * 2 * 34);
    arena_free(&a);
}

/* A tensor of three parts, one of them without a map, is read from each row on and in any order. */
static void rows_in_parts(void **state) {
    (void)state;
    enum { ROWS = 11, COLS = 3 };
    Arena a = {0};
    float *v = counting(&a, 2 * ROWS * COLS);
    TensorPart parts[] = {
        {memory(&a, v, 4 * 100), 4 * COLS, 4},                        /* rows 1 to 4 of the counting */
        {asked(&a, v, 4 * 2 * ROWS * COLS), 4 * 10 * COLS, 1},        /* row 10 */
        {memory(&a, v + 15 * COLS, 4 * ROWS * COLS), 0, ROWS - 4 - 1} /* rows 15 to 20 */
    };
    static const int row_of[ROWS] = {1, 2, 3, 4, 10, 15, 16, 17, 18, 19, 20};
    static const uint32_t order[ROWS] = {10, 4, 0, 0, 3, 5, 2, 9, 1, 8, 7};
    Tensor t = tensor_over(&a, "t", DTYPE_F32, 2, (uint64_t[]){ROWS, COLS}, v);
    t.parts = parts;
    t.n_parts = 3;
    assert_null(tensor_map(&t));
    for (int permuted = 0; permuted < 2; permuted++) {
        t.row_index = permuted ? order : NULL;
        for (uint64_t first = 0; first <= ROWS; first++)
            for (uint64_t n = 0; first + n <= ROWS; n++) {
                float got[ROWS * COLS + 1], *end = got + n * COLS;
                Error e = {0};
                *end = -1;
                assert_true(tensor_read_rows(&t, first, n, got, &e));
                for (uint64_t i = 0; i < n * COLS; i++) {
                    uint64_t row = first + i / COLS;
                    assert_true(got[i] == row_of[permuted ? order[row] : row] * COLS + (float)(i % COLS));
                }
                assert_true(*end == -1);
            }
    }
    arena_free(&a);
}

static void permutations_compose(void **state) {
    (void)state;
    Arena a = {0};
    float *v = counting(&a, 5);
    Tensor t = tensor_over(&a, "t", DTYPE_F32, 2, (uint64_t[]){5, 1}, v);
    static const uint32_t turn[] = {1, 2, 3, 4, 0}, swap[] = {1, 0, 2, 3, 4};
    float got[5];
    Error e = {0};
    tensor_permute(&a, &t, turn);
    assert_true(tensor_read_f32(&t, got, &e));
    assert_memory_equal(got, ((float[]){1, 2, 3, 4, 0}), sizeof got);
    assert_int_equal(tensor_status(&t), TENSOR_PERMUTED);
    assert_null(tensor_map(&t));
    tensor_permute(&a, &t, swap); /* of the present view */
    assert_true(tensor_read_f32(&t, got, &e));
    assert_memory_equal(got, ((float[]){2, 1, 3, 4, 0}), sizeof got);
    static const uint32_t undo[] = {4, 1, 0, 2, 3};
    tensor_permute(&a, &t, undo);
    assert_null(t.row_index); /* all in order again: the very bytes */
    assert_ptr_equal(tensor_map(&t), v);
    assert_int_equal(tensor_status(&t), TENSOR_UNTOUCHED);
    arena_free(&a);
}

static void biases_are_permuted_by_element(void **state) {
    (void)state;
    Arena a = {0};
    float *v = counting(&a, 64), got[4];
    Error e = {0};
    Tensor t = tensor_over(&a, "bias", DTYPE_F32, 1, (uint64_t[]){4}, v);
    assert_true(tensor_split_rows(&a, &t, &e));
    assert_true(t.n_rows == 4 && t.row_elems == 1 && t.shape[0] == 4 && tensor_bytes(&t) == 16);
    tensor_permute(&a, &t, (uint32_t[]){2, 3, 0, 1});
    assert_true(tensor_read_f32(&t, got, &e));
    assert_memory_equal(got, ((float[]){2, 3, 0, 1}), sizeof got);
    Tensor blocks = tensor_over(&a, "q", DTYPE_Q8_0, 1, (uint64_t[]){64}, v); /* blocks stay whole */
    assert_false(tensor_split_rows(&a, &blocks, &e));
    assert_string_equal(e.message, "tensor 'q': elements of q8_0 cannot be permuted one by one");
    assert_int_equal(blocks.n_rows, 1);
    arena_free(&a);
}

/* Tensors larger than the chunks in which values are converted: many rows, and rows that are larger than a
 * chunk by themselves. */
static void types_change_on_the_way(void **state) {
    (void)state;
    static const uint64_t shapes[][2] = {{200000, 3}, {3, 200000}, {1, 1}};
    for (int s = 0; s < 3; s++) {
        Arena a = {0};
        size_t n = shapes[s][0] * shapes[s][1];
        uint16_t *v = arena_alloc(&a, 2 * n), *half = arena_alloc(&a, 2 * n);
        float *wide = arena_alloc(&a, 4 * n);
        Error e = {0};
        for (size_t i = 0; i < n; i++)
            v[i] = f32_to_bf16((float)(i % 30011) / 7);
        Tensor t = tensor_over(&a, "t", DTYPE_BF16, 2, shapes[s], v);
        t.dtype = DTYPE_F32;
        assert_int_equal(tensor_status(&t), TENSOR_WIDENED);
        assert_null(tensor_map(&t));
        assert_int_equal(tensor_bytes(&t), 4 * n);
        assert_true(tensor_read_rows(&t, 0, t.n_rows, wide, &e));
        for (size_t i = 0; i < n; i++)
            assert_true(wide[i] == bf16_to_f32(v[i]));
        memset(wide, 0, 4 * n);
        assert_true(tensor_read_f32(&t, wide, &e));
        assert_true(wide[n - 1] == bf16_to_f32(v[n - 1]) && wide[n / 2] == bf16_to_f32(v[n / 2]));
        t.dtype = DTYPE_F16;
        t.scale = 0.5f;
        t.add = 1;
        assert_int_equal(tensor_status(&t), TENSOR_CHANGED);
        assert_true(tensor_read_rows(&t, 0, t.n_rows, half, &e));
        for (size_t i = 0; i < n; i++)
            assert_int_equal(half[i], f32_to_f16(bf16_to_f32(v[i]) * 0.5f + 1));
        if (t.n_rows > 2) { /* from the middle on */
            uint16_t *rest = arena_alloc(&a, 2 * n);
            assert_true(tensor_read_rows(&t, 2, t.n_rows - 2, rest, &e));
            assert_memory_equal(rest, half + 2 * t.row_elems, 2 * (n - 2 * t.row_elems));
        }
        arena_free(&a);
    }
}

static void statuses(void **state) {
    (void)state;
    Arena a = {0};
    const Tensor plain = tensor_over(&a, "t", DTYPE_F32, 2, (uint64_t[]){2, 2}, counting(&a, 4));
    Tensor t = plain;
    assert_int_equal(tensor_status(&t), TENSOR_UNTOUCHED);
    t.dtype = DTYPE_BF16;
    assert_int_equal(tensor_status(&t), TENSOR_CHANGED);
    t.exact_dtype = DTYPE_BF16; /* F32 that was BF16 before */
    assert_int_equal(tensor_status(&t), TENSOR_WIDENED);
    t = plain;
    t.status = TENSOR_CHANGED;
    assert_int_equal(tensor_status(&t), TENSOR_CHANGED);
    t = plain;
    t.add = 1;
    assert_int_equal(tensor_status(&t), TENSOR_CHANGED);
    t.status = TENSOR_NEW;
    assert_int_equal(tensor_status(&t), TENSOR_NEW);
    assert_string_equal(tensor_status_name(TENSOR_UNTOUCHED), "untouched");
    assert_string_equal(tensor_status_name(TENSOR_PERMUTED), "permuted");
    assert_string_equal(tensor_status_name(TENSOR_WIDENED), "widened");
    assert_string_equal(tensor_status_name(TENSOR_CHANGED), "changed");
    assert_string_equal(tensor_status_name(TENSOR_NEW), "new");
    arena_free(&a);
}

/* The hash is that of the bytes of the view, whether they are mapped or computed. */
static void hashes_are_of_what_is_served(void **state) {
    (void)state;
    enum { ROWS = 3000, COLS = 300 }; /* several pieces */
    static const struct {
        bool asked, permuted;
        DType type;
    } ways[] = {{false, false, DTYPE_F32},
                {true, false, DTYPE_F32},
                {false, true, DTYPE_F32},
                {false, false, DTYPE_F16},
                {true, true, DTYPE_BF16}};
    Arena a = {0};
    float *v = counting(&a, ROWS * COLS);
    for (int i = 0; i < ROWS * COLS; i++)
        v[i] /= 16; /* within the reach of F16 */
    uint32_t *reversed = arena_alloc(&a, ROWS * sizeof *reversed);
    for (uint32_t i = 0; i < ROWS; i++)
        reversed[i] = ROWS - 1 - i;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        Tensor t = tensor_over(&a, "t", DTYPE_F32, 2, (uint64_t[]){ROWS, COLS}, v);
        TensorPart part = {asked(&a, v, 4 * ROWS * COLS), 0, ROWS};
        if (ways[i].asked) t.parts = &part;
        if (ways[i].permuted) tensor_permute(&a, &t, reversed);
        t.dtype = ways[i].type;
        uint8_t *bytes = xmalloc(tensor_bytes(&t));
        char whole[33], hash[33];
        Error e = {0};
        assert_true(tensor_read_rows(&t, 0, ROWS, bytes, &e) && tensor_hash(&t, hash, &e));
        hash_bytes(bytes, tensor_bytes(&t), whole);
        assert_string_equal(hash, whole);
        free(bytes);
    }
    arena_free(&a);
}

static void what_cannot_be_converted_is_named(void **state) {
    (void)state;
    Arena a = {0};
    float values[256];
    char hash[33];
    Error e = {0};
    Tensor t = tensor_over(&a, "blk.0", DTYPE_Q8_K, 2, (uint64_t[]){1, 256}, counting(&a, 256));
    assert_true(tensor_hash(&t, hash, &e)); /* its bytes are there */
    assert_false(tensor_read_f32(&t, values, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_string_equal(e.message, "tensor 'blk.0': values of type q8_k cannot be decoded; tensors of this "
                                   "type can only be copied");
    t = tensor_over(&a, "w", DTYPE_F32, 2, (uint64_t[]){1, 256}, values);
    t.dtype = DTYPE_IQ2_XS;
    assert_false(tensor_read_rows(&t, 0, 1, values, &e));
    assert_int_equal(e.code, ERR_FAILED);
    assert_string_equal(e.message, "tensor 'w': values cannot be written as iq2_xs");
    arena_free(&a);
}

/* Infinite values of the source stay as they are, but finite values must not become infinite when they are
 * written. */
static void what_is_too_large_for_a_type_is_named(void **state) {
    (void)state;
    static const struct {
        DType type;
        float most, beyond;
    } reach[] = {{DTYPE_F16, 65519, 65520},
                 {DTYPE_BF16, 0x1.fefffep127f, FLT_MAX},
                 {DTYPE_Q8_0, 127 * 65500.f, 127 * 65540.f},
                 {DTYPE_Q4_0, 8 * 65500.f, 8 * 65540.f},
                 {DTYPE_Q4_1, 65519, 65520},
                 {DTYPE_Q5_0, 16 * 65500.f, 16 * 65540.f},
                 {DTYPE_Q5_1, 65519, 65520},
                 {DTYPE_IQ4_NL, 63 * 65500.f, 63 * 65540.f},
                 {DTYPE_Q2_K, 7 * 65500.f, 7 * 65540.f},
                 {DTYPE_Q3_K, 64 * 65500.f, 64 * 65540.f},
                 {DTYPE_Q4_K, 31 * 65500.f, 31 * 65540.f},
                 {DTYPE_Q5_K, 31 * 65500.f, 31 * 65540.f},
                 {DTYPE_Q6_K, 2048 * 65500.f, 2048 * 65540.f},
                 {DTYPE_IQ4_XS, 127 * 16 * 65500.f, 127 * 16 * 65540.f}};
    for (size_t i = 0; i < sizeof reach / sizeof *reach; i++) {
        Arena a = {0};
        float v[512] = {0}, back[512];
        uint8_t bytes[512];
        char text[100];
        Error e = {0};
        uint32_t n = dtype_info(reach[i].type)->block_elems > 32 ? 256 : 32;
        Tensor t = tensor_over(&a, "w", DTYPE_F32, 2, (uint64_t[]){2, n}, v);
        t.dtype = reach[i].type;
        v[n + 8] = -reach[i].most;
        assert_true(tensor_read_rows(&t, 0, 2, bytes, &e));
        dtype_info(t.dtype)->decode(bytes, 2 * n, back);
        for (uint32_t j = 0; j < 2 * n; j++)
            assert_true(isfinite(back[j]));
        v[n + 8] = -reach[i].beyond;
        assert_true(tensor_read_rows(&t, 0, 1, bytes, &e)); /* it is in the other row */
        assert_false(tensor_read_rows(&t, 0, 2, bytes, &e));
        snprintf(text, sizeof text, "tensor 'w': 1 value is too large for %s (%g)", dtype_info(t.dtype)->name,
                 v[n + 8]);
        assert_int_equal(e.code, ERR_FAILED);
        assert_memory_equal(e.message, text, strlen(text));
        assert_non_null(
            strstr(e.message, "; choose another --dtype, or write them so with --allow-nonfinite"));
        /* Plain types hold infinity and NaN, block types hold neither. */
        bool plain = dtype_info(t.dtype)->block_elems == 1;
        v[n + 8] = -INFINITY;
        assert_int_equal(tensor_read_rows(&t, 0, 2, bytes, &e), plain);
        v[n + 8] = NAN;
        assert_int_equal(tensor_read_rows(&t, 0, 2, bytes, &e), plain);
        t.allow_nonfinite = true;
        assert_true(tensor_read_rows(&t, 0, 2, bytes, &e));
        arena_free(&a);
    }
}

static void assert_counts(const Tensor *t, NonFinite wanted, const char *words) {
    Error e = {0};
    NonFinite n = {0};
    Buffer text = {0};
    if (!tensor_count_nonfinite(t, &n, &e)) fail_msg("%s", e.message);
    assert_int_equal(n.nan, wanted.nan);
    assert_int_equal(n.inf, wanted.inf);
    assert_int_equal(n.too_large, wanted.too_large);
    assert_int_equal(n.spoiled, wanted.spoiled);
    assert_int_equal(n.hidden, wanted.hidden);
    nonfinite_text(&n, t->dtype, &text);
    assert_string_equal(buffer_string(&text), words);
    buffer_free(&text);
}

/* What each kind of type does to values that are not finite, in numbers and in words. */
static void what_is_not_finite_is_counted(void **state) {
    (void)state;
    Arena a = {0};
    Error e = {0};
    uint8_t bytes[512];
    double wide[4] = {1e300, -1e300, NAN, 1};
    Tensor t = tensor_over(&a, "wide", DTYPE_F64, 2, (uint64_t[]){2, 2}, wide);
    assert_counts(&t, (NonFinite){.nan = 1}, "1 NaN stays NaN"); /* a copy */
    t.dtype = DTYPE_F32;
    assert_false(tensor_read_rows(&t, 0, 1, bytes, &e)); /* the words are about the whole tensor */
    assert_string_equal(e.message,
                        "tensor 'wide': 2 values are too large for f32 (the first is 1e+300); 1 NaN "
                        "stays NaN; choose another --dtype, or write them so with --allow-nonfinite");
    t.allow_nonfinite = true;
    assert_counts(&t, (NonFinite){.nan = 1, .too_large = 2},
                  "2 values are too large for f32 (the first is 1e+300); 1 NaN stays NaN");

    float v[512];
    for (int i = 0; i < 512; i++)
        v[i] = (float)(i % 7) - 3;
    v[40] = NAN;
    v[100] = INFINITY;
    t = tensor_over(&a, "w", DTYPE_F32, 2, (uint64_t[]){2, 256}, v);
    assert_counts(&t, (NonFinite){.nan = 1, .inf = 1},
                  "1 NaN stays NaN; 1 infinite value stays infinite or NaN");
    t.dtype = DTYPE_BF16;
    assert_counts(&t, (NonFinite){.nan = 1, .inf = 1},
                  "1 NaN stays NaN; 1 infinite value stays infinite or NaN");
    t.dtype = DTYPE_Q8_0;
    assert_false(tensor_read_rows(&t, 0, 1, bytes, &e));
    assert_true(tensor_read_rows(&t, 1, 1, bytes, &e));
    t.allow_nonfinite = true;
    assert_counts(
        &t, (NonFinite){.inf = 1, .spoiled = 31, .hidden = 1},
        "1 NaN or infinite value becomes an ordinary number; 31 finite values become NaN, because their "
        "block holds one that is not finite; 1 infinite value stays infinite or NaN");
    /* A scale may be the cause: 1e38 is finite, twice as much and more is not. */
    v[40] = v[100] = 1e38f;
    t = tensor_over(&a, "w", DTYPE_F32, 2, (uint64_t[]){2, 256}, v);
    t.scale = 4;
    assert_false(tensor_read_rows(&t, 0, 1, v + 256, &e));
    assert_non_null(strstr(e.message, "2 values are too large for f32 (the first is 1e+38)"));
    arena_free(&a);
}

/* Copied bytes are searched in every type that can hold what is not finite. */
static void copies_are_searched(void **state) {
    (void)state;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const DTypeInfo *info = dtype_info((DType)d);
        uint32_t n = info->block_elems > 1 ? 3 * info->block_elems : 6,
                 size = n / info->block_elems * info->block_bytes;
        uint8_t bytes[1024];
        float v[3 * 256];
        uint32_t seed = 1;
        if (!info->decode) continue;
        /* Random bytes, many of them with all bits set, so that exponents of ones are frequent. */
        for (int round = 0; round < 200; round++) {
            NonFinite found = {0};
            uint64_t nan = 0, inf = 0;
            for (uint32_t i = 0; i < size; i++) {
                seed = seed * 1664525 + 1013904223;
                bytes[i] = seed >> 30 ? (uint8_t)(seed >> 16) : seed >> 29 ? 0x7c : 0xff;
            }
            info->decode(bytes, n, v);
            for (uint32_t i = 0; i < n; i++)
                nan += isnan(v[i]), inf += isinf(v[i]) != 0;
            /* Integers have none, and a scale of type E8M0 or a FNUZ number is not a weight. */
            if (d == DTYPE_F8_E8M0 || d == DTYPE_F8_E4M3FNUZ || d == DTYPE_F8_E5M2FNUZ) nan = inf = 0;
            if (d == DTYPE_F64) /* as doubles, of which some are too large for a float */
                for (uint32_t i = nan = inf = 0; i < n; i++) {
                    double x;
                    memcpy(&x, bytes + 8 * i, sizeof x);
                    nan += isnan(x), inf += isinf(x) != 0;
                }
            nonfinite_scan((DType)d, bytes, n, &found);
            if (found.nan != nan || found.inf != inf) fail_msg("%s", info->name);
        }
    }
}

static void a_source_that_fails_is_heard(void **state) {
    (void)state;
    Arena a = {0};
    float *v = counting(&a, 100);
    TensorPart part = {asked(&a, v, 4 * 100 - 1), 0, 10};
    Tensor t = tensor_over(&a, "t", DTYPE_F32, 2, (uint64_t[]){10, 10}, v);
    t.parts = &part;
    float got[100];
    char hash[33];
    Error e = {0};
    assert_true(tensor_read_rows(&t, 0, 9, got, &e));
    assert_false(tensor_read_rows(&t, 9, 1, got, &e));
    assert_string_equal(e.message, "asked: cut short");
    assert_false(tensor_read_f32(&t, got, &e) || tensor_hash(&t, hash, &e));
    t.dtype = DTYPE_BF16;
    assert_false(tensor_read_rows(&t, 0, 10, got, &e));
    assert_int_equal(e.code, ERR_INPUT);
    arena_free(&a);
}

/* A header may claim any number of empty rows; reading them must take no time. */
static void empty_rows_take_no_time(void **state) {
    (void)state;
    Arena a = {0};
    static const uint64_t shapes[][2] = {{(uint64_t)1 << 60, 0}, {0, (uint64_t)1 << 60}, {0, 0}};
    for (int i = 0; i < 3; i++) {
        Tensor t = tensor_over(&a, "t", DTYPE_F32, 2, shapes[i], "");
        char hash[33], none[33];
        Error e = {0};
        hash_bytes("", 0, none);
        for (int cast = 0; cast < 2; cast++) {
            t.dtype = cast ? DTYPE_BF16 : DTYPE_F32;
            assert_int_equal(tensor_bytes(&t), 0);
            assert_true(tensor_hash(&t, hash, &e));
            assert_string_equal(hash, none);
            float nothing[1];
            assert_true(tensor_read_f32(&t, nothing, &e));
            assert_true(tensor_read_rows(&t, 0, t.n_rows, nothing, &e));
        }
    }
    arena_free(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(rows_in_parts),
        cmocka_unit_test(permutations_compose),
        cmocka_unit_test(biases_are_permuted_by_element),
        cmocka_unit_test(types_change_on_the_way),
        cmocka_unit_test(statuses),
        cmocka_unit_test(hashes_are_of_what_is_served),
        cmocka_unit_test(what_cannot_be_converted_is_named),
        cmocka_unit_test(what_is_too_large_for_a_type_is_named),
        cmocka_unit_test(what_is_not_finite_is_counted),
        cmocka_unit_test(copies_are_searched),
        cmocka_unit_test(a_source_that_fails_is_heard),
        cmocka_unit_test(empty_rows_take_no_time),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
