/* Writes a checkpoint as a Hugging Face folder, or as a zip of one (hf_write.c). */
#ifndef DEROPE_FORMATS_HF_WRITE_H
#define DEROPE_FORMATS_HF_WRITE_H

#include "formats/write_options.h"

/* Writes under a temporary name beside `path`, fsyncs and renames; on failure nothing remains. The
 * checkpoint's tensors get their hashes. A `path` that ends in .zip makes one zip of the folder. */
bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);
/* True if `path` ends in .zip. */
bool hf_is_zip(const char *path);

#endif
