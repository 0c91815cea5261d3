/* Bytes that grow, an arena for things that live as long as their owner, and size arithmetic that
 * cannot wrap. Small allocations (bounded by something already checked) exit with a message when memory
 * runs out; model-sized ones go through big_alloc, which reports. */
#ifndef DEROPE_FORMATS_BUFFER_H
#define DEROPE_FORMATS_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

typedef struct Buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
} Buffer;

void buffer_reserve(Buffer *b, size_t more);
void buffer_append(Buffer *b, const void *bytes, size_t n);
void buffer_byte(Buffer *b, uint8_t byte);
void buffer_printf(Buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes the content a C string (the NUL is not counted in size) and returns it. */
char *buffer_string(Buffer *b);
void buffer_free(Buffer *b);

/* Everything allocated from an arena is freed with it. Zero-initialise to start. */
typedef struct Arena {
    struct ArenaBlock *blocks;
} Arena;

void *arena_alloc(Arena *a, size_t n); /* zeroed, 16-byte aligned */
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(Arena *a);

/* malloc/realloc/strdup that exit(1) with a message when memory runs out. */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

/* count * size bytes, zeroed, 64-byte aligned, freed with free(); NULL and an error naming `what` if there
 * is no room or the product wraps. */
void *big_alloc(size_t count, size_t size, const char *what, Error *e);

/* The same, not zeroed. */
void *big_alloc_unset(size_t count, size_t size, const char *what, Error *e);

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

#endif
