/* Cutting pieces from one block of memory, and the red zones between them. A layout function is run twice:
 * the first time no block exists and sizes are only added up, the second time the same calls hand out the
 * addresses. Under the address sanitizer, the bytes between pieces are poisoned, so that an overrun from one
 * array into the next is reported although both lie in one allocation. See workspace.h for how it is used. */
#include "recal/workspace.h"

#include <stdlib.h>

#include "formats/buffer.h"

/* gcc defines a macro under -fsanitize=address, clang has a feature test. */
#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>

enum { RED_ZONE = 64 }; /* bytes after each piece that may not be touched */

/* From here on, the address sanitizer reports any access to these bytes. */
static void forbid(const void *p, size_t n) {
    __asan_poison_memory_region(p, n);
}

/* Makes the bytes accessible again. */
static void allow(const void *p, size_t n) {
    __asan_unpoison_memory_region(p, n);
}
#else
enum { RED_ZONE = 0 };

/* Without the sanitizer nothing can be forbidden, and there are no red zones. */
static void forbid(const void *p, size_t n) {
    (void)p, (void)n;
}

static void allow(const void *p, size_t n) {
    (void)p, (void)n;
}
#endif

enum { ALIGNMENT = 64 }; /* of pieces, in bytes */

/* A piece of `rows` * `columns` elements of four bytes. */
static void *piece(Workspace *w, size_t rows, size_t columns) {
    size_t bytes, padded, end, payload;
    /* Every step of the size is checked, so that absurd shapes end in an error and not in a small block. */
    if (__builtin_mul_overflow(rows, columns, &bytes) || __builtin_mul_overflow(bytes, (size_t)4, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)(ALIGNMENT - 1), &padded)) {
        w->overflow = true;
        return NULL;
    }
    /* Arrays that the architecture does not have are asked for with 0 columns. */
    if (!bytes) return NULL;
    /* `payload` counts without red zones, `used` with them: the first is what workspace_bytes reports, so
     * estimates of memory are the same under the sanitizer. */
    padded = padded / ALIGNMENT * ALIGNMENT;
    if (__builtin_add_overflow(w->payload, padded, &payload) ||
        __builtin_add_overflow(padded, (size_t)RED_ZONE, &padded) ||
        __builtin_add_overflow(w->used, padded, &end) || (w->base && end > w->size)) {
        w->overflow = true;
        return NULL;
    }
    void *p = w->base ? w->base + w->used : NULL;
    w->used = end;
    w->payload = payload;
    /* The whole block was forbidden when it was allocated. Allowing exactly the bytes asked for leaves the
     * padding and the red zone behind them forbidden. */
    if (p) allow(p, bytes);
    return p;
}

float *workspace_floats(Workspace *w, size_t rows, size_t columns) {
    return piece(w, rows, columns);
}

uint32_t *workspace_indices(Workspace *w, size_t rows, size_t columns) {
    return piece(w, rows, columns);
}

/* Turns a workspace that has counted into one that carves `block`, which begins at a multiple of 64. */
static void begin_carving(Workspace *w, void *block, unsigned char *base) {
    *w = (Workspace){.block = block, .base = base, .size = w->used};
    forbid(w->base, w->size);
}

/* The block is not cleared. Its first byte is aligned by big_alloc_unset. */
bool workspace_alloc(Workspace *w, const char *what, Error *e) {
    if (w->overflow) return error_set(e, ERR_FAILED, "%s: the size is more than an address can reach", what);
    void *block = big_alloc_unset(w->used, 1, what, e);
    if (!block) return false;
    begin_carving(w, block, block);
    return true;
}

/* malloc aligns to 16 bytes only; a block that is 64 bytes too large has an aligned address among its
 * first 64. */
void workspace_xalloc(Workspace *w) {
    unsigned char *block = xmalloc(w->overflow ? SIZE_MAX : w->used + ALIGNMENT);
    begin_carving(w, block, block + (ALIGNMENT - (uintptr_t)block % ALIGNMENT) % ALIGNMENT);
}

void workspace_free(Workspace *w) {
    /* The allocator writes its own notes into freed memory, so nothing in it may stay forbidden. */
    if (w->base) allow(w->base, w->size);
    free(w->block);
    *w = (Workspace){0};
}

bool workspace_is_full(const Workspace *w) {
    return w->base && !w->overflow && w->used == w->size;
}

uint64_t workspace_bytes(const Workspace *w) {
    return w->overflow ? WORKSPACE_UNREACHABLE : w->payload;
}
