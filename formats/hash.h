/* XXH3-128, streamed, as 32 lower-case hex digits (canonical byte order, what `xxhsum -H2` prints). */
#ifndef DEROPE_FORMATS_HASH_H
#define DEROPE_FORMATS_HASH_H

#include <stddef.h>

#include "formats/error.h"

typedef struct Hash Hash;

Hash *hash_new(void);
void hash_update(Hash *h, const void *bytes, size_t n);
/* Writes the digest and frees. */
void hash_finish(Hash *h, char out[33]);
void hash_bytes(const void *bytes, size_t n, char out[33]);
bool hash_file(const char *path, char out[33], Error *e);

#endif
