/* Reads a safetensors file (safetensors.c). */
#ifndef DEROPE_FORMATS_SAFETENSORS_H
#define DEROPE_FORMATS_SAFETENSORS_H

#include "formats/checkpoint.h"

/* One safetensors file (header: https://github.com/huggingface/safetensors, "Format"). */
bool safetensors_read(Checkpoint *c, const char *path, Error *e);
bool safetensors_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
