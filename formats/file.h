/* Opening and reading of files, with errors that name them (file.c). Large files are mapped with
 * checkpoint_map (formats/checkpoint.h) instead; formats/output.h writes files. */
#ifndef DEROPE_FORMATS_FILE_H
#define DEROPE_FORMATS_FILE_H

#include <limits.h>
#include <stdint.h>

#include "formats/buffer.h"
#include "formats/error.h"

/* Opens a file for reading and returns its descriptor, or -1 with an error. `flags` are added to O_RDONLY:
 * O_NONBLOCK where `path` may be a FIFO, which would block until somebody writes to it, else 0. */
int file_open(const char *path, int flags, Error *e);

/* Opens a file of an output, which must exist, for writing; `flags` are added to O_WRONLY, such as
 * O_CREAT | O_EXCL for one that must not exist. -1 with an error on failure. */
int file_open_output(const char *path, int flags, Error *e);

/* Closes what file_open_output opened. False with an error about `path` if written bytes may be lost. */
bool file_close_output(int fd, const char *path, Error *e);

/* Reports errno as an error about `path` and returns false. A file that is absent or is a folder counts as a
 * wrong input (ERR_INPUT), anything else as a failure of the machine (ERR_FAILED). */
bool file_error(const char *path, Error *e);

/* Finds the file that is mapped at this address of the program's memory and writes its absolute path to
 * `path`. False if there is none, or if /proc cannot be read. Calls only what a signal handler may call. */
bool file_mapped_at(const void *address, char path[PATH_MAX]);

/* Appends the content of a file to `out`. ERR_INPUT if it has more than `limit` bytes. */
bool file_read(const char *path, uint64_t limit, Buffer *out, Error *e);

#endif
