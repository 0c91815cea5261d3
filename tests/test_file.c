/* Tests of formats/file.h, formats/output.h and checkpoint_map: paths that cannot be opened or mapped, and
 * outputs that appear complete or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "formats/file.h"
#include "formats/output.h"
#include "tests/scratch.h"

/* ---- what the disk is told, in order ---- */

static char told[2000];
static const char *fails; /* the call, as it would stand in `told`, that fails with `fails_with` */
static int fails_with = EIO;

static void note_path(char *out, const char *path) {
    size_t n = strlen(scratch());
    path = strncmp(path, scratch(), n) == 0 ? path + n + (path[n] == '/') : path;
    snprintf(out, 300, "%.290s", *path ? path : ".");
    char *pid = strstr(out, ".tmp-") ? strstr(out, ".tmp-") : strstr(out, ".old-");
    if (!pid) return;
    char *end = pid + 5 + strspn(pid + 5, "0123456789");
    memmove(pid + 4, end, strlen(end) + 1); /* the process's number */
}

static int tell(const char *call) {
    size_t n = strlen(told);
    snprintf(told + n, sizeof told - n, "%s\n", call);
    if (!fails || strcmp(call, fails) != 0) return 0;
    errno = fails_with;
    return -1;
}

/* These functions replace those of the C library in this program: they record the order of calls and can be
 * made to fail. */
int fsync(int fd) {
    char link[64], path[PATH_MAX] = "", name[300], call[320];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) < 0) return -1;
    note_path(name, path);
    snprintf(call, sizeof call, "sync %s", name);
    return tell(call) ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    char a[300], b[300], call[620];
    note_path(a, from);
    note_path(b, to);
    snprintf(call, sizeof call, "%s -> %s", a, b);
    return tell(call) ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

/* path_move and the exchange of two folders. */
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char a[300], b[300], call[620];
    assert_true(from_folder == AT_FDCWD && to_folder == AT_FDCWD);
    note_path(a, from);
    note_path(b, to);
    snprintf(call, sizeof call, "%s %s %s", a, flags == RENAME_EXCHANGE ? "<->" : "->", b);
    return tell(call) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* ---- in ---- */

static const ByteSource *mapped(Checkpoint *c, const char *path) {
    Error e = {0};
    const ByteSource *s = checkpoint_map(c, path, &e);
    if (!s) fail_msg("%s", e.message);
    return s;
}

static void assert_not_mapped(const char *name, ErrorCode code, const char *says) {
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    Buffer b = {0};
    Error e = {0};
    char message[PATH_MAX + 100];
    snprintf(message, sizeof message, "%s/%s: %s", scratch(), name, says);
    assert_null(checkpoint_map(c, scratch_path(name), &e));
    assert_string_equal(e.message, message);
    assert_int_equal(e.code, code);
    assert_null(c->mappings);
    assert_null(checkpoint_map(c, scratch_path(name), NULL));
    checkpoint_close(c);
    buffer_free(&b);
}

static void maps_files(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    uint8_t bytes[10000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * i >> 3);
    const ByteSource *s = mapped(c, scratch_file("some", bytes, sizeof bytes));
    assert_string_equal(s->path, scratch_path("some"));
    assert_int_equal(s->size, sizeof bytes);
    assert_memory_equal(s->map, bytes, sizeof bytes);
    assert_int_equal(unlink(scratch_path("some")), 0); /* what is mapped stays */
    assert_memory_equal(s->map, bytes, sizeof bytes);
    s = mapped(c, scratch_file("empty", "", 0));
    assert_int_equal(s->size, 0);
    assert_non_null(s->map);
    checkpoint_close(c);
}

