/* Reads a Hugging Face folder, on disk or anywhere else that can answer for its files (hf_folder.c). */
#ifndef DEROPE_FORMATS_HF_FOLDER_H
#define DEROPE_FORMATS_HF_FOLDER_H

#include "formats/checkpoint.h"

/* Where a Hugging Face folder's files are: on disk, or in a zip. */
typedef struct Folder {
    const char *path; /* for messages */
    void *context;
    bool (*has)(const struct Folder *f, const char *name);
    /* A file's bytes, for as long as the checkpoint lives; NULL with an error. */
    const ByteSource *(*map)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds the tensors of one file. */
    bool (*read_weights)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds every companion. */
    bool (*read_side_files)(const struct Folder *f, Checkpoint *c, Error *e);
} Folder;

/* config.json and its companions, then model.safetensors, model.safetensors.index.json and its shards,
 * pytorch_model.bin or pytorch_model.bin.index.json, in that order of preference. */
bool hf_read_folder(Checkpoint *c, const Folder *f, Error *e);
/* The same of a folder on disk. */
bool hf_read(Checkpoint *c, const char *folder, Error *e);
/* The companions alone. */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e);
/* True for a name that a folder keeps weights (or an index of them) under, in whatever framework. */
bool hf_is_weights(const char *name);

#endif
