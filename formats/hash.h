/* XXH3-128 of bytes, of streams and of files (hash.c).
 *
 * Digests are 32 lower-case hexadecimal digits and a zero byte. The byte order is xxHash's canonical one, the
 * order that `xxhsum -H2` prints, so users can check manifests with that tool. The hash detects damage; it is
 * not cryptographic and proves nothing against a forger. */
#ifndef DEROPE_FORMATS_HASH_H
#define DEROPE_FORMATS_HASH_H

#include <stddef.h>

#include "formats/error.h"

typedef struct Hash Hash;

/* A hash of a stream: new, any number of updates, finish. Finishing writes the digest and frees the hash. */
Hash *hash_new(void);
void hash_update(Hash *h, const void *bytes, size_t n);
void hash_finish(Hash *h, char out[33]);

void hash_bytes(const void *bytes, size_t n, char out[33]);
/* Fails as file_open and read() do. */
bool hash_file(const char *path, char out[33], Error *e);

#endif
