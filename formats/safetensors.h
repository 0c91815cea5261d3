/* Reads a safetensors file (safetensors.c).
 *
 * The format (README of huggingface/safetensors, "Format"): the length N of the header as a little-endian
 * u64, a JSON object of N bytes, then the data. The object maps each tensor's name to {"dtype", "shape",
 * "data_offsets": [begin, end]}, with offsets relative to the data, and "__metadata__" to an object of
 * strings. */
#ifndef DEROPE_FORMATS_SAFETENSORS_H
#define DEROPE_FORMATS_SAFETENSORS_H

#include "formats/checkpoint.h"

/* Adds the tensors of the file to `c`, in the order of their data, and merges its __metadata__ into
 * c->st_metadata. Like the reference implementation, the reader validates the header as a whole before it
 * adds a tensor: the data ranges cover the data exactly, without hole or overlap, and each has the size that
 * dtype and shape require. Errors are ERR_INPUT and name the tensor. */
bool safetensors_read(Checkpoint *c, const char *path, Error *e);

/* Does the same with mapped bytes that outlive the checkpoint. */
bool safetensors_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
