/* Quantised weights: what a change is written back as, which type stands in for another, and what plan and
 * notices say of it. */
#include <math.h>

#include "formats/checkpoint_open.h"
#include "formats/gguf_write.h"
#include "formats/meta.h"
#include "tests/process.h"

/* ---- a GGUF of two layers, 256 wide ---- */

enum { WIDE = 256, WIDE_FFN = 96, WIDE_LAYERS = 2 };

/* Values as weights have them; or, for a type that is not encoded, random codes under a scale of 2^-10. */
static void wide_tensor(Checkpoint *c, const char *name, DType dtype, uint64_t rows, uint64_t cols) {
    uint64_t shape[2] = {rows ? rows : cols, cols}, n = (rows ? rows : 1) * cols, bytes;
    uint32_t seed = (uint32_t)c->n_tensors * 7919 + 1;
    const DTypeInfo *d = dtype_info(dtype);
    if (cols % d->block_elems) d = dtype_info(dtype = DTYPE_F32);
    assert_true(dtype_bytes(dtype, n, &bytes));
    uint8_t *data = arena_alloc(&c->arena, bytes);
    float *v = arena_alloc(&c->arena, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        v[i] = rows ? ((float)(seed >> 24) / 128 - 1) / 16 : 1;
    }
    if (d->encode)
        d->encode(v, n, data);
    else
        for (uint64_t i = 0; i < bytes; i++) {
            seed = seed * 1664525 + 1013904223;
            data[i] = (uint8_t)(i % d->block_bytes == 0 ? 0 : i % d->block_bytes == 1 ? 0x14 : seed >> 24);
        }
    Tensor t = tensor_over(&c->arena, name, dtype, rows ? 2 : 1, shape, data);
    checkpoint_add_tensor(c, &t);
}

static void wide_gguf(const char *name, DType dtype) {
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } layer[] = {{"attn_norm", 0, WIDE},       {"attn_q", WIDE, WIDE},      {"attn_k", WIDE / 2, WIDE},
                 {"attn_v", WIDE / 2, WIDE},   {"attn_output", WIDE, WIDE}, {"ffn_norm", 0, WIDE},
                 {"ffn_gate", WIDE_FFN, WIDE}, {"ffn_up", WIDE_FFN, WIDE},  {"ffn_down", WIDE, WIDE_FFN}};
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"block_count", WIDE_LAYERS}, {"context_length", 64},
                {"embedding_length", WIDE},   {"feed_forward_length", WIDE_FFN},
                {"attention.head_count", 4},  {"attention.head_count_kv", 2}};
    char text[64];
    meta_set_string(c, "general.architecture", "llama", 5);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(text, sizeof text, "llama.%s", keys[i].key);
        meta_set_u32(c, text, keys[i].value);
    }
    meta_set_f32(c, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    wide_tensor(c, "token_embd.weight", dtype, 40, WIDE);
    for (int i = 0; i < WIDE_LAYERS; i++)
        for (size_t j = 0; j < sizeof layer / sizeof *layer; j++) {
            snprintf(text, sizeof text, "blk.%d.%s.weight", i, layer[j].name);
            wide_tensor(c, text, layer[j].rows ? dtype : DTYPE_F32, layer[j].rows, layer[j].cols);
        }
    wide_tensor(c, "output_norm.weight", DTYPE_F32, 0, WIDE);
    Error e = {0};
    WriteOptions o = {.force = true};
    if (!gguf_write(c, scratch_path(name), &o, &e)) fail_msg("%s", e.message);
    checkpoint_close(c);
}

/* `derope inspect` names its types so. */
static void assert_types(const char *name, const char *types) {
    const char *words;
    char line[100];
    snprintf(line, sizeof line, "inspect %s", name);
    assert_int_equal(run_derope(line, &words), 0);
    if (!strstr(words, types)) fail_msg("'%s' is not in: %s", types, words);
}

/* ---- what a change is written back as ---- */

static const char changing[] =
    "source: q.gguf\nsurgery: [scale_attention: {factor: 1.5}]\noutputs: {path: o.gguf}\n";

static void a_change_is_written_in_its_own_type(void **state) {
    (void)state;
    const char *words;
    wide_gguf("q.gguf", DTYPE_Q4_K);
    scratch_text("q.yaml", changing);
    assert_int_equal(run_derope("plan q.yaml", &words), 0);
    assert_non_null(strstr(words, "    changed: blk.*.attn_q.weight (q4_k -> scaled -> q4_k), * = 0-1\n"));
    assert_non_null(strstr(words, "  note: 2 tensors (first 'blk.0.attn_q.weight') change and are written "
                                  "back as q4_k\n"));
    assert_int_equal(run_derope("run q.yaml", &words), 0);
    assert_non_null(strstr(words, "note: 2 tensors (first 'blk.0.attn_q.weight') change and are written back "
                                  "as q4_k\n"));
    assert_types("o.gguf", "7 f32 13 q4_k");
    assert_runs("verify o.gguf");

    Error e = {0};
    Checkpoint *before = checkpoint_open(scratch_path("q.gguf"), &e), *after;
    assert_non_null(before);
    assert_non_null(after = checkpoint_open(scratch_path("o.gguf"), &e));
    float *x = xmalloc(WIDE * WIDE * sizeof *x), *y = xmalloc(WIDE * WIDE * sizeof *y), worst = 0;
    assert_true(tensor_read_f32(checkpoint_find(before, "blk.1.attn_q.weight"), x, &e));
    assert_true(tensor_read_f32(checkpoint_find(after, "blk.1.attn_q.weight"), y, &e));
    for (int i = 0; i < WIDE * WIDE; i++)
        worst = fmaxf(worst, fabsf(1.5f * x[i] - y[i]));
    assert_true(worst < 1.5f / 16 / 15); /* half a level of the widest range */
    free(x);
    free(y);
    checkpoint_close(before);
    checkpoint_close(after);
}

