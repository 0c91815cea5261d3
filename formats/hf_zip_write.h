/* Writes the files of a Hugging Face folder into one zip (hf_zip_write.c). */
#ifndef DEROPE_FORMATS_HF_ZIP_WRITE_H
#define DEROPE_FORMATS_HF_ZIP_WRITE_H

#include "formats/hf_files.h"

/* Fills `temp`, which is there, with a zip: stored entries, weights aligned to 64 bytes so that they can be
 * read in place, one date for all, zip64 where sizes ask for it. `path`: its name for messages. */
bool hf_zip_write(Checkpoint *c, const HfFiles *files, const char *temp, const char *path,
                  const WriteOptions *o, Error *e);

#endif
