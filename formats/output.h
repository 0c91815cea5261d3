/* Files and folders that appear complete or not at all (output.c).
 *
 * An output is written under a temporary name, ".NAME.tmp-PID", in the folder of its final name, flushed to
 * disk and renamed. Readers therefore never see half a model, and a crash leaves the earlier output as it
 * was. The writing process holds a lock (flock) on the temporary file, so that a later run can tell what
 * killed processes have left behind and remove it.
 *
 * A file that is replaced is the one file that the user has named. A folder may hold files of the user's
 * beside derope's; formats/output_folder.h says how it is replaced without losing them. */
#ifndef DEROPE_FORMATS_OUTPUT_H
#define DEROPE_FORMATS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/error.h"

typedef struct Output {
    char *path; /* final name, in canonical form (formats/path.h) */
    char *name; /* the final name as it was given, for messages */
    char *temp; /* name until output_commit; NULL afterwards */
    bool is_folder;
    bool force;                   /* an existing output may be replaced */
    int lock;                     /* descriptor that holds the lock on `temp`; -1: none */
    struct Output *volatile next; /* list of the outputs begun and not committed, for output_discard_all */
} Output;

/* Checks what output_begin would check, without creating anything, so that a mistake shows before hours of
 * work: whether `path` is free or may be replaced, and whether the folder that holds it can be written to. */
bool output_may_begin(const char *path, bool is_folder, bool force, Error *e);

/* Creates the temporary file or folder of an output. ERR_FAILED if `path` exists and `force` is not set, if
 * it is a file where a folder is to be written or the reverse, or if it is a folder that derope did not write
 * and that is not empty. Removes or finishes what killed processes left of this output. `o` must stay at its
 * address until it is committed or discarded. */
bool output_begin(Output *o, const char *path, bool is_folder, bool force, Error *e);

/* Checks, before a file `file` ("config.json") is written into a folder output, that it replaces nothing that
 * derope did not write. */
bool output_has_room(const Output *o, const char *file, Error *e);

/* Finishes what a process that was killed while it replaced the folder `path` has begun, so that the folder
 * can be read. output_begin does this too. */
bool output_recover(const char *path, Error *e);

/* Flushes the output to disk, renames it to its final name and flushes the folder. The caller has closed the
 * files. */
bool output_commit(Output *o, Error *e);

/* Removes the temporary file or folder and frees `o`. To be called after each output_begin that succeeded,
 * also after output_commit, when there is nothing left to remove. */
void output_discard(Output *o);

/* Removes all outputs that were begun and not committed. For the moment before the process ends: it allocates
 * no memory and may be called by the handler of a signal. */
void output_discard_all(void);

/* Calls write() until all `n` bytes are written. The error names `path` and the offset. */
bool fd_write(int fd, const void *bytes, size_t n, const char *path, Error *e);

/* Writes a whole small file as an output. */
bool file_write(const char *path, const void *bytes, size_t n, bool force, Error *e);

#endif
