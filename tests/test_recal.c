/* `derope recal` from the outside: what repeats, what Ctrl-C leaves, what --resume goes on from. */
#include "formats/file.h"
#include "formats/hash.h"
#include "tests/process.h"
#include "tests/text_model.h"

/* 24 steps of 8 sequences */
#define OPTIONS " --tokens 6k --context 32 --lr 1e-3 --threads 2 "
#define RUN " --data train.txt" OPTIONS

static int set_up(void **state) {
    (void)state;
    text_folder("in");
    text_file("train.txt", 1, 900);
    return 0;
}

static void assert_not_there(const char *name) {
    struct stat st;
    if (lstat(scratch_path(name), &st) == 0) fail_msg("%s is there", name);
}

static void seeds_repeat(void **state) {
    (void)state;
    assert_runs("recal in a --drop-rope=2-3 --objective distill" RUN);
    assert_runs("recal in b --drop-rope=2-3 --objective distill" RUN);
    assert_same_file("a/model.safetensors", "b/model.safetensors");
    assert_same_file("a/derope.json", "b/derope.json");
    assert_int_equal(entries_in("a"), 5);
    assert_runs("recal in a.gguf --drop-rope=2-3 --objective distill" RUN);
    assert_runs("recal in b.gguf --drop-rope=2-3 --objective distill" RUN);
    assert_same_file("a.gguf", "b.gguf");
    assert_not_there("a.derope-state");
    assert_runs("recal in c --drop-rope=2-3 --objective distill --seed 2" RUN);
    char one[33], other[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("a/model.safetensors"), one, &e));
    assert_true(hash_file(scratch_path("c/model.safetensors"), other, &e));
    assert_string_not_equal(one, other);
    assert_runs("verify a");
    assert_runs("verify a.gguf");
}

static void the_manifest_tells_what_was_seen(void **state) {
    (void)state;
    const char *words;
    Error e = {0};
    assert_int_equal(run_derope("--quiet recal in told --json" RUN, &words), 0);
    json_t *o = json_parse("told", words, strlen(words), &e), *recal = json_object_get(o, "recalibration");
    assert_int_equal(json_integer_value(json_object_get(recal, "tokens_seen")), 24 * 8 * 32);
    assert_int_equal(json_integer_value(json_object_get(recal, "steps")), 24);
    assert_int_equal(json_array_size(json_object_get(recal, "losses")), 24);
    assert_true(json_number_value(json_object_get(recal, "seconds")) > 0);
    double first = json_number_value(json_object_get(recal, "first_loss")),
           last = json_number_value(json_object_get(recal, "last_loss"));
    assert_true(first > last && last > 0);
    Checkpoint *c = opened(scratch_path("told"));
    json_t *manifest = checkpoint_json(c, "derope.json", &e);
    json_object_del(recal, "seconds");
    assert_true(json_equal(recal, json_object_get(manifest, "recalibration")));
    json_decref(manifest);
    json_decref(o);
    checkpoint_close(c);
}

/* ---- Ctrl-C and --resume ---- */

/* Starts a run whose text comes through a pipe and interrupts it before the text has ended, so that it stops
 * after the first step it makes, however fast the machine. */
static void interrupt_at_first_step(const char *arguments) {
    char line[400];
    Buffer text = {0};
    Error e = {0};
    assert_true(file_read(scratch_path("train.txt"), 1 << 20, &text, &e));
    const char *pipe = scratch_path("pipe.txt");
    unlink(pipe);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    snprintf(line, sizeof line, "recal in %s --data pipe.txt", arguments);
    pid_t child = start_derope(line);
    int fd = open(pipe, O_WRONLY); /* returns once derope reads */
    kill(child, SIGINT);
    assert_int_equal(write(fd, text.data, text.size), text.size);
    close(fd);
    assert_ends(child, 5, ".derope-state keeps what was done, and the same command with --resume goes on");
    buffer_free(&text);
}

static void resuming_changes_no_byte(void **state) {
    (void)state;
    char before[33], after[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("in/model.safetensors"), before, &e));
    assert_runs("recal in straight --drop-rope" RUN);
    for (int part = 0; part < 3; part++) { /* three steps, one process each */
        interrupt_at_first_step(part ? "resumed --drop-rope --resume" OPTIONS
                                     : "resumed --drop-rope" OPTIONS);
        char expected[64];
        snprintf(expected, sizeof expected, "interrupted after %d tokens", (part + 1) * 8 * 32);
        if (!strstr(said(), expected)) fail_msg("%s", said());
        assert_not_there("resumed");
    }
    assert_runs("recal in resumed --drop-rope --resume" RUN);
    assert_same_file("straight/model.safetensors", "resumed/model.safetensors");
    assert_same_file("straight/derope.json", "resumed/derope.json");
    assert_not_there("resumed.derope-state");
    assert_true(hash_file(scratch_path("in/model.safetensors"), after, &e));
    assert_string_equal(before, after);
}

