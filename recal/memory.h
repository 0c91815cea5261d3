/* What the machine can still give, asked before a long run begins rather than found out in the middle. */
#ifndef DEROPE_RECAL_MEMORY_H
#define DEROPE_RECAL_MEMORY_H

#include <stdint.h>

#include "formats/error.h"

/* Bytes available without swapping: the least of MemAvailable and the cgroup's room. 0 if unknown. */
uint64_t memory_available(void);
/* Refuses with both figures if `bytes` are more than that. `what` begins the message. */
bool memory_check(uint64_t bytes, const char *what, Error *e);

#endif
