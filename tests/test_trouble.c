/* When the machine says no: a full disk, a folder that cannot be written to, Ctrl-C in the middle. A clear
 * message, the right exit code, no partial output, the source intact. */
#include <dirent.h>

#include "formats/file.h"
#include "tests/process.h"
#include "tests/text_model.h"

static void assert_trouble(const char *options, const char *arguments, const char *text) {
    const char *said;
    int status = run_on_disk(options, arguments, &said);
    if (status != 1 || !strstr(said, text) || !strstr(said, "left:\n"))
        fail_msg("derope %s: exit %d, '%s'; expected 1, '%s' and nothing left", arguments, status, said,
                 text);
}

static void a_full_disk(void **state) {
    (void)state;
    if (!may_mount()) skip();
    tiny_folder("in");
    assert_trouble("size=8k", "convert in disk/out", "No space left on device");
    assert_trouble("size=8k", "convert in disk/out.gguf", "No space left on device");
    assert_trouble("size=16k", "convert in disk/out --max-shard-size 2k", "No space left on device");
    const char *said; /* and one that suffices */
    assert_int_equal(run_on_disk("size=1m", "convert in disk/out", &said), 0);
    assert_non_null(strstr(said, "left: out\n"));
}

static void a_read_only_folder(void **state) {
    (void)state;
    if (!may_mount()) skip();
    tiny_folder("in");
    assert_trouble("ro", "convert in disk/out", "disk/out: cannot write there: Read-only file system");
    assert_trouble("ro", "convert in disk/out.gguf", "Read-only file system");
}

/* ---- Ctrl-C ---- */

enum { MANY = 1 << 24 };

