/* A hash table from names to positions in a list (name_table.c): tensors, keys of a GGUF, files. Files from
 * strangers may have any number of names, so no list of names is searched from its beginning. */
#ifndef DEROPE_FORMATS_NAME_TABLE_H
#define DEROPE_FORMATS_NAME_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/buffer.h"

/* Initialise to zeros; name_table_free makes it all zeros again. */
typedef struct NameTable {
    struct NameSlot *slots; /* (capacity) open addressing, at most half full */
    size_t capacity;        /* a power of two, or 0 */
    size_t n;               /* names */
    uint64_t seed;          /* of the hash */
} NameTable;

/* What name_table_find returns for a name that is not there. */
#define NAME_ABSENT SIZE_MAX

/* Adds a name with its position. The name is not copied and has to live as long as the table. False, and
 * nothing changes, if the name is there already. Running out of memory ends the program. */
bool name_table_add(NameTable *t, const char *name, size_t position);
/* The position of a name, or NAME_ABSENT. */
size_t name_table_find(const NameTable *t, const char *name);
void name_table_free(NameTable *t);

/* A seed for the hash of a table whose memory was allocated at `table`. Addresses differ from run to run, so
 * the author of a file cannot choose names that all have one hash. Results never depend on it. */
uint64_t hash_seed(const void *table);

#endif
