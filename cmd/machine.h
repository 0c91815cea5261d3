/* The machine that something was measured on. */
#ifndef DEROPE_CMD_MACHINE_H
#define DEROPE_CMD_MACHINE_H

#include <jansson.h>

/* {"cpu": name, "features": "AVX2 AVX-512" or fewer, "cores": processors online, "memory_gb": 1e9 bytes}. New
 * reference. */
json_t *machine_json(void);

#endif
