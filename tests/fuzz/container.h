/* What the fuzz targets share. A reader gets arbitrary bytes as a file. Either it accepts them, and then
 * everything that it described must be readable, or it refuses them with ERR_INPUT and a message that begins
 * with the file's path. */
#ifndef DEROPE_TESTS_FUZZ_CONTAINER_H
#define DEROPE_TESTS_FUZZ_CONTAINER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/meta.h"

/* Ends the process, which libFuzzer records as a crash, unless `ok`. */
static inline void expect(bool ok, const char *what, const Error *e) {
    if (ok) return;
    fprintf(stderr, "%s (code %d: %s)\n", what, (int)e->code, e->message);
    abort();
}

/* Makes a file in memory of the bytes. Returns its descriptor, and in `path` a path that opens it. */
static inline int memory_file(const uint8_t *data, size_t n, char path[64]) {
    Error e = {0};
    int fd = memfd_create("fuzz", 0);
    expect(fd >= 0 && write(fd, data, n) == (ssize_t)n, "no file in memory", &e);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* Reads all that the checkpoint describes: every tensor's bytes, by hashing them, every element of every
 * array of strings, and the last element of arrays of numbers. The address sanitizer reports what lies
 * outside the file. */
static inline void serve_all(const Checkpoint *c) {
    Error e = {0};
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = &c->tensors[i];
        char hash[33];
        expect(checkpoint_find(c, t->name) != NULL, "a tensor that its name does not find", &e);
        expect(tensor_hash(t, hash, &e) || e.code == ERR_INPUT, "a tensor that cannot be read", &e);
    }
    for (size_t i = 0; i < c->n_meta; i++) {
        const MetaEntry *m = &c->meta[i];
        const char *s;
        size_t len;
        double x;
        for (uint64_t at = 0; meta_array_string(m, &at, &s, &len);)
            if (len) (void)*(volatile const char *)(s + len - 1);
        if (m->type == META_ARRAY && m->count) meta_array_f64(m, m->count - 1, &x);
        meta_string(c, m->key, &len);
    }
}

/* The whole test of one container reader. */
static inline void fuzz_container(bool (*read_file)(Checkpoint *, const char *, Error *), const uint8_t *data,
                                  size_t n) {
    char path[64];
    Error e = {0};
    int fd = memory_file(data, n, path);
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    if (read_file(c, path, &e))
        serve_all(c);
    else
        expect(e.code == ERR_INPUT && strncmp(e.message, path, strlen(path)) == 0, "an unplaced refusal", &e);
    checkpoint_close(c);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
