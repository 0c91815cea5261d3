/* A file's bytes in pieces; .gz and .zst are unpacked on the way, and told by name. */
#ifndef DEROPE_RECAL_UNPACK_H
#define DEROPE_RECAL_UNPACK_H

#include "formats/buffer.h"

typedef struct Unpack Unpack;

Unpack *unpack_open(const char *path, Error *e);
/* Appends a piece (at most 256 KB) to `out`, nothing when the file has ended. A file that is damaged or
 * ends in the middle is an ERR_INPUT with the place. */
bool unpack_more(Unpack *u, Buffer *out, Error *e);
void unpack_close(Unpack *u);

#endif
