/* A workspace is one block of memory that many arrays ("pieces") are cut from.
 *
 * Why: a training step needs some twenty arrays per layer. Allocating each alone is slow and leaves twenty
 * places that can fail; allocating one block needs its size in advance. If one function added up the size and
 * another cut the pieces, a term forgotten in the first would be a heap overflow in the second. Here the
 * *same* function does both. It is run twice: first on an empty Workspace, where every piece is NULL and only
 * its size is added, then on the allocated block, where it hands out the pieces:
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
 * A layout function must therefore ask for the same pieces in the same order in both runs, and must not look
 * into the pieces or decide by whether they are NULL. (zstd's ZSTD_cwksp and llm.c's fill_in_activation_sizes
 * solve the same problem.)
 *
 * Pieces begin at multiples of 64 bytes (a cache line, and the widest vector register). Programs built with
 * AddressSanitizer have a red zone after each piece: bytes that it reports any access to, so that an array
 * that is overrun by a single float is found although its neighbour lies in the same allocation. */
#ifndef DEROPE_RECAL_WORKSPACE_H
#define DEROPE_RECAL_WORKSPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

/* All zero: a workspace that counts. */
typedef struct Workspace {
    unsigned char *base; /* the first piece begins here; NULL while sizes are only counted */
    size_t size;         /* bytes of the block, as the counting run found them */
    size_t used;         /* bytes counted or handed out so far, red zones included */
    size_t
        payload;   /* bytes of the pieces alone, each rounded up to 64: what a build without red zones uses */
    bool overflow; /* a size was not representable, or carving asked for more than was counted */
    void *block;   /* what was allocated; `base` is its first multiple of 64 */
} Workspace;

/* A piece of rows * columns floats, not initialised. NULL while counting, and for a piece without elements.
 * Also NULL if carving asks for more than was counted: an error in the layout function then ends in a null
 * pointer and not in the neighbour's memory. */
float *workspace_floats(Workspace *w, size_t rows, size_t columns);
/* A piece of rows * columns 32-bit indices, by the rules of workspace_floats. */
uint32_t *workspace_indices(Workspace *w, size_t rows, size_t columns);

/* Ends the counting run: allocates what was counted and makes `w` ready to carve it. False with ERR_FAILED,
 * naming `what`, if there is not enough memory or the size does not fit into an address. */
bool workspace_alloc(Workspace *w, const char *what, Error *e);
/* Does what workspace_alloc does for small scratch memory of code that has no way to report an error: the
 * program exits with a message if memory runs out, as xmalloc does. */
void workspace_xalloc(Workspace *w);
/* Frees the block and with it all pieces; `w` is empty afterwards. */
void workspace_free(Workspace *w);

/* True if the carving run asked for exactly the bytes that the counting run counted. Tests assert it. */
bool workspace_is_full(const Workspace *w);
/* What workspace_bytes returns for a size that no address can reach: more than any memory, and small enough
 * that a sum of several such estimates does not wrap around. */
static const uint64_t WORKSPACE_UNREACHABLE = UINT64_MAX / 16;
/* Bytes that the pieces counted so far take in a build without red zones, for estimates before a long run. */
uint64_t workspace_bytes(const Workspace *w);

#endif
