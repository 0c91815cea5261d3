/* A workspace is one block of memory that is divided into many arrays ("pieces").
 *
 * A training step needs about twenty arrays per layer. Separate allocations would be slow, and each of them
 * could fail. A single allocation needs the total size in advance. If one function computed the total size
 * and another function divided the block, a term that is missing in the first would cause a heap overflow in
 * the second. Here the *same* layout function does both. It is called twice: first on an empty Workspace,
 * where it only adds up the sizes and every piece is NULL, then on the allocated block, where it returns the
 * pieces:
 *
 *     static void lay_out(Buffers *b, Workspace *w, size_t N) {
 *         b->x = workspace_floats(w, N, b->hidden_size);
 *         b->rstd = workspace_floats(w, N, 1);
 *     }
 *     Workspace w = {0};
 *     lay_out(&b, &w, N);                                      counts
 *     if (!workspace_alloc(&w, "activations", e)) return false;
 *     lay_out(&b, &w, N);                                      carves
 *     ...
 *     workspace_free(&w);                                      frees all pieces
 *
 * A layout function must therefore request the same pieces in the same order in both calls. It must not
 * access the pieces or test whether they are NULL. (zstd's ZSTD_cwksp and llm.c's fill_in_activation_sizes
 * solve the same problem.)
 *
 * Pieces begin at multiples of 64 bytes (a cache line, and the widest vector register). Programs built with
 * AddressSanitizer have a red zone after each piece. AddressSanitizer reports any access to these bytes, so
 * it finds an array overrun of a single float although the next array is in the same allocation. */
#ifndef DEROPE_RECAL_WORKSPACE_H
#define DEROPE_RECAL_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

/* A workspace that is initialized with {0} counts sizes; workspace_alloc turns it into one that returns
 * pieces. */
typedef struct Workspace {
    unsigned char *base; /* the first piece begins here; NULL while sizes are only counted */
    size_t size;         /* bytes of the block, as counted by the first run of the layout function */
    size_t used;         /* bytes counted or handed out so far, red zones included */
    size_t
        payload;   /* bytes of the pieces alone, each rounded up to 64: what a build without red zones uses */
    bool overflow; /* a size was not representable, or carving asked for more than was counted */
    void *block;   /* what was allocated; `base` is its first multiple of 64 */
} Workspace;

/* Returns a piece of rows * columns floats, which are not initialized. NULL while counting, and for a piece
 * without elements. Also NULL if the second run requests more than the first counted, so that a mistake in a
 * layout function leads to a null pointer and not to a heap overflow. */
float *workspace_floats(Workspace *w, size_t rows, size_t columns);
/* Returns a piece of rows * columns 32-bit indices, by the rules of workspace_floats. */
uint32_t *workspace_indices(Workspace *w, size_t rows, size_t columns);

/* Ends the counting run: allocates a block of the counted size, and prepares `w` for the second run of the
 * layout function. False with an ERR_FAILED that names `what` if there is not enough memory or the size does
 * not fit into a size_t. */
bool workspace_alloc(Workspace *w, const char *what, Error *e);
/* Does what workspace_alloc does for small scratch memory of code that has no way to report an error: the
 * program exits with a message if memory runs out, as xmalloc does. */
void workspace_xalloc(Workspace *w);
/* Frees the block and with it all pieces; `w` is empty afterwards. */
void workspace_free(Workspace *w);

/* True if the carving run asked for exactly the bytes that the counting run counted. Tests assert it. */
bool workspace_is_full(const Workspace *w);
/* workspace_bytes returns this value if the size does not fit into a size_t. It is larger than any memory,
 * and small enough that a sum of several such estimates does not overflow. */
static const uint64_t WORKSPACE_UNREACHABLE = UINT64_MAX / 16;
/* Bytes that the pieces counted so far take in a build without red zones, for estimates before a long run. */
uint64_t workspace_bytes(const Workspace *w);

#endif
