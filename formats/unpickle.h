/* The pickles that torch.save writes for a state dict, as plain values. This is no pickle machine: it knows
 * the opcodes such files hold and a table of names (storages, element types, OrderedDict, the functions that
 * rebuild a tensor); a pickle that asks for anything else is refused by name. Nothing is ever called.
 *
 * Opcodes: Python's pickletools; ids and rebuild functions: torch/serialization.py, torch/_utils.py. */
#ifndef DEROPE_FORMATS_UNPICKLE_H
#define DEROPE_FORMATS_UNPICKLE_H

#include "formats/pickle_values.h"

enum { PICKLE_LIMIT = 32 << 20 }; /* bytes; a state dict of 60,000 tensors takes 12 MB */

/* The value of the pickle `bytes` (which the value's strings point into), made in `a`. Dicts and lists may
 * contain themselves: who walks them bounds the depth. Messages begin with `where` and the offset. */
const PickleValue *unpickle(Arena *a, const char *where, const uint8_t *bytes, uint64_t n, Error *e);

#endif
