/* Reads a GGUF file (gguf.c). */
#ifndef DEROPE_FORMATS_GGUF_H
#define DEROPE_FORMATS_GGUF_H

#include "formats/checkpoint.h"

/* GGUF v2 or v3, little-endian (ggml docs/gguf.md). Of a split file the first part; the others lie beside. */
bool gguf_read(Checkpoint *c, const char *path, Error *e);
/* The same from bytes that outlive the checkpoint. */
bool gguf_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