/* A model whose embedding is half a gigabyte of nothing: a hole in the file. */
static void sparse_model(const char *name) {
    char config[1000], path[200];
    snprintf(config, sizeof config, "%s", tiny_config);
    char *vocab = strstr(config, "\"vocab_size\": 40");
    memmove(vocab + 22, vocab + 16, strlen(vocab + 16) + 1);
    memcpy(vocab, "\"vocab_size\": 16777216", 22);
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    for (int i = 0; i < TINY_LAYERS; i++)
        tiny_layer(c, i, false);
    tiny_tensor(c, "model.norm.weight", 0, TINY_WIDTH);
    checkpoint_set_file(c, "config.json", config, strlen(config));
    tiny_write(c, name);
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    assert_int_equal(rename(scratch_path(path), scratch_path("rest.safetensors")), 0);

    Buffer rest = {0}, header = {0};
    Error e = {0};
    assert_true(file_read(scratch_path("rest.safetensors"), 1 << 20, &rest, &e));
    uint64_t length, data, hole = 2ull * MANY * TINY_WIDTH;
    memcpy(&length, rest.data, sizeof length);
    data = rest.size - 8 - length;
    while (rest.data[8 + length - 1] == ' ')
        length--;
    buffer_append(&header, rest.data + 8, length - 1);
    buffer_printf(
        &header,
        ",\"model.embed_tokens.weight\":{\"dtype\":\"BF16\",\"shape\":[%d,16],\"data_offsets\":[%llu,"
        "%llu]}}",
        MANY, (unsigned long long)data, (unsigned long long)(data + hole));
    uint64_t n = header.size;
    FILE *f = fopen(scratch_path(path), "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header.data, header.size, 1, f);
    fwrite(rest.data + rest.size - data, data, 1, f);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(ftruncate(fileno(f), (off_t)(8 + n + data + hole)), 0);
    fclose(f);
    buffer_free(&rest);
    buffer_free(&header);
}

/* It writes, under a name that is not the final one. */
static bool begun(pid_t child) {
    (void)child;
    DIR *d = opendir(scratch_path("outs"));
    bool found = false;
    for (struct dirent *e; (e = readdir(d));)
        found |= strstr(e->d_name, ".tmp-") != NULL;
    closedir(d);
    return found;
}

static void ctrl_c_leaves_nothing(void **state) {
    (void)state;
    sparse_model("sparse");
    scratch_folder("outs");
    assert_interrupted("convert sparse outs/x", begun, SIGINT, "interrupted; nothing was left behind");
    assert_int_equal(entries_in("outs"), 0);
    assert_interrupted("convert sparse outs/x.gguf", begun, SIGTERM, "interrupted; nothing was left behind");
    assert_int_equal(entries_in("outs"), 0);
    assert_interrupted("convert sparse outs/x", begun, SIGHUP, "interrupted; nothing was left behind");
    assert_int_equal(entries_in("outs"), 0);
}

/* It has printed that the request to stop was received. */
static bool acknowledged(pid_t child) {
    (void)child;
    return strstr(said(), "derope: finishing this step; another Ctrl-C ends the program at once\n") != NULL;
}

/* The first Ctrl-C is acknowledged before what it interrupts has ended, and a second one does not wait for
 * that. A signal half a second after the first counts as a second request. */
static void a_second_ctrl_c_ends_at_once(void **state) {
    (void)state;
    text_folder("reads");
    assert_int_equal(mkfifo(scratch_path("pipe"), 0666), 0);
    pid_t child = start_derope("tokenize reads pipe"); /* waits for somebody to write into the pipe */
    assert_true(wait_until(child, catches_signals));
    kill(child, SIGINT);
    assert_true(wait_until(child, acknowledged));
    nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
    kill(child, SIGINT);
    assert_ends(child, 5, "finishing this step");
}

/* What is printed counts as an output too, however little of it is still to be flushed at the end. */
static void a_full_standard_output(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    tiny_folder("in");
    assert_fails("inspect in > /dev/full", 1, "derope inspect: standard output: ");
    assert_fails("inspect in --json > /dev/full", 1, "derope inspect: standard output: ");
}

/* Without standard streams, the first files that are opened would have their numbers, and lines of progress
 * would be written into them. */
static void closed_standard_streams(void **state) {
    (void)state;
    tiny_folder("in");
    assert_runs("convert in open --dtype f32");
    assert_runs("convert in open.gguf --dtype f32");
    static const char *const closed[] = {"2>&-", ">&- 2>&-", "<&- >&- 2>&-", "<&- 2>&-"};
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        char line[200];
        run_shell("rm -rf shut shut.gguf");
        snprintf(line, sizeof line, "convert in shut --dtype f32 %s", closed[i]);
        assert_runs(line);
        snprintf(line, sizeof line, "convert in shut.gguf --dtype f32 %s", closed[i]);
        assert_runs(line);
        assert_int_equal(run_shell("diff -r open shut && cmp open.gguf shut.gguf"), 0);
    }
    assert_fails("inspect in >&-", 1, "derope inspect: standard output: Bad file descriptor");
}

/* Where bytes are copied the disk is told to write from memory that is gone; where they are converted we read
 * it. */
static void a_source_that_shrinks(void **state) {
    (void)state;
    static const char *const outs[] = {"outs/x", "outs/x.gguf --dtype f32"};
    for (int i = 0; i < 2; i++) {
        char arguments[100];
        sparse_model("sparse");
        snprintf(arguments, sizeof arguments, "convert sparse %s", outs[i]);
        pid_t child = start_derope(arguments);
        assert_true(wait_until(child, begun));
        assert_int_equal(truncate(scratch_path("sparse/model.safetensors"), 1 << 16), 0);
        assert_ends(child, 3,
                    "/sparse/model.safetensors: shrank or became unreadable while it was being read");
        assert_int_equal(entries_in("outs"), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(a_read_only_folder),
        cmocka_unit_test(ctrl_c_leaves_nothing),
        cmocka_unit_test(a_second_ctrl_c_ends_at_once),
        cmocka_unit_test(a_source_that_shrinks),
        cmocka_unit_test(a_full_standard_output),
        cmocka_unit_test(closed_standard_streams),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
