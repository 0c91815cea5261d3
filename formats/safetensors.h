/* The reader of safetensors files, used by formats/container.c. It is defined in safetensors.c.
 *
 * A file of this format (README of huggingface/safetensors, section "Format") has three parts: the length N
 * of the header as a little-endian 64-bit integer, the header, which is a JSON object of N bytes, and the
 * data of all tensors. The header maps the name of each tensor to an object with the members "dtype" (such as
 * "BF16"), "shape" (a list of dimensions, slowest first) and "data_offsets" (a pair [begin, end] of byte
 * offsets from the start of the data). The key "__metadata__" is not a tensor; it maps strings to strings. */
#ifndef DEROPE_FORMATS_SAFETENSORS_H
#define DEROPE_FORMATS_SAFETENSORS_H

#include "formats/checkpoint.h"

/* Maps the file at `path` into memory and adds its tensors to `c`, in the order of their data. Its
 * __metadata__ is merged into c->st_metadata; for a key that an earlier shard has too, the value of this file
 * is kept. The whole header is checked before the first tensor is added, as in the reference implementation:
 * the ranges of the tensors must cover the data exactly, without hole or overlap, and the size of each range
 * must be the one that dtype and shape require. Returns false with ERR_INPUT if the file is wrong; the
 * message has the path and, if the mistake concerns one tensor, its name. */
bool safetensors_read(Checkpoint *c, const char *path, Error *e);

/* Works like safetensors_read, but reads a file that is already mapped, such as an entry of a zip. The mapped
 * bytes must stay valid for as long as `c` is used, because its tensors point into them. */
bool safetensors_parse(Checkpoint *c, const ByteSource *file, Error *e);

#endif
