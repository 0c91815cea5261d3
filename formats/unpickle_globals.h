/* The names a state dict's pickle may import, and what is made of them. Inside formats/unpickle only.
 * Each function returns NULL with a reason in `why`. */
#ifndef DEROPE_FORMATS_UNPICKLE_GLOBALS_H
#define DEROPE_FORMATS_UNPICKLE_GLOBALS_H

#include "formats/unpickle.h"

const struct PickleGlobal *pickle_global(const char *module, uint32_t n_module, const char *name,
                                         uint32_t n_name, char *why, size_t why_size);
/* From the persistent id ('storage', type, key, location, elements). */
const PickleStorage *pickle_storage(Arena *a, const PickleValue *id, char *why, size_t why_size);
/* What `function` makes of the tuple `arguments`: `blank` filled, or one of the arguments. */
PickleValue *pickle_build(Arena *a, const struct PickleGlobal *function, const PickleValue *arguments,
                          PickleValue *blank, char *why, size_t why_size);

#endif
