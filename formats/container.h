/* One file of weights of any kind (container.c). */
#ifndef DEROPE_FORMATS_CONTAINER_H
#define DEROPE_FORMATS_CONTAINER_H

#include "formats/checkpoint.h"

/* One file of any kind below, told apart by its first bytes, never by its name; sets c->format. */
bool container_read(Checkpoint *c, const char *path, Error *e);
/* The same of bytes that outlive the checkpoint: a file in a zip, which may not be a zip of a folder. */
bool container_parse(Checkpoint *c, const ByteSource *file, Error *e);

/* What the first bytes of a file say that it is. */
typedef enum ContainerKind {
    CONTAINER_UNKNOWN,
    CONTAINER_GGUF,
    CONTAINER_SAFETENSORS,
    CONTAINER_ZIP, /* PyTorch's, or a Hugging Face folder in a zip */
} ContainerKind;

bool container_kind(const char *path, ContainerKind *out, Error *e);

#endif
