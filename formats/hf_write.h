/* Writes a checkpoint as a Hugging Face folder, or as a zip of one (hf_write.c). */
#ifndef DEROPE_FORMATS_HF_WRITE_H
#define DEROPE_FORMATS_HF_WRITE_H

#include "formats/write_options.h"

/* Writes the tensors of `c` as safetensors, in several shards with an index if they exceed
 * o->max_shard_size, then its side files, then the manifest. Where `path` ends in .zip, the same files
 * become stored entries of one zip. Fills the hash of each tensor. The output appears under its name only
 * when it is complete (formats/output.h); after a failure nothing is left. ERR_FAILED if a tensor's type
 * has no safetensors name. */
bool hf_write(Checkpoint *c, const char *path, const WriteOptions *o, Error *e);

/* True if hf_write would make a zip of `path`: its name ends in ".zip". */
bool hf_is_zip(const char *path);

#endif
