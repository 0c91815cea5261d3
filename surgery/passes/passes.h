/* All passes, and applying them by name. The head of surgery/pass.h says how to add one. */
#ifndef DEROPE_SURGERY_PASSES_PASSES_H
#define DEROPE_SURGERY_PASSES_PASSES_H

#include "surgery/pass.h"

/* In the order in which flags are applied; NULL-terminated. */
extern const Pass *const passes[];
/* NULL if there is none of that name. */
const Pass *pass_by_name(const char *name);
/* Checks the arguments, applies the pass, and records it in m->passes, from which the manifest is written. */
bool pass_apply(Model *m, const char *name, const json_t *args, Error *e);

/* Applies the passes of a JSON array [{"pass": name, arguments...}] in order; NULL is none. */
bool passes_apply(const json_t *list, Model *m, Error *e);

#endif
