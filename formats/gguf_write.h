/* Writes a checkpoint as one GGUF file of version 3 (gguf_write.c). The format is described in
 * formats/gguf.h. */
#ifndef DEROPE_FORMATS_GGUF_WRITE_H
#define DEROPE_FORMATS_GGUF_WRITE_H

#include "formats/write_options.h"

/* Writes key-values and tensors of `c` in their order. The manifest, if there is one, becomes the key
 * derope.manifest of `c`. Fills the hash of each tensor. The output appears under its name only when it is
 * complete (formats/output.h); after a failure nothing is left. ERR_FAILED if a tensor's type, rank (above 4)
 * or name (above 63 bytes) is not possible in a GGUF. */
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);

/* Appends to `out` a GGUF that holds the key-values of `c` and no tensors. */
void gguf_print_keys(const Checkpoint *c, Buffer *out);

#endif
