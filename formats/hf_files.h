/* The files of a Hugging Face folder about to be written, and the two places they can go to. */
#ifndef DEROPE_FORMATS_HF_FILES_H
#define DEROPE_FORMATS_HF_FILES_H

#include "formats/checkpoint.h"

/* Bytes in memory, then the served bytes of tensors. */
typedef struct HfFile {
    const char *name;
    const uint8_t *bytes;
    uint64_t n_bytes;
    Tensor **tensors; /* in the list's own table */
    size_t n_tensors;
    uint64_t tensor_bytes; /* of all of them */
    bool is_manifest;      /* its text is asked for once the tensors before it have their hashes */
} HfFile;

typedef struct HfFiles {
    HfFile *files; /* weights first, derope.json last */
    size_t n;
    Tensor **tensors;
    Arena arena; /* names and texts */
} HfFiles;

/* derope.json as `o` gives it. */
bool hf_manifest_text(Checkpoint *c, const WriteOptions *o, Buffer *out, Error *e);
/* Fills `temp`, which is there, with a zip: stored entries, weights aligned to 64 bytes so that they can be
 * read in place, one date for all, zip64 where sizes ask for it. `path`: its name for messages. */
bool hf_zip_write(Checkpoint *c, const HfFiles *files, const char *temp, const char *path,
                  const WriteOptions *o, Error *e);

#endif
