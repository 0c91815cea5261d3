/* What figures were measured on. */
#ifndef DEROPE_CMD_MACHINE_H
#define DEROPE_CMD_MACHINE_H

#include <jansson.h>

/* {"cpu", "features", "cores", "memory_gb"}. New reference. */
json_t *machine_json(void);

#endif
