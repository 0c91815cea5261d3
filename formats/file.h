/* Files in and out: mapped for reading; temporary name, fsync, rename for writing. */
#ifndef DEROPE_FORMATS_FILE_H
#define DEROPE_FORMATS_FILE_H

#include <stdio.h>

#include "formats/checkpoint.h"

/* A mapping kept by a checkpoint until it is closed. */
typedef struct Mapping {
    struct Mapping *next;
    ByteSource source;
    void (*close)(struct Mapping *m);
} Mapping;

/* Maps a regular file read-only and hangs it on `c`. An empty file maps to size 0. */
const ByteSource *checkpoint_map(Checkpoint *c, const char *path, Error *e);
/* Hangs a source of another kind (a zip entry) on `c`; close(m) is called by checkpoint_close. */
Mapping *checkpoint_hang(Checkpoint *c, const ByteSource *s, void (*close)(Mapping *));

/* Opens for reading; -1 with an error that names the path. `flags`: O_NONBLOCK where a FIFO must not hold us
 * up, else 0. */
int file_open(const char *path, int flags, Error *e);
/* The error of errno: what is absent or no file is a bad input, other trouble is the machine's. */
bool file_error(const char *path, Error *e);

/* Whole small file into `out`; refuses more than `limit` bytes. */
bool file_read(const char *path, uint64_t limit, Buffer *out, Error *e);

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