static void maps_nothing_else(void **state) {
    (void)state;
    scratch_folder("folder");
    assert_not_mapped("folder", ERR_INPUT, "not a regular file");
    assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
    assert_not_mapped("fifo", ERR_INPUT, "not a regular file"); /* and does not wait for a writer */
    assert_not_mapped("absent", ERR_INPUT, "No such file or directory");
    assert_int_equal(symlink("round", scratch_path("round")), 0);
    assert_not_mapped("round", ERR_INPUT, "Too many levels of symbolic links");
    scratch_text("file", "text");
    assert_not_mapped("file/below", ERR_INPUT, "Not a directory");
}

/* Root may read and write any file, so the tests of permissions continue as the user nobody. False if that is
 * not possible. */
static bool become_nobody(void) {
    return geteuid() != 0 || (chmod(scratch(), 0755) == 0 && seteuid(65534) == 0);
}

static void become_oneself(void) {
    assert_int_equal(seteuid(getuid()), 0);
}

static void a_file_that_may_not_be_read(void **state) {
    (void)state;
    scratch_text("secret", "text");
    assert_int_equal(chmod(scratch_path("secret"), 0), 0);
    if (!become_nobody()) skip();
    assert_not_mapped("secret", ERR_FAILED, "Permission denied");
    Buffer b = {0};
    Error e = {0};
    assert_false(file_read(scratch_path("secret"), 100, &b, &e));
    assert_int_equal(e.code, ERR_FAILED);
    become_oneself();
}

static void reads_small_files_whole(void **state) {
    (void)state;
    char *text = xmalloc(200000);
    memset(text, 'x', 200000);
    const char *path = scratch_file("text", text, 200000);
    Buffer b = {0};
    Error e = {0};
    buffer_append(&b, "before", 6);
    assert_true(file_read(path, 200000, &b, &e)); /* the limit is the file's own */
    assert_int_equal(b.size, 200006);
    assert_memory_equal(b.data, "beforexxx", 9);
    b.size = 0;
    assert_false(file_read(path, 199999, &b, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, "text: larger than 199999 bytes, the limit for such a file"));
    b.size = 0;
    assert_true(file_read(scratch_file("none", "", 0), 0, &b, &e));
    assert_int_equal(b.size, 0);
    assert_false(file_read(scratch_path("folder"), 10, &b, &e));
    assert_non_null(strstr(e.message, "folder: Is a directory"));
    assert_int_equal(e.code, ERR_INPUT);
    assert_false(file_read("/dev/zero", 1000000, &b, &e)); /* what has no end is not read to it */
    assert_true(b.size < 2000000);
    buffer_free(&b);
    free(text);
}

/* ---- out ---- */

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* A manifest by which the files of these tests are derope's. */
static const char manifest_of_parts[] = "{\"tensors\": [], \"files\": [{\"file\": \"part\"}, {\"file\": "
                                        "\"weights\"}, {\"file\": \"config.json\"}]}";

static void put_in(const Output *o, const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", o->temp, name);
    put(path, text);
}

static void begin(Output *o, const char *name, bool is_folder, bool force) {
    Error e = {0};
    if (!output_begin(o, scratch_path(name), is_folder, force, &e)) fail_msg("%s", e.message);
}

static void assert_refused_output(const char *name, bool is_folder, bool force, const char *says) {
    Output o;
    Error e = {0};
    if (output_begin(&o, scratch_path(name), is_folder, force, &e)) fail_msg("begun, though: %s", says);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_FAILED);
    output_discard(&o);
}

