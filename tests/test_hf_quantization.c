/* Tests of formats/hf_quantization.h: block-scaled weights and MXFP4 as tensors, and checkpoints with a
 * quantization_config as surgery/ opens them. */
#include <math.h>

#include "formats/floats.h"
#include "formats/hf_quantization.h"
#include "formats/json.h"
#include "formats/tensor_views.h"
#include "surgery/quantized.h"
#include "tests/process.h"

static const uint8_t one = 0x38; /* of E4M3, and what follows by eighths: 1.125, 1.25, ... */

/* fp8 codes of 1, 1.125, ... 1.875, repeated. */
static Tensor numbers(Arena *a, uint32_t rank, const uint64_t *shape) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    uint8_t *v = arena_alloc(a, n);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (uint8_t)(one + i % 8);
    return tensor_over(a, "w", DTYPE_F8_E4M3, rank, shape, v);
}

static float number(uint64_t i) {
    return 1 + (float)(i % 8) / 8;
}

/* Factors 1, 2, 3, ... as F32. */
static Tensor factors(Arena *a, uint32_t rank, const uint64_t *shape) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    float *v = arena_alloc(a, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (float)(i + 1);
    return tensor_over(a, "w_scale", DTYPE_F32, rank, shape, v);
}

#define SHAPE(...)                                                                                           \
    sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (uint64_t[]) {                                     \
        __VA_ARGS__                                                                                          \
    }

static void blocks_have_a_factor_each(void **state) {
    (void)state;
    enum { ROWS = 5, COLS = 7 };
    Arena a = {0};
    Error e = {0};
    Tensor w = numbers(&a, SHAPE(ROWS, COLS)), s = factors(&a, SHAPE(3, 3)), t;
    assert_true(hf_dequantized(&a, &w, &s, 2, 3, DTYPE_F32, &t, &e));
    assert_string_equal(t.name, "w");
    assert_string_equal(t.quantization, "f8_e4m3");
    assert_null(tensor_map(&t));
    assert_int_equal(tensor_status(&t), TENSOR_CHANGED);
    float got[ROWS * COLS], row[COLS];
    assert_true(tensor_read_f32(&t, got, &e));
    for (int i = 0; i < ROWS * COLS; i++) {
        int r = i / COLS, c = i % COLS;
        assert_true(got[i] == number((uint64_t)i) * (float)(r / 2 * 3 + c / 3 + 1));
    }
    uint32_t order[ROWS] = {4, 3, 2, 1, 0}; /* factors go with the rows that they were made for */
    tensor_permute(&a, &t, order);
    for (uint64_t r = 0; r < ROWS; r++) {
        assert_true(tensor_read_rows(&t, r, 1, row, &e));
        assert_memory_equal(row, got + (ROWS - 1 - r) * COLS, sizeof row);
    }
    arena_free(&a);
}

static void a_factor_counts_for_a_row_or_for_all(void **state) {
    (void)state;
    Arena a = {0};
    Error e = {0};
    static const struct {
        uint32_t rank;
        uint64_t shape[3];
        bool all;
    } scales[] = {{2, {6, 1}, false}, {1, {6}, false}, {0, {0}, true}, {1, {1}, true}, {2, {1, 1}, true}};
    Tensor w = numbers(&a, SHAPE(6, 4)), t;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        Tensor s = factors(&a, scales[i].rank, scales[i].shape);
        uint16_t got[24];
        assert_true(hf_dequantized(&a, &w, &s, 128, 128, DTYPE_BF16, &t, &e));
        assert_int_equal(tensor_bytes(&t), sizeof got);
        assert_true(tensor_read_rows(&t, 0, 6, got, &e));
        for (uint64_t j = 0; j < 24; j++)
            assert_int_equal(got[j], f32_to_bf16(number(j) * (float)(scales[i].all ? 1 : j / 4 + 1)));
    }
    /* A stack of two matrices with 2 x 2 factors each. */
    Tensor stack = numbers(&a, SHAPE(2, 4, 6)), s = factors(&a, SHAPE(2, 2, 2));
    float got[48];
    assert_true(hf_dequantized(&a, &stack, &s, 3, 4, DTYPE_F32, &t, &e));
    assert_true(tensor_read_f32(&t, got, &e));
    for (uint64_t i = 0; i < 48; i++)
        assert_true(got[i] == number(i) * (float)(i / 24 * 4 + i / 6 % 4 / 3 * 2 + i % 6 / 4 + 1));
    arena_free(&a);
}

