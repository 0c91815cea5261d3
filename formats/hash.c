/* XXH3-128 through libxxhash: see formats/hash.h. The hashes in manifests are compared by `derope verify`;
 * they protect against damage, not against forgery. The algorithm is specified in xxHash's
 * doc/xxhash_spec.md. */
#include "formats/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "formats/file.h"

/* A struct of our own, so that formats/hash.h does not include xxhash.h. */
struct Hash {
    XXH3_state_t *state;
};

/* Prints a digest as 32 hexadecimal digits. The canonical form is big-endian with the high half first
 * (XXH128_canonicalFromHash), which is the order in which people write numbers. */
static void to_hex(XXH128_hash_t digest, char out[33]) {
    /* Two digits for each of the 16 bytes. */
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, digest);
    for (int i = 0; i < 16; i++) {
        out[2 * i] = "0123456789abcdef"[c.digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[c.digest[i] & 15];
    }
    out[32] = 0;
}

/* The state of XXH3 needs an alignment of 64 bytes, so libxxhash allocates it. */
Hash *hash_new(void) {
    Hash *h = xmalloc(sizeof *h);
    h->state = allocated(XXH3_createState());
    XXH3_128bits_reset(h->state);
    return h;
}

/* Pieces may have any length; only their concatenation matters. */
void hash_update(Hash *h, const void *bytes, size_t n) {
    XXH3_128bits_update(h->state, bytes, n);
}

/* Frees `h` too; a Hash is used once. */
void hash_finish(Hash *h, char out[33]) {
    to_hex(XXH3_128bits_digest(h->state), out);
    XXH3_freeState(h->state);
    free(h);
}

/* The whole input is at hand, so no state is needed. */
void hash_bytes(const void *bytes, size_t n, char out[33]) {
    to_hex(XXH3_128bits(bytes, n), out);
}

/* Hashes a file in chunks of 1 MiB. A read that a signal interrupts is repeated. */
bool hash_file(const char *path, char out[33], Error *e) {
    int fd = file_open(path, 0, e);
    if (fd < 0) return false;
    /* bytes read at a time */
    enum { CHUNK = 1 << 20 };
    uint8_t *chunk = xmalloc(CHUNK);
    Hash *h = hash_new();
    ssize_t n;
    while ((n = read(fd, chunk, CHUNK)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) hash_update(h, chunk, (size_t)n);
    bool ok = n == 0 || file_error(path, e);
    hash_finish(h, out);
    free(chunk);
    close(fd);
    return ok;
}