static void a_file_appears_when_it_is_whole(void **state) {
    (void)state;
    scratch_folder("f");
    Output o;
    begin(&o, "f/out", false, false);
    put(o.temp, "whole");
    assert_int_equal(access(scratch_path("f/out"), F_OK), -1);
    assert_int_equal(entries_in("f"), 1);
    Error e = {0};
    *told = 0;
    assert_true(output_commit(&o, &e));
    assert_string_equal(told, "sync f/.out.tmp\nf/.out.tmp -> f/out\nsync f\n");
    assert_file("f/out", "whole", 5);
    output_discard(&o); /* too late */
    assert_file("f/out", "whole", 5);
    assert_int_equal(entries_in("f"), 1);
    assert_refused_output("f/out", false, false, "f/out: exists already; --force replaces it");
    assert_refused_output("f/out", true, true, "f/out: is a file, but a folder is to be written there");
    begin(&o, "f/out", false, true);
    put(o.temp, "other");
    assert_file("f/out", "whole", 5);
    output_discard(&o);
    assert_file("f/out", "whole", 5);
    assert_int_equal(entries_in("f"), 1);
    assert_true(file_write(scratch_path("f/out"), "third", 5, true, &e));
    assert_file("f/out", "third", 5);
    assert_false(file_write(scratch_path("f/out"), "fourth", 6, false, &e));
    assert_file("f/out", "third", 5);
    assert_int_equal(entries_in("f"), 1);
}

static void a_folder_appears_when_it_is_whole(void **state) {
    (void)state;
    scratch_folder("d");
    Output o;
    begin(&o, "d/out/", true, false);
    put_in(&o, "weights", "one");
    put_in(&o, "config.json", "two");
    assert_int_equal(access(scratch_path("d/out"), F_OK), -1);
    Error e = {0};
    *told = 0;
    assert_true(output_commit(&o, &e));
    output_discard(&o);
    assert_non_null(strstr(told, "sync d/.out.tmp/weights\n"));
    assert_non_null(strstr(told, "sync d/.out.tmp/config.json\n"));
    const char *last = strstr(told, "sync d/.out.tmp\n");
    assert_non_null(strstr(last, "\nd/.out.tmp -> d/out\nsync d\n"));
    assert_file("d/out/weights", "one", 3);
    assert_refused_output("d/out", true, false, "d/out: exists already; --force replaces it");
    assert_refused_output("d/out", false, true, "d/out: is a folder, but a file is to be written there");
    scratch_text("d/out/derope.json", manifest_of_parts);
    begin(&o, "d/out", true, true); /* what is replaced is replaced as a whole */
    put_in(&o, "weights", "three");
    assert_true(output_commit(&o, &e));
    output_discard(&o);
    assert_file("d/out/weights", "three", 5);
    assert_int_equal(entries_in("d/out"), 1);
    assert_int_equal(entries_in("d"), 1);
}

/* Whichever system call fails, the result is an error that names the output, what was there before is
 * unchanged, and no temporary file is left. */
static void assert_survives(const char *call, bool is_folder, const char *says) {
    Output o;
    begin(&o, "s/out", is_folder, true);
    if (is_folder)
        put_in(&o, "part", "new");
    else
        put(o.temp, "new");
    Error e = {0};
    fails = call;
    *told = 0;
    bool ok = output_commit(&o, &e);
    fails = NULL;
    output_discard(&o);
    if (ok) fail_msg("committed, though '%s' failed", call);
    if (!strstr(told, call)) fail_msg("'%s' was not tried: %s", call, told);
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_FAILED);
    assert_file(is_folder ? "s/out/part" : "s/out", "old", 3);
    assert_int_equal(entries_in("s"), 1);
}

static void trouble_leaves_what_was_there(void **state) {
    (void)state;
    scratch_folder("s");
    scratch_text("s/out", "old");
    assert_survives("sync s/.out.tmp", false, "cannot be flushed to disk: Input/output error");
    assert_survives("s/.out.tmp -> s/out", false,
                    "s/out: cannot be renamed to its final name: Input/output error");
    assert_int_equal(unlink(scratch_path("s/out")), 0);
    scratch_folder("s/out");
    scratch_text("s/out/part", "old");
    scratch_text("s/out/derope.json", manifest_of_parts);
    assert_survives("sync s/.out.tmp/part", true, "cannot be flushed to disk: Input/output error");
    assert_survives("sync s/.out.tmp", true, "cannot be flushed to disk: Input/output error");
    assert_survives("s/.out.tmp -> s/.out.old", true, "s/.out.old-");
    assert_survives("s/.out.old <-> s/out", true,
                    "s/out: cannot be renamed to its final name: Input/output error");
}

