/* What llama.cpp makes of each key of an architecture, and what follows for a reader that does not compute
 * all of it (arch_check.c). A key that changes the result and that derope does not compute is an error unless
 * it has the value that changes nothing. A key that llama.cpp passes over is a notice. */
#ifndef DEROPE_SURGERY_ARCH_CHECK_H
#define DEROPE_SURGERY_ARCH_CHECK_H

#include "formats/checkpoint.h"

/* Checks all keys of the architecture of `c`, whose general.architecture is one of derope's families.
 * ERR_INPUT, naming the key, if llama.cpp would not load the file because of it (a required key is missing,
 * or has another type), or if it asks for something that derope does not compute. Keys without effect are
 * listed in at most two sentences in `notices` (surgery/notices.h), which may be NULL. */
bool arch_check_keys(const Checkpoint *c, json_t *notices, Error *e);

/* True if llama.cpp reads the key "ARCH.SUFFIX" of this architecture. */
bool arch_reads_key(const char *arch, const char *suffix);

#endif
