/* A folder for the files of one test program, assertions about files, and the rule that every test of damaged
 * input uses: a file is either read to its last byte or refused with a message that names it. */
#ifndef DEROPE_TESTS_SCRATCH_H
#define DEROPE_TESTS_SCRATCH_H

#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "formats/meta.h"

/* The folder of this process under /tmp, made by the first call. scratch_remove() takes it away. */
static inline const char *scratch(void) {
    static char folder[64];
    if (!*folder) {
        snprintf(folder, sizeof folder, "/tmp/derope-test-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    return folder;
}

/* Called by nftw() for each entry, children before their folder. */
static inline int scratch_unlink(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

/* Removes the folder with everything in it; a group teardown of cmocka. */
static inline int scratch_remove(void **state) {
    (void)state;
    return nftw(scratch(), scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* The path scratch()/name. Four buffers take turns, so up to four paths are valid at once. */
static inline const char *scratch_path(const char *name) {
    static char paths[4][PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", scratch(), name);
    return path;
}

/* Writes `n` bytes to scratch()/name and returns its path. */
static inline const char *scratch_file(const char *name, const void *bytes, size_t n) {
    const char *path = scratch_path(name);
    unlink(path); /* replacing its content instead would make some file systems flush it to the disk */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Writes a string to scratch()/name and returns its path. */
static inline const char *scratch_text(const char *name, const char *text) {
    return scratch_file(name, text, strlen(text));
}

/* Makes the folder scratch()/name. */
static inline void scratch_folder(const char *name) {
    assert_int_equal(mkdir(scratch_path(name), 0777), 0);
}

/* The file scratch()/name holds exactly these bytes. */
static inline void assert_file(const char *name, const void *bytes, size_t n) {
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(scratch_path(name), 1 << 30, &b, &e));
    assert_int_equal(b.size, n);
    assert_memory_equal(b.data, bytes, n);
    buffer_free(&b);
}

/* Two files under scratch() hold the same bytes. */
static inline void assert_same_file(const char *name, const char *other) {
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(scratch_path(other), 1 << 30, &b, &e));
    assert_file(name, b.data, b.size);
    buffer_free(&b);
}

/* The number of entries of the folder scratch()/name, hidden ones included. */
static inline int entries_in(const char *name) {
    char command[PATH_MAX + 32], line[16];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", scratch_path(name));
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(line, sizeof line, p));
    pclose(p);
    return atoi(line);
}

/* Opens a checkpoint that must be readable. */
static inline Checkpoint *opened(const char *path) {
    Error e = {0};
    Checkpoint *c = checkpoint_open(path, &e);
    if (!c) fail_msg("%s", e.message);
    return c;
}

/* The checkpoint is refused with ERR_INPUT, and the message begins with its path and contains `text`. */
static inline void assert_refused(const char *path, const char *text) {
    Error e = {0};
    Checkpoint *c = checkpoint_open(path, &e);
    if (c) fail_msg("accepted, though: %s", text);
    if (!strstr(e.message, text)) fail_msg("'%s' does not say '%s'", e.message, text);
    assert_int_equal(e.code, ERR_INPUT);
    assert_memory_equal(e.message, scratch(), strlen(scratch()));
}

/* The checkpoint is either accepted, and then every byte of its tensors and key-values can be read, or
 * refused with ERR_INPUT and a message that begins with its path. */
static inline void assert_sound(const char *path) {
    Error e = {0};
    Checkpoint *c = checkpoint_open(path, &e);
    if (!c) {
        assert_int_equal(e.code, ERR_INPUT);
        assert_memory_equal(e.message, scratch(), strlen(scratch()));
        return;
    }
    for (size_t i = 0; i < c->n_tensors; i++) {
        char hash[33];
        assert_true(tensor_hash(&c->tensors[i], hash, &e));
    }
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        const char *s;
        size_t len, seen = 0;
        for (uint64_t at = 0; meta_array_string(m, &at, &s, &len);)
            seen += len;
        assert_true(seen <= m->size);
        double x;
        if (m->type == META_ARRAY && m->count) meta_array_f64(m, m->count - 1, &x);
        meta_string(c, m->key, &len);
    }
    checkpoint_close(c);
}

/* Writes the file `name` damaged in every simple way and asserts each time that `model`, which is the file or
 * its folder, is sound: cut after each of its `n` bytes, with each single bit flipped, and with each byte
 * inverted. */
static inline void assert_every_damage_sound(const char *model, const char *name, const uint8_t *bytes,
                                             size_t n) {
    uint8_t *copy = xmalloc(n);
    memcpy(copy, bytes, n);
    for (size_t cut = 0; cut < n; cut++)
        scratch_file(name, copy, cut), assert_sound(scratch_path(model));
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit <= 8; bit++) {
            copy[i] = bit < 8 ? bytes[i] ^ (uint8_t)(1 << bit) : (uint8_t)~bytes[i];
            scratch_file(name, copy, n), assert_sound(scratch_path(model));
        }
        copy[i] = bytes[i];
    }
    free(copy);
}

#endif
