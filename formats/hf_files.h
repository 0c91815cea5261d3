/* The files that a checkpoint consists of as a Hugging Face folder, listed with their sizes before anything
 * is written (hf_files.c). hf_write.c writes the list to disk and hf_zip_write.c writes it into a zip. */
#ifndef DEROPE_FORMATS_HF_FILES_H
#define DEROPE_FORMATS_HF_FILES_H

#include "formats/write_options.h"

/* A file, described as bytes in memory followed by the data of tensors. In a safetensors shard the bytes in
 * memory are the header. All other files have no tensors. */
typedef struct HfFile {
    const char *name;     /* within the folder; parts of a path are separated by "/" */
    const uint8_t *bytes; /* (n_bytes) */
    uint64_t n_bytes;
    Tensor **tensors; /* (n_tensors), a range of HfFiles.tensors */
    size_t n_tensors;
    uint64_t tensor_bytes; /* the sum of their sizes */
    bool is_manifest; /* true for derope.json, whose text contains the hashes of the tensors and is therefore
                         made after the files before it have been written */
} HfFile;

typedef struct HfFiles {
    HfFile *files; /* (n) in the order of writing: shards, index, side files, manifest */
    size_t n;
    Tensor **tensors; /* the checkpoint's tensors, shard after shard */
    Arena arena;      /* owns names and texts */
} HfFiles;

/* Lists the files that a Hugging Face folder of `c` consists of, and sets c->weight_files. `f` must be all
 * zeros before the call and be freed with hf_files_free afterwards, even if the call fails. ERR_FAILED if a
 * tensor's type is not possible in safetensors, ERR_INPUT if a side file has a name that leads out of the
 * folder or belongs to the weights. */
bool hf_files_list(HfFiles *f, Checkpoint *c, const WriteOptions *o, Error *e);
void hf_files_free(HfFiles *f);

/* Appends the text of derope.json, as o->manifest makes it, to `out`. */
bool hf_manifest_text(Checkpoint *c, const WriteOptions *o, Buffer *out, Error *e);

#endif
