/* The readers behind checkpoint_open, one per container. Each adds to an empty checkpoint or fails with an
 * ERR_INPUT that names file, offset, what was found and what was expected. */
#ifndef DEROPE_FORMATS_CONTAINERS_H
#define DEROPE_FORMATS_CONTAINERS_H

#include "formats/zip_map.h"

/* One file of any kind below, told apart by its first bytes, never by its name; sets c->format. */
bool container_read(Checkpoint *c, const char *path, Error *e);
/* The same of bytes that outlive the checkpoint: a file in a zip, which may not be a zip of a folder. */
bool container_parse(Checkpoint *c, const ByteSource *file, Error *e);

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
/* One safetensors file (header: https://github.com/huggingface/safetensors, "Format"). */
bool safetensors_read(Checkpoint *c, const char *path, Error *e);
bool safetensors_parse(Checkpoint *c, const ByteSource *file, Error *e);
/* GGUF v2 or v3, little-endian (ggml docs/gguf.md). Of a split file the first part; the others lie beside. */
bool gguf_read(Checkpoint *c, const char *path, Error *e);
/* The same from bytes that outlive the checkpoint. */
bool gguf_parse(Checkpoint *c, const ByteSource *file, Error *e);
/* The other way: the keys of `c` as a GGUF without tensors. */
void gguf_print_keys(const Checkpoint *c, Buffer *out);
/* A state dict saved by torch.save in its zip form. */
bool torch_zip_read(Checkpoint *c, const char *path, Error *e);
bool torch_zip_parse(Checkpoint *c, ZipMap *zip, Error *e);
bool torch_zip_is(const ZipMap *zip); /* has a NAME/data.pkl */
/* A zip of either kind, told apart by what is in it. */
bool zip_read(Checkpoint *c, const char *path, bool without_weights, Error *e);
/* A Hugging Face folder in a zip, at its root or in the one folder that it holds. Weights have to be stored
 * and are read in place; other files may be deflated. */
bool hf_zip_parse(Checkpoint *c, ZipMap *zip, bool without_weights, Error *e);

#endif