/* A file system that cannot exchange two folders. */
static void folders_are_replaced_without_an_exchange(void **state) {
    (void)state;
    Output o;
    Error e = {0};
    scratch_folder("n");
    scratch_folder("n/out");
    scratch_text("n/out/part", "old");
    scratch_text("n/out/derope.json", manifest_of_parts);
    scratch_text("n/out/thesis.txt", "mine");
    fails = "n/.out.old <-> n/out";
    fails_with = EINVAL;
    begin(&o, "n/out", true, true);
    put_in(&o, "part", "new");
    bool ok = output_commit(&o, &e);
    output_discard(&o);
    fails = NULL;
    fails_with = EIO;
    if (!ok) fail_msg("%s", e.message);
    assert_file("n/out/part", "new", 3);
    assert_file("n/out/thesis.txt", "mine", 4);
    assert_int_equal(entries_in("n/out"), 2);
    assert_int_equal(entries_in("n"), 1);
}

static void what_appears_meanwhile_is_kept(void **state) {
    (void)state;
    scratch_folder("m");
    Output o;
    begin(&o, "m/out", false, false);
    scratch_text("m/out", "another's");
    Error e = {0};
    assert_false(output_commit(&o, &e));
    assert_non_null(strstr(e.message, "m/out: was created by another process while it was being written"));
    output_discard(&o);
    assert_file("m/out", "another's", 9);
    assert_int_equal(entries_in("m"), 1);
}

/* Killed processes leave temporary files behind, one of them perhaps with our process id. They are removed;
 * those of processes that are still writing stay. */
static void what_killed_processes_left_is_removed(void **state) {
    (void)state;
    char ours[64];
    scratch_folder("l");
    snprintf(ours, sizeof ours, "l/.out.tmp-%ld", (long)getpid());
    scratch_folder(ours);
    scratch_folder("l/.out.tmp-1");
    put(scratch_path("l/.out.tmp-1/part"), "half");
    put(scratch_path("l/.out.tmp-2"), "half");
    put(scratch_path("l/.out.tmp-"), "kept");
    put(scratch_path("l/.out.tmp-3x"), "kept");
    put(scratch_path("l/.out2.tmp-3"), "kept");
    int ready[2], go[2];
    assert_true(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        Output theirs;
        Error e = {0};
        char byte = 0;
        close(go[1]); /* what waits for a parent that failed ends with it */
        bool ok = output_begin(&theirs, scratch_path("l/out"), true, true, &e) &&
                  write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 1;
        _exit(ok && output_commit(&theirs, &e) ? 0 : 1);
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(entries_in("l"), 4); /* the child removed what was left, and has its own */
    Output o;
    begin(&o, "l/out", true, false);
    put_in(&o, "part", "whole");
    put_in(&o, "derope.json", manifest_of_parts);
    assert_int_equal(entries_in("l"), 5);
    Error e = {0};
    assert_true(output_commit(&o, &e));
    output_discard(&o);
    assert_int_equal(entries_in("l"), 5);
    int status;
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(entries_in("l"), 4);
    assert_int_equal(entries_in("l/out"), 0);
}

/* output_discard_all, which the handler of a fatal signal calls, removes all open outputs. */
static void all_can_be_discarded_at_once(void **state) {
    (void)state;
    enum { MANY = 40 };
    Output outs[MANY];
    char name[32];
    Error e = {0};
    scratch_folder("a");
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "a/%d", i);
        begin(&outs[i], name, i % 2, false);
        if (i % 2) put_in(&outs[i], "part", "half");
    }
    assert_true(output_commit(&outs[0], &e));
    output_discard(&outs[1]);
    assert_int_equal(entries_in("a"), MANY - 1);
    output_discard_all();
    assert_int_equal(entries_in("a"), 1);
    assert_file("a/0", "", 0);
    for (int i = 0; i < MANY; i++)
        output_discard(&outs[i]);
    assert_int_equal(entries_in("a"), 1);
}

