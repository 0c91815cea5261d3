/* Writes the files of a Hugging Face folder into one zip (hf_zip_write.c). */
#ifndef DEROPE_FORMATS_HF_ZIP_WRITE_H
#define DEROPE_FORMATS_HF_ZIP_WRITE_H

#include "formats/hf_files.h"

/* Writes a zip into the existing empty file `temp`; `path` is its final name, for messages. All entries are
 * stored, and those with tensors are aligned to 64 bytes, so that readers can map weights in place. Dates are
 * constant, so that equal inputs give equal bytes; zip64 fields are used where sizes require them. Fills the
 * hash of each tensor. */
bool hf_zip_write(Checkpoint *c, const HfFiles *files, const char *temp, const char *path,
                  const WriteOptions *o, Error *e);

#endif
