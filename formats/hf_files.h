/* The files of a Hugging Face folder about to be written (hf_files.c). */
#ifndef DEROPE_FORMATS_HF_FILES_H
#define DEROPE_FORMATS_HF_FILES_H

#include "formats/write_options.h"

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

/* Lists the files that `c` is written as, in the order of writing. `f` is all zeros before, and is freed
 * after with hf_files_free, also where this fails. */
bool hf_files_list(HfFiles *f, Checkpoint *c, const WriteOptions *o, Error *e);
void hf_files_free(HfFiles *f);

/* derope.json as `o` gives it. */
bool hf_manifest_text(Checkpoint *c, const WriteOptions *o, Buffer *out, Error *e);

#endif
