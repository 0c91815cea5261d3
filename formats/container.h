/* One file of weights, of whichever container format its first bytes show (container.c). Used by
 * checkpoint_open for single files and by formats/hf_folder.h for the weights within a folder, which may be
 * safetensors or PyTorch. */
#ifndef DEROPE_FORMATS_CONTAINER_H
#define DEROPE_FORMATS_CONTAINER_H

#include "formats/checkpoint.h"

typedef enum ContainerKind {
    CONTAINER_UNKNOWN,
    CONTAINER_GGUF,        /* begins with "GGUF" */
    CONTAINER_SAFETENSORS, /* begins with a length of 8 bytes and '{' */
    CONTAINER_ZIP,         /* begins with "PK\3\4": a PyTorch checkpoint, or a Hugging Face folder in a zip */
} ContainerKind;

/* Reads the first bytes of the file `path` and says what they are. Fails only if they cannot be read. */
bool container_kind(const char *path, ContainerKind *out, Error *e);

/* Adds the tensors of one file to `c` and sets c->format. A zip file has to be a PyTorch checkpoint here.
 * ERR_INPUT if the file is of no known kind; the message says what it is if it is something that people try
 * often, such as a Git LFS pointer or a GGML file older than GGUF. */
bool container_read(Checkpoint *c, const char *path, Error *e);

/* Does the same with a mapped range of bytes, such as an entry of a zip, that outlives the checkpoint. */
bool container_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
