/* The hidden names beside an output, ".NAME.tmp-PID" and ".NAME.old-PID" (temp_names.c). Processes that were
 * killed may leave files under such names, which later runs look for. */
#ifndef DEROPE_FORMATS_TEMP_NAMES_H
#define DEROPE_FORMATS_TEMP_NAMES_H

#include <stdbool.h>

#include "formats/error.h"

/* What is being written. It holds nothing of the user's and may be removed. */
#define TEMP_NEW "tmp"
/* A folder that is being replaced. It may hold files of the user's. */
#define TEMP_OLD "old"

/* "FOLDER/.NAME.SUFFIX-PID" for "FOLDER/NAME", with the process's own number. The leading dot hides it from
 * listings and from readers of model folders. The result is freed with free(). */
char *temp_name(const char *path, const char *suffix);

/* Calls `visit` for every entry beside `path` that has a name of this suffix, with any process's number,
 * unless another process holds a lock (flock) on it. The entry is locked during the call. Stops and returns
 * false if `visit` returns false. */
bool temp_names_each(const char *path, const char *suffix,
                     bool (*visit)(const char *temp, const char *path, Error *e), Error *e);

#endif
