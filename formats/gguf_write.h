/* Writes a checkpoint as one GGUF file of version 3 (gguf_write.c). The format is described in
 * formats/gguf.h. */
#ifndef DEROPE_FORMATS_GGUF_WRITE_H
#define DEROPE_FORMATS_GGUF_WRITE_H

#include "formats/write_options.h"

/* Writes the key-values and tensors of `c` to the file `path`, in their order in `c`. If `o` has a manifest
 * function, the manifest is added to `c` and to the file as the key derope.manifest. Fills the hash of each
 * tensor. The output appears under its name only when it is complete (formats/output.h), and a failure leaves
 * no file behind. Fails with ERR_FAILED if a GGUF cannot hold a tensor: a type without a ggml number, a rank
 * above 4, or a name of more than 63 bytes. */
bool gguf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);

/* Appends to `out` a GGUF that holds the key-values of `c` and no tensors. */
void gguf_print_keys(const Checkpoint *c, Buffer *out);

#endif
