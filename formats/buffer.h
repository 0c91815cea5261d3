/* Memory (buffer.c): bytes that grow, an arena for what lives as long as its owner, allocation, and
 * arithmetic on sizes that reports overflow.
 *
 * Two rules decide what happens when memory runs out. Small allocations, whose size is bounded by something
 * that was checked before (a file's header, a count of layers), end the program with a message. Allocations
 * that grow with the model or with the user's settings go through big_alloc, which returns an error. */
#ifndef DEROPE_FORMATS_BUFFER_H
#define DEROPE_FORMATS_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

/* Bytes that grow. Initialise to zeros; buffer_free makes it all zeros again. */
typedef struct Buffer {
    uint8_t *data;   /* (capacity), of which the first `size` bytes are in use */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
} Buffer;

/* Makes room for `more` bytes after the first b->size; the caller may write them and raise b->size. */
void buffer_reserve(Buffer *b, size_t more);
void buffer_append(Buffer *b, const void *bytes, size_t n);
void buffer_byte(Buffer *b, uint8_t byte);
/* Appends formatted text without its terminating zero. */
void buffer_printf(Buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Returns the content as a C string: writes a zero byte after it, which is not counted in b->size. The
 * pointer is valid until the next append and, where the caller keeps it instead of calling buffer_free, is
 * freed with free(). */
char *buffer_string(Buffer *b);
void buffer_free(Buffer *b);

/* Memory that is freed all at once. Initialise to zeros. */
typedef struct Arena {
    struct ArenaBlock *blocks;
} Arena;

/* `n` bytes, zeroed and aligned to 16. Ends the program if memory runs out, as do the functions below. */
void *arena_alloc(Arena *a, size_t n);
char *arena_strdup(Arena *a, const char *s);
/* A copy of `n` bytes, with a zero byte after them. The bytes may contain zeros. */
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_free(Arena *a);

/* As malloc, calloc, realloc and strdup, but end the program with a message if memory runs out. Free with
 * free(). */
void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

/* Ends the program with the message "out of memory": for a library that reports the end of memory by a code.
 */
_Noreturn void memory_used_up(void);
/* Returns `p`, which a library has allocated; ends the program with a message if it is NULL. Only for calls
 * that return NULL for no other reason. */
void *allocated(void *p);

/* count * size bytes, aligned to 64 and zeroed (or, with _unset, not initialised), freed with free(). NULL
 * with ERR_FAILED, which names `what`, if there is not enough memory or the product overflows. */
void *big_alloc(size_t count, size_t size, const char *what, Error *e);
void *big_alloc_unset(size_t count, size_t size, const char *what, Error *e);

/* Products and sums of sizes that come from files. False if the result does not fit in 64 bits. */
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

#endif
