/* Reads the pickle of a state dict (unpickle.c), without the means to execute anything.
 *
 * A pickle is a program for a stack machine, which in Python can import and call any function. This reader
 * knows only the opcodes that torch.save emits for state dicts (Python's pickletools.py describes them) and
 * only the names of formats/pickle_values.h (storages, element types, OrderedDict, the functions that rebuild
 * tensors), whose results it describes as data. A pickle that asks for anything else is refused, and the
 * message names what it asked for. */
#ifndef DEROPE_FORMATS_UNPICKLE_H
#define DEROPE_FORMATS_UNPICKLE_H

#include "formats/pickle_values.h"

enum { PICKLE_LIMIT = 32 << 20 }; /* bytes; larger pickles are refused. One with 60,000 tensors takes 12 MB */

/* Returns the value that the pickle of `n` bytes builds. Values come from `a`; their texts point into
 * `bytes`. Dicts and lists may contain themselves, so callers that walk them have to bound the depth. NULL
 * with ERR_INPUT, "WHERE: offset N: ...". */
const PickleValue *unpickle(Arena *a, const char *where, const uint8_t *bytes, uint64_t n, Error *e);

#endif