static void another_run_is_not_resumed(void **state) {
    (void)state;
    assert_fails("recal in kept --resume" RUN, 3, "--resume: there is no kept.derope-state to go on from");
    interrupt_at_first_step("kept" OPTIONS);
    assert_fails(
        "recal in kept" RUN, 1,
        "kept.derope-state: holds an interrupted run; --resume goes on with it, --force starts anew");
    static const char *const others[] = {"--lr 2e-3",           "--seed 9",     "--batch 4",
                                         "--tokens 9k",         "--context 16", "--drop-rope",
                                         "--objective distill", "--clip 2",     "--warmup 3"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char line[300];
        snprintf(line, sizeof line, "recal in kept --resume" RUN "%s", others[i]);
        assert_fails(line, 3, "kept.derope-state: was made with other options, data or model");
    }
    text_file("other.txt", 5, 900);
    assert_fails("recal in kept --resume --data other.txt" OPTIONS, 3,
                 "was made with other options, data or model");
    assert_runs("recal in kept --resume" RUN); /* refusals took nothing from it */
    interrupt_at_first_step("anew" OPTIONS);
    assert_runs("recal in anew --force" RUN);
    assert_same_file("anew/model.safetensors", "kept/model.safetensors");
}

/* A million tokens take a while. */
#define LONG " --data train.txt --tokens 1M --context 32 --threads 2 "

static void ctrl_c_while_training(void **state) {
    (void)state;
    scratch_folder("outs");
    assert_interrupted("recal in outs/x.gguf --drop-rope" LONG, has_threads, SIGINT, "interrupted after");
    assert_int_equal(entries_in("outs"), 1);
    assert_int_equal(access(scratch_path("outs/x.gguf.derope-state"), F_OK), 0);
    assert_interrupted("recal in outs/x.gguf --drop-rope --resume" LONG, has_threads, SIGTERM,
                       "interrupted after");
    assert_int_equal(entries_in("outs"), 1);
}

/* ---- refusals come before the work ---- */

static void refused_before_training(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int status;
        const char *words;
    } cases[] = {
        {"recal in x --dtype q8_0" RUN, 2, "dtype q8_0: a safetensors file cannot hold it"},
        {"recal in x.gguf --dtype iq3_s" RUN, 2, "dtype 'iq3_s': expected f32"},
        {"recal in x --carrier granite" RUN, 2, "there is no HF carrier 'granite'"},
        {"recal in x --carrier own --drop-rope" RUN, 1, "own"},
        {"recal in missing/x" RUN, 1, "missing/x: cannot write there: No such file or directory"},
        {"recal in train.txt" RUN, 1, "train.txt: exists already"},
        {"recal in train.txt --force" RUN, 1, "train.txt: is a file, but a folder is to be written there"},
        {"recal in in --force" RUN, 2, "in: the source is there"},
        {"recal in x --data nowhere.txt --tokens 1k --context 32", 3, "nowhere.txt: No such file"},
        {"recal in x --data train.txt --tokens 1k --context 9k", 3,
         "the training text has 2744 tokens, one sequence takes 9001"},
        {"recal in x --data train.txt --context 32", 2, "--data, --tokens and --context are needed"},
        {"recal in x --lr nan" RUN, 2, "--lr: 'nan' is not a number"},
        {"recal in x" RUN "--lr 0", 2, "lr 0, beta1 0.9 and beta2 0.95 would train nothing"},
        {"recal in x" RUN "--lr -1", 2, "--lr: -1 is out of range; expected 0 or more"},
        {"recal in x --clip -1" RUN, 2, "--clip: -1 is out of range; expected 0 or more"},
        {"recal in x --min-lr-ratio 1.5" RUN, 2, "--min-lr-ratio: 1.5 is out of range; expected 0 to 1"},
        {"recal in x --weight-decay inf" RUN, 2, "--weight-decay: 'inf' is not a number"},
        {"recal in x --batch 0" RUN, 2, "--batch: 0 is out of range; expected 1 to 16777216"},
        {"recal in x --accumulate 3" RUN, 2, "a batch of 8 sequences cannot be run in 3 equal parts"},
        {"recal in x --objective distil" RUN, 2, "--objective: 'distil' is not next-token or distill"},
        {"recal in x --batch 8 --context 16M --data train.txt --tokens 1", 1, "needs about"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(cases[i].arguments, cases[i].status, cases[i].words);
    assert_not_there("x");
    assert_not_there("x.derope-state");
    assert_not_there("x.gguf.derope-state");
}

static void a_full_disk(void **state) {
    (void)state;
    const char *words;
    if (!may_mount()) skip();
    /* not even the state */
    assert_int_equal(run_on_disk("size=16k", "recal in disk/out" RUN, &words), 1);
    assert_non_null(strstr(words, "disk/out.derope-state: cannot write at offset"));
    assert_non_null(strstr(words, "No space left on device"));
    assert_non_null(strstr(words, "left:\n"));
    /* the state, and not the output beside it: what was trained stays */
    assert_int_equal(run_on_disk("size=132k", "recal in disk/out --dtype f32" RUN, &words), 1);
    assert_non_null(strstr(words, "model.safetensors: cannot write at offset"));
    assert_non_null(strstr(words, "; disk/out.derope-state keeps what was trained: with --resume the same"));
    assert_non_null(strstr(words, "left: out.derope-state\n"));
    assert_int_equal(run_on_disk("size=1m", "recal in disk/out --dtype f32" RUN, &words), 0);
    assert_non_null(strstr(words, "left: out\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(the_manifest_tells_what_was_seen),
        cmocka_unit_test(resuming_changes_no_byte),
        cmocka_unit_test(another_run_is_not_resumed),
        cmocka_unit_test(ctrl_c_while_training),
        cmocka_unit_test(refused_before_training),
        cmocka_unit_test(a_full_disk),
    };
    return cmocka_run_group_tests_name("recal", tests, set_up, scratch_remove);
}
