/* The readers behind checkpoint_open, one per container. Each adds to an empty checkpoint or fails with an
 * ERR_INPUT that names file, offset, what was found and what was expected. */
#ifndef DEROPE_FORMATS_CONTAINERS_H
#define DEROPE_FORMATS_CONTAINERS_H

#include "formats/checkpoint.h"

/* One file of any kind below, told apart by its first bytes, never by its name; sets c->format. */
bool container_read(Checkpoint *c, const char *path, Error *e);
/* A folder: config.json and its companions, then model.safetensors, model.safetensors.index.json and its
 * shards, pytorch_model.bin or pytorch_model.bin.index.json, in that order of preference. */
/* True for a name that a folder keeps weights (or an index of them) under, in whatever framework. */
bool hf_is_weights(const char *name);
/* The companions alone. */
bool hf_read_side_files(Checkpoint *c, const char *folder, Error *e);
bool hf_read(Checkpoint *c, const char *folder, Error *e);
/* One safetensors file (header: https://github.com/huggingface/safetensors, "Format"). */
bool safetensors_read(Checkpoint *c, const char *path, Error *e);
/* GGUF v2 or v3, little-endian (ggml docs/gguf.md); of a split one the first part, the others lie beside it.
 */
bool gguf_read(Checkpoint *c, const char *path, Error *e);
/* The same from bytes that outlive the checkpoint. */
bool gguf_parse(Checkpoint *c, const ByteSource *file, Error *e);
/* The other way: the keys of `c` as a GGUF without tensors. */
void gguf_print_keys(const Checkpoint *c, Buffer *out);
/* A state dict saved by torch.save in its zip form. */
bool torch_zip_read(Checkpoint *c, const char *path, Error *e);

#endif
