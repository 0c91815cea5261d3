/* Files read by path, with errors that name it (file.c). */
#ifndef DEROPE_FORMATS_FILE_H
#define DEROPE_FORMATS_FILE_H

#include <stdint.h>

#include "formats/buffer.h"
#include "formats/error.h"

/* Opens for reading; -1 with an error that names the path. `flags`: O_NONBLOCK where a FIFO must not hold us
 * up, else 0. */
int file_open(const char *path, int flags, Error *e);
/* The error of errno: what is absent or no file is a bad input, other trouble is the machine's. */
bool file_error(const char *path, Error *e);

/* Whole small file into `out`; refuses more than `limit` bytes. */
bool file_read(const char *path, uint64_t limit, Buffer *out, Error *e);

#endif
