/* Reads a Hugging Face folder (hf_folder.c).
 *
 * Such a folder holds config.json, tokenizer files and weights, in one file (model.safetensors,
 * pytorch_model.bin) or in shards. Sharded weights come with an index, model.safetensors.index.json, whose
 * "weight_map" names the shard of each tensor. The folder may lie on disk or in a zip file
 * (formats/hf_zip.h); struct Folder is the interface through which both are read. */
#ifndef DEROPE_FORMATS_HF_FOLDER_H
#define DEROPE_FORMATS_HF_FOLDER_H

#include "formats/checkpoint.h"

/* Access to the files of a folder. `name` is always a plain file name within it. */
typedef struct Folder {
    const char *path; /* for messages */
    void *context;    /* passed along for the functions below, which know its type */
    /* True if the folder has a file of this name. */
    bool (*has)(const struct Folder *f, const char *name);
    /* The bytes of a file, valid as long as the checkpoint; NULL with an error. */
    const ByteSource *(*map)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds the tensors of one weights file to the checkpoint. */
    bool (*read_weights)(const struct Folder *f, Checkpoint *c, const char *name, Error *e);
    /* Adds each file that is neither hidden nor weights as a side file, also those of folders within. */
    bool (*read_side_files)(const struct Folder *f, Checkpoint *c, Error *e);
} Folder;

/* Fills the empty `c` from a folder: first all side files, then the weights. The weights are looked for in
 * this order, and the first that exists is read: model.safetensors; the shards of
 * model.safetensors.index.json; pytorch_model.bin; the shards of pytorch_model.bin.index.json. Index and
 * shards must agree exactly: each tensor lies in the shard that the index names, and none is missing or
 * extra; otherwise ERR_INPUT. */
bool hf_read_folder(Checkpoint *c, const Folder *f, Error *e);

/* Fills the empty `c` from the folder on disk at path `folder`. Reads and fails like hf_read_folder. */
bool hf_read(Checkpoint *c, const char *folder, Error *e);

/* Adds only the side files of a folder on disk to `c`; no weights are read. Those of folders within it are
 * named "FOLDER/FILE". Left out, and named in c->not_carried, are weights there, files larger than 64 MiB,
 * and folders that are models of their own (they have a config.json). */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e);

/* Whether `name` may be the name of a side file: a path of plain names with "/" between, at most five, none
 * hidden. Such a name cannot lead out of a folder. */
bool hf_side_file_name(const char *name);
/* Whether a side file in a folder within the model's is carried; if not, it is entered in c->not_carried. */
bool hf_carries_nested(Checkpoint *c, const char *name, uint64_t size);
/* Enters a name in c->not_carried. */
void hf_leave_out(Checkpoint *c, const char *name);

/* True if the name is one of weights or of an index of weights, in any framework (".safetensors", ".bin",
 * ".h5", ".index.json", ...). Such files are not side files. */
bool hf_is_weights(const char *name);

#endif
