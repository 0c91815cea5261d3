/* Reads files piece by piece and decompresses them on the way, so that memory does not grow with the file.
 * What a file is follows from its name: .gz is gzip (RFC 1952), .zst is Zstandard (RFC 8878), anything else
 * is read as it is. */
#ifndef DEROPE_RECAL_DECOMPRESS_H
#define DEROPE_RECAL_DECOMPRESS_H

#include "formats/buffer.h"

typedef struct Decompressor Decompressor;

/* Opens a file; `path` is borrowed until the reader is closed. NULL with an error, also for a folder. */
Decompressor *decompressor_open(const char *path, Error *e);
/* Appends the next piece, at most 256 KB, to `out`; appends nothing once the file has ended. A file that is
 * damaged or ends inside its compressed data is an ERR_INPUT that names the offset in the file. */
bool decompressor_read(Decompressor *u, Buffer *out, Error *e);
void decompressor_close(Decompressor *u);

#endif