static void scales_that_do_not_fit_are_refused(void **state) {
    (void)state;
    Arena a = {0};
    static const struct {
        uint32_t rank;
        uint64_t shape[3];
        const char *text;
    } scales[] = {{2, {3, 2}, "tensor 'w_scale': shape [3, 2] does not fit that of 'w'"},
                  {2, {6, 4}, "tensor 'w_scale': shape [6, 4] does not fit"},
                  {1, {4}, "tensor 'w_scale': shape [4] does not fit"},
                  {3, {1, 3, 1}, "tensor 'w_scale': shape [1, 3, 1] does not fit"},
                  {2, {0, 1}, "tensor 'w_scale': shape [0, 1] does not fit"}};
    Tensor w = numbers(&a, SHAPE(6, 4)), t;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        Error e = {0};
        Tensor s = factors(&a, scales[i].rank, scales[i].shape);
        assert_false(hf_dequantized(&a, &w, &s, 2, 4, DTYPE_F32, &t, &e));
        assert_int_equal(e.code, ERR_INPUT);
        assert_non_null(strstr(e.message, scales[i].text));
    }
    arena_free(&a);
}

/* A dequantized value that is too large for the view type gives the same error as in any other tensor. */
static void products_too_large_for_their_type_are_refused(void **state) {
    (void)state;
    Arena a = {0};
    Error e = {0};
    float huge = 1e5f;
    uint16_t got[8];
    Tensor w = numbers(&a, SHAPE(2, 4)), s = tensor_over(&a, "s", DTYPE_F32, 0, NULL, &huge), t;
    assert_true(hf_dequantized(&a, &w, &s, 1, 1, DTYPE_F16, &t, &e));
    assert_false(tensor_read_rows(&t, 0, 2, got, &e));
    assert_string_equal(e.message, "tensor 'w': 8 values are too large for f16 (the first is 100000); choose "
                                   "another --dtype, or write them so with --allow-nonfinite");
    arena_free(&a);
}

static void mxfp4_is_regrouped(void **state) {
    (void)state;
    enum { EXPERTS = 2, ROWS = 3, GROUPS = 2, N = 32 * GROUPS };
    static const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    Arena a = {0};
    Error e = {0};
    uint8_t codes[EXPERTS * ROWS * GROUPS * 16], scales[EXPERTS * ROWS * GROUPS];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 37 + 11);
    for (size_t i = 0; i < sizeof scales; i++)
        scales[i] = (uint8_t)(127 - 3 + i % 7);
    Tensor b = tensor_over(&a, "x_blocks", DTYPE_U8, SHAPE(EXPERTS, ROWS, GROUPS, 16), codes),
           s = tensor_over(&a, "x_scales", DTYPE_U8, SHAPE(EXPERTS, ROWS, GROUPS), scales), t;
    assert_true(hf_mxfp4_tensor(&a, "x", &b, &s, &t, &e));
    assert_string_equal(t.name, "x");
    assert_int_equal(t.dtype, DTYPE_MXFP4);
    assert_true(t.rank == 3 && t.shape[0] == EXPERTS && t.shape[1] == ROWS && t.shape[2] == N);
    float got[EXPERTS * ROWS * N];
    assert_true(tensor_read_f32(&t, got, &e));
    for (size_t i = 0; i < EXPERTS * ROWS * N; i++)
        assert_true(got[i] == ldexpf(values[codes[i / 2] >> i % 2 * 4 & 15], scales[i / 32] - 127));
    uint8_t row[GROUPS * 17];
    assert_true(tensor_read_rows(&t, 4, 1, row, &e));
    assert_int_equal(row[0], scales[4 * GROUPS]);
    assert_int_equal(row[17], scales[4 * GROUPS + 1]);

    static const struct {
        uint32_t rank;
        uint64_t shape[4];
    } wrong[] = {{3, {EXPERTS, ROWS, 16}}, {4, {EXPERTS, ROWS, GROUPS, 15}}, {4, {EXPERTS, ROWS, 1, 16}}};
    for (size_t i = 0; i < 3; i++) {
        Tensor w = tensor_over(&a, "x_blocks", DTYPE_U8, wrong[i].rank, wrong[i].shape, codes);
        assert_false(hf_mxfp4_tensor(&a, "x", &w, &s, &t, &e));
        assert_string_equal(e.message, "tensor 'x_scales': shape [2, 3, 2] does not fit that of 'x_blocks'");
    }
    b.dtype = DTYPE_I8;
    assert_false(hf_mxfp4_tensor(&a, "x", &b, &s, &t, &e));
    arena_free(&a);
}

/* ---- a model ---- */

