/* How much memory is available. A long run asks before it begins, because Linux overcommits: an allocation
 * that is too large succeeds, and the process is killed later, in the middle of its work. */
#ifndef DEROPE_RECAL_MEMORY_H
#define DEROPE_RECAL_MEMORY_H

#include <stdint.h>

#include "formats/error.h"

/* Bytes that can be used without swapping: MemAvailable of /proc/meminfo, or what the process's cgroup (a
 * container's limit) leaves, whichever is less. 0 if neither is known. */
uint64_t memory_available(void);
/* False with ERR_FAILED if `bytes` are more than that; the message begins with `what` and states both
 * figures. True if it is not known. */
bool memory_check(uint64_t bytes, const char *what, Error *e);

#endif
