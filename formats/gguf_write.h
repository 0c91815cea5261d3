/* Writes a checkpoint as one GGUF v3 file (gguf_write.c). */
#ifndef DEROPE_FORMATS_GGUF_WRITE_H
#define DEROPE_FORMATS_GGUF_WRITE_H

#include "formats/write_options.h"

/* Writes under a temporary name beside `path`, fsyncs and renames; on failure nothing remains. The
 * checkpoint's tensors get their hashes. */
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);
/* The keys of `c` as a GGUF without tensors, appended to `out`. */
void gguf_print_keys(const Checkpoint *c, Buffer *out);

#endif
