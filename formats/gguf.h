/* Reads GGUF files of version 2 and 3, little-endian (gguf.c).
 *
 * The format (ggml docs/gguf.md, "File Structure"): the magic "GGUF", the version, the numbers of tensors and
 * of key-values, the key-values, a table that gives each tensor's name, dimensions, type and offset, padding
 * to general.alignment, and the data. Versions 2 and 3 differ only in that 3 allows big-endian files, which
 * are refused here. */
#ifndef DEROPE_FORMATS_GGUF_H
#define DEROPE_FORMATS_GGUF_H

#include "formats/checkpoint.h"

/* Fills the empty `c` with key-values and tensors of the file. If llama-gguf-split has split the model,
 * `path` is the first file. The other files (NAME-00002-of-00005.gguf and so on) are read from the same
 * folder, and the split.* keys are removed, so that the result equals the model before it was split. Fails
 * with ERR_INPUT, naming file and offset, if anything contradicts the specification: counts, lengths, types,
 * dimensions, alignment, or data that overlaps, leaves a hole or passes the end of the file. */
bool gguf_read(Checkpoint *c, const char *path, Error *e);

/* Reads a GGUF file that is already mapped into the empty `c`. The bytes of `file` have to outlive `c`. Fails
 * like gguf_read, and also for a file of a split model, because its other files cannot be found. */
bool gguf_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