/* A type that has no encoder. */
static void a_change_of_a_type_without_encoder_is_q8_0(void **state) {
    (void)state;
    const char *words;
    wide_gguf("q.gguf", DTYPE_IQ2_XS);
    scratch_text("q.yaml", changing);
    assert_int_equal(run_derope("plan q.yaml", &words), 0);
    assert_non_null(strstr(words, "    changed: blk.*.attn_q.weight (iq2_xs -> scaled -> q8_0: iq2_xs cannot "
                                  "be encoded), * = 0-1\n"));
    assert_int_equal(run_derope("plan q.yaml --json", &words), 0);
    Error e = {0};
    json_t *plan = json_parse("plan", words, strlen(words), &e);
    const json_t *output = json_array_get(json_object_get(plan, "outputs"), 0),
                 *row =
                     json_array_get(json_object_get(json_object_get(output, "tensors"), "not_untouched"), 0);
    assert_string_equal(json_get_string(row, "name"), "blk.0.attn_q.weight");
    assert_string_equal(json_get_string(row, "dtype_before"), "iq2_xs");
    assert_string_equal(json_get_string(row, "change"), "scaled");
    assert_string_equal(json_get_string(row, "dtype"), "q8_0");
    assert_string_equal(json_get_string(row, "why"), "iq2_xs cannot be encoded");
    json_decref(plan);
    assert_runs("run q.yaml");
    assert_types("o.gguf", "7 f32 2 q8_0 11 iq2_xs");
    assert_int_equal(
        run_derope("run q.yaml --force --set outputs.0.path=p.gguf --set outputs.0.dtype=q6_k", &words), 0);
    assert_null(strstr(words, "cannot be encoded")); /* another was asked for */
    assert_types("p.gguf", "5 f32 2 q8_0 13 q6_k");
}

/* What training will change, all of it, is told where blocks are rounded anew. */
static void training_of_blocks_is_planned(void **state) {
    (void)state;
    const char *words;
    wide_gguf("q.gguf", DTYPE_IQ2_XS);
    scratch_text("t.txt", "text\n");
    scratch_text("q.yaml", "source: q.gguf\nrecalibrate: {data: t.txt, tokens: 1k, context: 32}\n"
                           "outputs: [{path: o.gguf}, {path: p.gguf, dtype: q3_k, pure: true}]\n");
    assert_int_equal(run_derope("plan q.yaml", &words), 0);
    assert_non_null(strstr(words, "  tensors: 20 changed\n"));
    assert_non_null(strstr(words,
                           "    changed: blk.*.attn_v.weight (iq2_xs -> trained -> q8_0: iq2_xs cannot "
                           "be encoded), * = 0-1\n"));
    assert_non_null(strstr(words, "    changed: blk.*.attn_v.weight (iq2_xs -> trained -> q3_k), * = 0-1\n"));
    assert_null(strstr(words, "attn_norm"));
}

/* ---- types that rows do not fit ---- */

static void a_smaller_block_stands_in(void **state) {
    (void)state;
    static const struct {
        DType asked;
        const char *types, *note;
    } cases[] = {
        {DTYPE_Q2_K, "5 f32 2 q4_0 13 q2_k", "q4_0: rows of 96 elements are not whole blocks of q2_k"},
        {DTYPE_Q3_K, "5 f32 2 q4_0 13 q3_k", "q4_0: rows of 96 elements are not whole blocks of q3_k"},
        {DTYPE_Q4_K, "5 f32 2 q5_0 13 q4_k", "q5_0: rows of 96 elements are not whole blocks of q4_k"},
        {DTYPE_Q5_K, "5 f32 2 q5_1 13 q5_k", "q5_1: rows of 96 elements are not whole blocks of q5_k"},
        {DTYPE_Q6_K, "5 f32 2 q8_0 13 q6_k", "q8_0: rows of 96 elements are not whole blocks of q6_k"},
        {DTYPE_IQ4_XS, "5 f32 2 iq4_nl 13 iq4_xs",
         "iq4_nl: rows of 96 elements are not whole blocks of iq4_xs"}};
    wide_gguf("f.gguf", DTYPE_F16);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[100], note[200];
        const char *words;
        snprintf(line, sizeof line, "convert f.gguf o.gguf --force --pure --dtype %s",
                 dtype_info(cases[i].asked)->name);
        snprintf(note, sizeof note, "note: 2 tensors (first 'model.layers.0.mlp.down_proj.weight') become %s",
                 cases[i].note);
        assert_int_equal(run_derope(line, &words), 0);
        if (!strstr(words, note)) fail_msg("'%s' is not in: %s", note, words);
        assert_types("o.gguf", cases[i].types);
        assert_runs("verify o.gguf");
    }
    DType fits;
    assert_true(dtype_for_rows(DTYPE_Q4_K, 512, &fits) && fits == DTYPE_Q4_K);
    assert_true(dtype_for_rows(DTYPE_Q4_0, 32, &fits) && fits == DTYPE_Q4_0);
    assert_true(dtype_for_rows(DTYPE_BF16, 7, &fits) && fits == DTYPE_BF16);
    assert_false(dtype_for_rows(DTYPE_Q4_K, 48, &fits) || dtype_for_rows(DTYPE_Q4_0, 256 + 16, &fits));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_written_in_its_own_type),
        cmocka_unit_test(a_change_of_a_type_without_encoder_is_q8_0),
        cmocka_unit_test(training_of_blocks_is_planned),
        cmocka_unit_test(a_smaller_block_stands_in),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