/* tiny_checkpoint with each up_proj in fp8 and its factors beside it; without the factors if `bare`. */
static const char *fp8_folder(const char *quantization, bool bare) {
    char config[1200];
    snprintf(config, sizeof config, "%.*s, \"quantization_config\": %s}", (int)strlen(tiny_config) - 1,
             tiny_config, quantization);
    Checkpoint *whole = tiny_checkpoint(config, false), *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, "config.json", config, strlen(config));
    for (size_t i = 0; i < whole->n_tensors; i++) {
        Tensor t = whole->tensors[i];
        char name[100];
        if (!strstr(t.name, "up_proj")) {
            checkpoint_add_tensor(c, &t);
            continue;
        }
        snprintf(name, sizeof name, "%s_scale_inv", t.name);
        t = numbers(&whole->arena, SHAPE(TINY_FFN, TINY_WIDTH));
        t.name = whole->tensors[i].name;
        checkpoint_add_tensor(c, &t);
        t = factors(&whole->arena, SHAPE(3, 2));
        t.name = name;
        if (!bare) checkpoint_add_tensor(c, &t);
    }
    const char *path = tiny_write(c, "fp8");
    checkpoint_close(whole);
    return path;
}

static void fp8_is_read_and_planned(void **state) {
    (void)state;
    const char *words;
    fp8_folder("{\"quant_method\": \"fp8\", \"weight_block_size\": [8, 8]}", false);
    assert_int_equal(run_derope("inspect fp8", &words), 0);
    assert_non_null(strstr(words, "4 weights in fp8 are read with their scales, as bf16"));
    scratch_text("p.yaml", "source: fp8\noutputs: [{path: o.gguf}, {path: o, dtype: f16}]\n");
    assert_int_equal(run_derope("plan p.yaml", &words), 0);
    assert_non_null(
        strstr(words, "    changed: blk.*.ffn_up.weight (f8_e4m3 -> dequantised -> bf16), * = 0-3\n"));
    assert_non_null(strstr(words, "(f8_e4m3 -> dequantised -> f16), * = 0-3\n"));
    assert_non_null(strstr(words, "  key quantization_config: {"));
    assert_runs("convert fp8 dropped --drop-rope");
    assert_runs("verify dropped");
    Checkpoint *before = opened(scratch_path("fp8")), *after = opened(scratch_path("dropped"));
    assert_int_equal(before->n_tensors, after->n_tensors);
    for (size_t i = 0; i < before->n_tensors; i++) {
        const Tensor *then = &before->tensors[i], *now = checkpoint_find(after, then->name);
        assert_non_null(now);
        assert_int_equal(now->dtype, then->dtype);
        assert_memory_equal(tensor_map(now), tensor_map(then), tensor_bytes(then));
    }
    checkpoint_close(before);
    checkpoint_close(after);
    assert_runs("convert fp8 fp8.zip");
    assert_runs("convert fp8.zip from-zip.gguf");
    assert_runs("verify from-zip.gguf");
}

static void what_is_wrong_is_said(void **state) {
    (void)state;
    static const struct {
        const char *config;
        bool bare;
        const char *text;
    } wrong[] = {
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [8, 8]}", true,
         "fp8: tensor 'model.layers.0.mlp.up_proj.weight': f8_e4m3, and there is no "
         "'model.layers.0.mlp.up_proj.weight_scale_inv' or 'model.layers.0.mlp.up_proj.weight_scale'"},
        {"{\"quant_method\": \"fp8\"}", false,
         "fp8: tensor 'model.layers.0.mlp.up_proj.weight_scale_inv': shape [3, 2] does not fit that of "
         "'model.layers.0.mlp.up_proj.weight'"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [8]}", false,
         "fp8: config.json: weight_block_size: expected two sizes, as [128, 128]"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [8, 0]}", false,
         "weight_block_size: expected two sizes"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": \"8\"}", false,
         "weight_block_size: expected two sizes"},
        {"{\"quant_method\": \"awq\"}", false,
         "fp8: has a quantization_config (awq); its weights can be carried within HF, not converted"},
        {"{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\"}", false,
         "fp8: has a quantization_config (compressed-tensors); its weights can be carried"},
        {"{}", false, "fp8: has a quantization_config (of no kind); its weights can be carried"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fp8_folder(wrong[i].config, wrong[i].bare);
        assert_fails("convert fp8 o.gguf --force", 3, wrong[i].text);
    }
    scratch_text("ids", "1 2 3");
    assert_fails("logits fp8 --ids ids --out x.f32", 3,
                 "fp8: has a quantization_config (of no kind), whose packed weights cannot be run");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_a_factor_each),
        cmocka_unit_test(a_factor_counts_for_a_row_or_for_all),
        cmocka_unit_test(scales_that_do_not_fit_are_refused),
        cmocka_unit_test(products_too_large_for_their_type_are_refused),
        cmocka_unit_test(mxfp4_is_regrouped),
        cmocka_unit_test(fp8_is_read_and_planned),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests_name("packed", tests, NULL, scratch_remove);
}