static void folders_that_cannot_be_written_to(void **state) {
    (void)state;
    assert_refused_output("nowhere/out", false, false, "nowhere/out: cannot write there: No such file");
    assert_refused_output("nowhere/out", true, true, "nowhere/out: cannot write there: No such file");
    scratch_folder("closed");
    scratch_text("closed/there", "old");
    assert_int_equal(chmod(scratch_path("closed"), 0555), 0);
    if (!become_nobody()) skip();
    assert_refused_output("closed/out", false, false, "closed/out: cannot write there: Permission denied");
    assert_refused_output("closed/out", true, false, "closed/out: cannot write there: Permission denied");
    assert_refused_output("closed/there", false, true, "closed/there: cannot write there: Permission denied");
    Error e = {0};
    assert_false(file_write(scratch_path("closed/out"), "x", 1, false, &e));
    become_oneself();
    assert_int_equal(chmod(scratch_path("closed"), 0755), 0);
    assert_int_equal(entries_in("closed"), 1);
    assert_file("closed/there", "old", 3);
}

static void a_name_too_long_is_an_error(void **state) {
    (void)state;
    char name[300];
    memset(name, 'n', 255);
    name[255] = 0; /* of itself it would do */
    assert_refused_output(name, false, false, "cannot write there: File name too long");
}

static void writing_to_a_closed_file_names_the_place(void **state) {
    (void)state;
    int fd = open(scratch_text("w", "12345"), O_RDWR);
    Error e = {0};
    assert_true(fd_write(fd, "abc", 3, "w", &e));
    assert_true(fd_write(fd, NULL, 0, "w", &e));
    close(fd);
    assert_file("w", "abc45", 5);
    fd = open(scratch_path("w"), O_RDONLY);
    lseek(fd, 2, SEEK_SET);
    assert_false(fd_write(fd, "abc", 3, "w", &e));
    assert_string_equal(e.message, "w: cannot write at offset 2: Bad file descriptor");
    assert_int_equal(e.code, ERR_FAILED);
    close(fd);
}

static void writing_from_a_mapping_that_shrank(void **state) {
    (void)state;
    static char text[3 * 4096];
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    const ByteSource *s = mapped(c, scratch_file("shrinks", text, sizeof text));
    assert_int_equal(truncate(s->path, 4096), 0);
    int fd = open(scratch_text("w", ""), O_WRONLY);
    Error e = {0};
    assert_true(fd_write(fd, s->map, 4096, "w", &e));
    assert_false(fd_write(fd, s->map + 4096, 4096, "w", &e));
    char expected[2 * PATH_MAX];
    snprintf(expected, sizeof expected, "%s: shrank or became unreadable while it was being read", s->path);
    assert_string_equal(e.message, expected);
    assert_int_equal(e.code, ERR_INPUT);
    close(fd);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_files),
        cmocka_unit_test(maps_nothing_else),
        cmocka_unit_test(a_file_that_may_not_be_read),
        cmocka_unit_test(reads_small_files_whole),
        cmocka_unit_test(a_file_appears_when_it_is_whole),
        cmocka_unit_test(a_folder_appears_when_it_is_whole),
        cmocka_unit_test(trouble_leaves_what_was_there),
        cmocka_unit_test(folders_are_replaced_without_an_exchange),
        cmocka_unit_test(what_appears_meanwhile_is_kept),
        cmocka_unit_test(what_killed_processes_left_is_removed),
        cmocka_unit_test(all_can_be_discarded_at_once),
        cmocka_unit_test(folders_that_cannot_be_written_to),
        cmocka_unit_test(a_name_too_long_is_an_error),
        cmocka_unit_test(writing_to_a_closed_file_names_the_place),
        cmocka_unit_test(writing_from_a_mapping_that_shrank),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, scratch_remove);
}
