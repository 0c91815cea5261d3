/* Weights that are not finite, from the outside: what convert refuses, what it tells about, and what it
 * writes with --allow-nonfinite. tests/test_tensor.c counts values type by type. */
#include <math.h>

#include "formats/checkpoint_open.h"
#include "tests/tiny_model.h"

/* Two tensors whose first elements tests change. */
static const char up_name[] = "model.layers.1.mlp.up_proj.weight",
                  q_name[] = "model.layers.3.self_attn.q_proj.weight";

/* The tiny model in F32, or in F64 where `wide` is set. `special` is the first element
 * of up_name and the third of q_name. */
static void write_model(const char *name, double special, bool wide) {
    Checkpoint *c = tiny_checkpoint(tiny_config, false);
    for (size_t i = 0; i < c->n_tensors; i++) {
        Tensor *t = &c->tensors[i];
        uint64_t n = tensor_elems(t);
        float *values = arena_alloc(&c->arena, n * sizeof *values);
        double *doubles = arena_alloc(&c->arena, n * sizeof *doubles);
        Error e = {0};
        assert_true(tensor_read_f32(t, values, &e));
        for (uint64_t k = 0; k < n; k++)
            doubles[k] = values[k];
        if (strcmp(t->name, up_name) == 0) doubles[0] = special;
        if (strcmp(t->name, q_name) == 0) doubles[2] = special;
        for (uint64_t k = 0; k < n; k++)
            values[k] = (float)doubles[k];
        *t = tensor_over(&c->arena, t->name, wide ? DTYPE_F64 : DTYPE_F32, t->rank, t->shape,
                         wide ? (const void *)doubles : values);
    }
    tiny_write(c, name);
}

/* Runs derope and checks its status and that it says all of `words`, whose list ends with NULL. */
static void assert_says(const char *line, int status, const char *const *words) {
    const char *said;
    int found = run_derope(line, &said);
    if (found != status) fail_msg("derope %s: exit %d: %s", line, found, said);
    for (; *words; words++)
        if (!strstr(said, *words)) fail_msg("derope %s: '%s' is not in: %s", line, *words, said);
}

/* NaN and infinity stay what they are in plain types, and each tensor that has some is named. */
static void what_stays_is_reported(void **state) {
    (void)state;
    static const char
        *const nan[] = {"note: tensor 'model.layers.1.mlp.up_proj.weight': 1 NaN stays NaN\n",
                        "note: tensor 'model.layers.3.self_attn.q_proj.weight': 1 NaN stays NaN\n", NULL},
               *const inf[] = {"note: tensor 'blk.1.ffn_up.weight': 1 infinite value stays infinite",
                               "note: tensor 'blk.3.attn_q.weight': 1 infinite value stays infinite", NULL};
    write_model("nan", NAN, false);
    write_model("inf", -INFINITY, false);
    assert_says("convert nan copy", 0, nan); /* byte for byte */
    assert_says("convert nan copy.zip", 0, nan);
    assert_says("convert nan narrow --dtype bf16", 0, nan);
    assert_says("convert nan half --dtype f16", 0, nan);
    assert_says("convert inf copy.gguf", 0, inf);
    assert_says("convert inf narrow.gguf --dtype bf16", 0, inf);
    const char *said;
    tiny_folder("plain");
    assert_int_equal(run_derope("convert plain quiet", &said), 0);
    assert_null(strstr(said, "NaN"));
}

/* A finite value that is too large and a NaN that blocks cannot hold fail the output, which names them all.
 */
static void what_would_be_lost_is_refused(void **state) {
    (void)state;
    static const char *const
        too_large[] = {"tensor 'model.layers.1.mlp.up_proj.weight': 1 value is too large for f32 "
                       "(1e+300); choose another --dtype, or write them so with --allow-nonfinite",
                       "note: tensor 'model.layers.3.self_attn.q_proj.weight': 1 value is too large", NULL},
        *const too_large_in_f16[] = {
            "tensor 'model.layers.1.mlp.up_proj.weight': 1 value is too large for f16 (1e+30)", NULL};
    write_model("wide", 1e300, true);
    write_model("large", 1e30, false);
    assert_says("convert wide out --dtype f32", 1, too_large);
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
    assert_says("convert large out --dtype f16", 1, too_large_in_f16);
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
    assert_runs("convert large as-bf16 --dtype bf16");
    assert_runs("convert wide as-it-is"); /* F64 holds it */

    assert_says("convert wide out --dtype f32 --allow-nonfinite", 0,
                (const char *const[]){
                    "note: tensor 'model.layers.1.mlp.up_proj.weight': 1 value is too large for f32", NULL});
    Error e = {0};
    float v[TINY_FFN * TINY_WIDTH];
    Checkpoint *c = checkpoint_open(scratch_path("out"), &e);
    assert_non_null(c);
    assert_true(tensor_read_f32(checkpoint_find(c, up_name), v, &e));
    assert_true(isinf(v[0]) && isfinite(v[1]));
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stays_is_reported),
        cmocka_unit_test(what_would_be_lost_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
