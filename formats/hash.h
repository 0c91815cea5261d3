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

/* Hashes a stream: call hash_new once, hash_update for each piece in order, and hash_finish at the end.
 * hash_finish writes the digest to `out` and frees the hash. */
Hash *hash_new(void);
void hash_update(Hash *h, const void *bytes, size_t n);
void hash_finish(Hash *h, char out[33]);

/* Hashes `n` bytes in memory. */
void hash_bytes(const void *bytes, size_t n, char out[33]);
/* Hashes the content of a file. Fails with ERR_INPUT if it does not exist and with ERR_FAILED if reading
 * fails (formats/file.h). */
bool hash_file(const char *path, char out[33], Error *e);

#endif
