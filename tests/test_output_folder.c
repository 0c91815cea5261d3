/* Folders of derope in which somebody else has put files: what is replaced, what stays, what is refused, and
 * that nothing is lost whenever the process is killed. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "formats/hash.h"
#include "formats/output.h"
#include "formats/path.h"
#include "tests/process.h"

/* ---- a process that is killed at any moment ---- */

static int steps_left = -1; /* calls that change folders until the process dies; -1: it does not */
static bool can_exchange = true;

static void step(void) {
    if (steps_left >= 0 && steps_left-- == 0) _exit(9);
}

/* These functions replace those of the C library in this program. */
int rename(const char *from, const char *to) {
    step();
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    step();
    if (flags == RENAME_EXCHANGE && !can_exchange) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, a, from, b, to, flags);
}

int unlink(const char *path) {
    step();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int rmdir(const char *path) {
    step();
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

/* ---- folders ---- */

/* The manifest of an output with the files a, b and templates/c. The hash is that of a. */
static const char manifest[] =
    "{\"tensors\": [], \"files\": [{\"file\": \"a\", \"xxh3_128\": \"%s\"}, {\"file\": \"b\"}, "
    "{\"file\": \"templates/c\"}, {\"file\": \"../secret\"}], \"weights\": [{\"file\": \"w\"}]}";

static void put(const char *folder, const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void put_output(const char *folder, const char *a) {
    char path[PATH_MAX], text[1000], hash[33];
    hash_bytes(a, strlen(a), hash);
    snprintf(text, sizeof text, manifest, hash);
    snprintf(path, sizeof path, "%s/templates", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    put(folder, "a", a);
    put(folder, "w", a);
    put(folder, "templates/c", a);
    put(folder, "derope.json", text);
}

/* An output in scratch()/p/out with files of the user's: at the top, in folders of their own, and in a
 * folder of derope's. */
static void old_output(void) {
    run_shell("rm -rf p; mkdir -p p/out");
    put_output(scratch_path("p/out"), "old a");
    put(scratch_path("p/out"), "b", "old b");
    put(scratch_path("p"), "secret", "mine");
    run_shell("cd p/out; echo mine > LICENSE; mkdir -p .git/refs src; echo mine > .git/HEAD; "
              "echo mine > src/x.c; echo mine > templates/t; ln -s LICENSE link; mkdir none");
}

/* All of the user's files are there, wherever the output is. */
static void assert_users_files(const char *folder) {
    char command[500];
    snprintf(command, sizeof command,
             "cd p/%s && test -d .git/refs -a -d none -a -L link && "
             "for f in LICENSE .git/HEAD src/x.c templates/t ../secret; do grep -qx mine $f || exit 1; done",
             folder);
    if (run_shell(command)) {
        run_shell("find p >&2");
        fail_msg("not all files are in %s", folder);
    }
}

/* Writes the output again, by the functions that the writers call. */
static bool write_again(Error *e) {
    Output o;
    if (!output_begin(&o, scratch_path("p/out"), true, true, e)) return false;
    put_output(o.temp, "new a");
    bool ok = output_commit(&o, e);
    output_discard(&o);
    return ok;
}

static void what_is_not_ours_stays(void **state) {
    (void)state;
    Error e = {0};
    for (int i = 0; i < 2; i++) {
        can_exchange = i == 0;
        old_output();
        if (!write_again(&e)) fail_msg("%s", e.message);
        assert_users_files("out");
        assert_file("p/out/a", "new a", 5);
        assert_file("p/out/templates/c", "new a", 5);
        assert_int_equal(access(scratch_path("p/out/b"), F_OK), -1); /* the new output has none */
        assert_int_equal(entries_in("p/out"), 9); /* a w templates derope.json; LICENSE .git src link none */
        assert_int_equal(entries_in("p/out/templates"), 2);
        assert_int_equal(entries_in("p"), 2); /* out, secret */
    }
    can_exchange = true;
}

/* The process dies before each of its steps in turn. Whatever there is afterwards, nothing of the user's is
 * missing, and the next run ends in the same state as an undisturbed one. */
static void whenever_it_is_killed(void **state) {
    (void)state;
    Error e = {0};
    for (int i = 0; i < 2; i++) {
        can_exchange = i == 0;
        int status = W_EXITCODE(9, 0), n = 0;
        for (; WEXITSTATUS(status) == 9; n++) {
            old_output();
            pid_t child = fork();
            if (child == 0) {
                steps_left = n;
                _exit(write_again(&e) ? 0 : 1);
            }
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_true(WIFEXITED(status));
            /* At any moment there is a whole model, unless two renames are needed. */
            if (can_exchange && run_shell("test -s p/out/a -a -s p/out/w -a -s p/out/templates/c && "
                                          "cmp -s p/out/a p/out/w && cmp -s p/out/a p/out/templates/c"))
                fail_msg("no whole model in p/out when killed at step %d", n);
            if (n % 2) {
                /* Looking at the output is enough. */
                if (!output_recover(scratch_path("p/out"), &e)) fail_msg("%s", e.message);
                assert_users_files("out");
            }
            if (!write_again(&e)) fail_msg("killed at step %d: %s", n, e.message);
            assert_users_files("out");
            assert_file("p/out/a", "new a", 5);
            assert_int_equal(entries_in("p/out"), 9);
            assert_int_equal(entries_in("p"), 2);
        }
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_true(n > 15);
    }
    can_exchange = true;
}

/* A listed file that was edited is the user's, too. */
static void what_was_edited_is_kept(void **state) {
    (void)state;
    Error e = {0};
    old_output();
    put(scratch_path("p/out"), "a", "edited");
    if (!write_again(&e)) fail_msg("%s", e.message);
    assert_users_files("out");
    assert_file("p/out/a", "new a", 5);
    assert_file("p/out/a.edited", "edited", 6);
    put(scratch_path("p/out"), "a", "again");
    if (!write_again(&e)) fail_msg("%s", e.message);
    assert_file("p/out/a.edited", "edited", 6);
    assert_file("p/out/a.edited-2", "again", 5);
}

static void assert_refused_again(const char *says) {
    Error e = {0};
    char before[PATH_MAX];
    snprintf(before, sizeof before, "%s", "cp -a p before");
    run_shell("rm -rf before");
    run_shell(before);
    assert_false(write_again(&e));
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_int_equal(e.code, ERR_FAILED);
    assert_int_equal(run_shell("diff -r --no-dereference p before"), 0);
}

static void what_is_in_the_way_is_named(void **state) {
    (void)state;
    Error e = {0};
    old_output();
    run_shell("rm -r p/out/w; mkdir p/out/w; echo mine > p/out/w/x"); /* a folder where a file was written */
    assert_refused_again("p/out/w: was not written by derope");
    old_output();
    assert_true(output_may_begin(scratch_path("p/out"), true, true, &e));
    Output o;
    assert_true(output_begin(&o, scratch_path("p/out"), true, true, &e));
    assert_true(output_has_room(&o, "a", &e));
    assert_true(output_has_room(&o, "new", &e));
    assert_false(output_has_room(&o, "LICENSE", &e));
    assert_non_null(strstr(e.message, "p/out/LICENSE: was not written by derope"));
    output_discard(&o);
    run_shell("echo '{}' > p/out/derope.json");
    assert_refused_again("derope.json: lists no tensors");
    run_shell("echo '{' > p/out/derope.json");
    assert_refused_again("derope.json:");
    run_shell("rm p/out/derope.json");
    assert_refused_again("p/out: derope did not write this folder, and does not replace what is in it "
                         "(.git, LICENSE, a and 6 more)");
}

/* What a killed process has left and what cannot be moved back, because there is something else now. */
static void leftovers_are_named(void **state) {
    (void)state;
    Error e = {0};
    old_output();
    run_shell("mkdir p/.out.old-1; cp p/out/derope.json p/.out.old-1; echo other > p/.out.old-1/LICENSE");
    assert_false(output_recover(scratch_path("p/out"), &e));
    assert_non_null(strstr(e.message, "/LICENSE"));
    assert_non_null(strstr(e.message, "the rest is in"));
    assert_file("p/.out.old-1/LICENSE", "other\n", 6);
    assert_users_files("out");
    assert_false(write_again(&e));
    run_shell("rm p/.out.old-1/LICENSE");
    if (!write_again(&e)) fail_msg("%s", e.message);
    assert_users_files("out");
}

/* ---- paths ---- */

static void assert_resolves(const char *path, bool follow, const char *to) {
    char out[PATH_MAX], expected[PATH_MAX];
    assert_true(path_resolve(path, follow, out));
    snprintf(expected, sizeof expected, "%s%s%s", *to == '/' ? "" : scratch(), *to == '/' || !*to ? "" : "/",
             to);
    if (strcmp(out, expected) != 0) fail_msg("%s became %s, expected %s", path, out, expected);
}

static void paths_become_canonical(void **state) {
    (void)state;
    char here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    run_shell("mkdir -p c/d; ln -s c l; ln -s none dangling; touch f; ln -s f lf");
    assert_int_equal(chdir(scratch()), 0);
    assert_resolves("c/../c/d///", false, "c/d");
    assert_resolves("c/d/..", false, "c");
    assert_resolves(".", false, "");
    assert_resolves("l/d", false, "c/d");
    assert_resolves("l", true, "c");
    assert_resolves("l", false, "l");
    assert_resolves("l/", true, "c");
    assert_resolves("l/x/y", true, "c/x/y");
    assert_resolves("lf", false, "lf");
    assert_resolves("new/../c/./new", true, "c/new");
    assert_resolves("dangling", true, "dangling");
    assert_resolves("/", true, "/");
    assert_resolves("/..", false, "/");
    assert_resolves("/no such/../../x", false, "/x");
    char out[PATH_MAX], longer[PATH_MAX + 2];
    memset(longer, 'x', sizeof longer);
    longer[PATH_MAX + 1] = 0;
    assert_false(path_resolve("", true, out));
    assert_false(path_resolve(longer, true, out));
    for (size_t i = 100; i < PATH_MAX; i += 101)
        longer[i] = '/';
    longer[PATH_MAX - 10] = 0;
    assert_false(path_resolve(longer, false, out)); /* the current folder comes before it */
    assert_int_equal(errno, ENAMETOOLONG);
    assert_true(path_lies_in("/a/b", "/a") && path_lies_in("/a", "/a") && path_lies_in("/a", "/"));
    assert_false(path_lies_in("/ab", "/a") || path_lies_in("/a", "/a/b"));
    assert_true(path_same_file("l", "c") && path_same_file("f", "lf") && !path_same_file("f", "c"));
    assert_int_equal(chdir(here), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_ours_stays),  cmocka_unit_test(whenever_it_is_killed),
        cmocka_unit_test(what_was_edited_is_kept), cmocka_unit_test(what_is_in_the_way_is_named),
        cmocka_unit_test(leftovers_are_named),     cmocka_unit_test(paths_become_canonical),
    };
    return cmocka_run_group_tests_name("output_folder", tests, NULL, scratch_remove);
}
