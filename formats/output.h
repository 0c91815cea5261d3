/* Files and folders written: a temporary name, fsync, rename (output.c). */
#ifndef DEROPE_FORMATS_OUTPUT_H
#define DEROPE_FORMATS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/error.h"

/* A file or folder being written under a temporary name in the same directory. */
typedef struct Output {
    char *path; /* final name */
    char *temp; /* name until output_commit */
    bool is_folder;
    bool force;
    int lock; /* a descriptor whose flock tells others that `temp` is being written; -1: none */
    struct Output *volatile next; /* of those begun and not committed */
} Output;

/* Whether output_begin would be let: nothing at `path` that `force` does not allow to be replaced, in a
 * folder that can be written to. For asking before long work. */
bool output_may_begin(const char *path, bool is_folder, bool force, Error *e);
/* Refuses an existing `path` unless `force`. Removes what killed processes left of it. Remembers `o`, which
 * must stay where it is until it is committed or discarded, so that a signal handler can remove the file. */
bool output_begin(Output *o, const char *path, bool is_folder, bool force, Error *e);
/* fsync (files in a folder too), rename over `path`, fsync the parent. */
bool output_commit(Output *o, Error *e);
/* Removes what was written; safe after any failure and after commit (then does nothing). */
void output_discard(Output *o);
/* Removes every output begun and not committed; async-signal-safe enough for a fatal handler. */
void output_discard_all(void);

/* write() until done; on failure the error names `path` and the offset. */
bool fd_write(int fd, const void *bytes, size_t n, const char *path, Error *e);
/* Writes a small file atomically. */
bool file_write(const char *path, const void *bytes, size_t n, bool force, Error *e);

#endif
