/* `derope logits` from the outside: what it writes, what it refuses, what it leaves behind. */
#include "formats/file.h"
#include "recal/inference.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"
#include "tests/tiny_model.h"

static const int32_t ids[] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 39, 0, 17};
enum { N = sizeof ids / sizeof *ids };
static const char ids_text[] = "3 1 4 1,5\n[9, 2, 6]\t5 39 0 17\n";

static bool keep(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)e;
    memcpy((float *)context + first * TINY_VOCAB, logits, count * TINY_VOCAB * sizeof *logits);
    return true;
}

static void the_file_holds_the_logits(void **state) {
    (void)state;
    Error e = {0};
    float expected[N * TINY_VOCAB];
    tiny_folder("in");
    scratch_text("ids", ids_text);
    Checkpoint *c = opened(scratch_path("in"));
    Model *m = model_open(c, &e);
    json_t *all = json_pack("{s:s}", "layers", "1-2");
    assert_true(pass_apply(m, "drop_rope", all, &e));
    Net *n = net_open(m, 1, &e);
    KvCache *kv = kv_new(n, N, &e);
    assert_true(net_run(n, kv, ids, N, 0, keep, expected, &e));
    assert_runs("logits in --ids ids --out out.f32 --drop-rope=1-2 --threads 1");
    assert_file("out.f32", expected, sizeof expected);
    assert_runs("convert in dropped.gguf --drop-rope=1-2 --sliding-window 1000:0,3");
    assert_runs("logits dropped.gguf --ids ids --out again.f32 --threads 1");
    Buffer again = {0};
    assert_true(file_read(scratch_path("again.f32"), 1 << 20, &again, &e));
    assert_int_equal(again.size, sizeof expected);
    for (size_t i = 0; i < N * TINY_VOCAB; i++) /* sinks at -1e4 change nothing */
        assert_float_equal(((float *)again.data)[i], expected[i], 1e-4);
    buffer_free(&again);
    json_decref(all);
    kv_free(kv);
    net_close(n);
    model_close(m);
    checkpoint_close(c);
}

static void wrong_command_lines(void **state) {
    (void)state;
    tiny_folder("in");
    scratch_text("ids", ids_text);
    assert_fails("logits in --ids ids", 2, "derope logits: a model, --out and one of --ids and --text");
    assert_fails("logits in --ids ids --text ids --out x", 2, "one of --ids and --text");
    assert_fails("logits in other --ids ids --out x", 2, "one model, not 'other' as well");
    assert_fails("logits in --ids ids --out x --drop-rope=4", 2, "there is no layer 4");
    assert_fails("logits nowhere --ids ids --out x", 3, "nowhere: No such file or directory");
    assert_int_equal(access(scratch_path("x"), F_OK), -1);
}

static void wrong_tokens(void **state) {
    (void)state;
    tiny_folder("in");
    scratch_text("ids", "1 2 x");
    assert_fails("logits in --ids ids --out x", 3, "ids: offset 4: expected a token id, found 'x'");
    scratch_text("ids", "1 2 -3");
    assert_fails("logits in --ids ids --out x", 3, "ids: offset 4: expected a token id, found '-3'");
    scratch_text("ids", " \n");
    assert_fails("logits in --ids ids --out x", 3, "ids: no tokens");
    scratch_text("ids", "1 39 40");
    assert_fails("logits in --ids ids --out x", 3, "ids: token 2 is 40, the vocabulary has 40");
    assert_int_equal(access(scratch_path("x"), F_OK), -1);
}

static void inputs_are_not_written_to(void **state) {
    (void)state;
    Error e = {0};
    Buffer before = {0};
    tiny_folder("in");
    scratch_text("ids", ids_text);
    assert_runs("logits in --ids ids --out kept.f32");
    assert_fails("logits in --ids ids --out kept.f32", 1, "kept.f32: exists already; --force replaces it");
    assert_runs("logits in --ids ids --out kept.f32 --force");
    assert_fails("logits in --ids ids --out ./ids --force", 2, "ids: is read from, and cannot be written to");
    assert_file("ids", ids_text, strlen(ids_text));
    assert_true(file_read(scratch_path("in/model.safetensors"), 1 << 20, &before, &e));
    assert_fails("logits in --ids ids --out in/model.safetensors --force", 2, "a source is never written to");
    assert_file("in/model.safetensors", before.data, before.size);
    buffer_free(&before);
}

static void interrupted_it_leaves_nothing(void **state) {
    (void)state;
    Buffer many = {0};
    tiny_folder("in");
    for (int i = 0; i < 200000; i++) /* minutes of work */
        buffer_printf(&many, "%d ", i % TINY_VOCAB);
    scratch_file("many", many.data, many.size);
    buffer_free(&many);
    scratch_folder("empty");
    char command[3 * PATH_MAX], binary[PATH_MAX], said[1000];
    assert_non_null(realpath(getenv("DEROPE") ? getenv("DEROPE") : "build/derope", binary));
    snprintf(command, sizeof command,
             "cd '%s' && exec timeout --preserve-status -s INT 1 '%s' logits in --ids many --out "
             "empty/x.f32 2>&1",
             scratch(), binary);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    said[fread(said, 1, sizeof said - 1, p)] = 0;
    assert_int_equal(WEXITSTATUS(pclose(p)), 5);
    if (!strstr(said, "empty/x.f32: interrupted; nothing was left behind")) fail_msg("it said: %s", said);
    assert_int_equal(entries_in("empty"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_holds_the_logits),
        cmocka_unit_test(wrong_command_lines),
        cmocka_unit_test(wrong_tokens),
        cmocka_unit_test(inputs_are_not_written_to),
        cmocka_unit_test(interrupted_it_leaves_nothing),
    };
    return cmocka_run_group_tests_name("logits", tests, NULL, scratch_remove);
}
