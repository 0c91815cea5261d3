/* Reads a Hugging Face folder (hf_folder.c).
 *
 * Such a folder holds config.json, tokenizer files and weights, in one file (model.safetensors,
 * pytorch_model.bin) or in shards. Sharded weights come with an index, model.safetensors.index.json, whose
 * "weight_map" names the shard of each tensor. The folder may lie on disk or in a zip file
 * (formats/hf_zip.h); struct Folder is what the two have in common. */
#ifndef DEROPE_FORMATS_HF_FOLDER_H
#define DEROPE_FORMATS_HF_FOLDER_H

#include "formats/checkpoint.h"

/* Access to the files of a folder. `name` is always a plain file name within it. */
typedef struct Folder {
    const char *path; /* for messages */
    void *context;    /* of the functions below */
    bool (*has)(const struct Folder *f, const char *name);
    /* The bytes of a file, valid as long as the checkpoint; NULL with an error. */
    const ByteSource *(*map)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds the tensors of one weights file to the checkpoint. */
    bool (*read_weights)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds each file that is neither hidden nor weights as a side file. */
    bool (*read_side_files)(const struct Folder *f, Checkpoint *c, Error *e);
} Folder;

/* Fills the empty `c` from a folder: all side files, then the weights, from the first of model.safetensors,
 * model.safetensors.index.json and its shards, pytorch_model.bin, and pytorch_model.bin.index.json and its
 * shards that is there. Index and shards must agree exactly: each tensor lies in the shard that the index
 * names, and none is missing or extra; otherwise ERR_INPUT. */
bool hf_read_folder(Checkpoint *c, const Folder *f, Error *e);

/* Does the same with a folder on disk. */
bool hf_read(Checkpoint *c, const char *folder, Error *e);

/* Adds the side files of a folder on disk to `c`, and no weights. */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e);

/* True for names under which folders keep weights or an index of them, in any framework (".safetensors",
 * ".bin",
 * ".h5", ".index.json", ...). Such files are not side files. */
bool hf_is_weights(const char *name);

#endif
