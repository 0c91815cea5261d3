/* Memory: allocation that does not fail, growing buffers and arenas; see formats/buffer.h. Small allocations
 * end the program when memory runs out, because no caller could do anything useful then. Sizes that come from
 * a file are allocated by big_alloc, which reports an error. */
#include "formats/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program. Only for allocations whose size is bounded by something that was checked before. */
static void out_of_memory(size_t n) {
    fprintf(stderr, "derope: out of memory (asked for %zu bytes)\n", n);
    exit(ERR_FAILED);
}

void memory_used_up(void) {
    fputs("derope: out of memory\n", stderr);
    exit(ERR_FAILED);
}

void *allocated(void *p) {
    if (!p) memory_used_up();
    return p;
}

/* malloc(0) may return NULL, which would look like a failure, so xmalloc, xcalloc and xrealloc ask for at
 * least one byte. */
void *xmalloc(size_t n) {
    void *p = malloc(n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

/* calloc itself checks that count * size does not overflow. */
void *xcalloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) out_of_memory(count);
    return p;
}

/* `p` may be NULL, as for realloc. */
void *xrealloc(void *p, size_t n) {
    p = realloc(p, n ? n : 1);
    if (!p) out_of_memory(n);
    return p;
}

/* The copy is freed with free(). */
char *xstrdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}

/* Allocates `count * size` zeroed bytes. Fresh pages from the kernel are zero already, but aligned_alloc may
 * reuse memory, so the block is cleared. */
void *big_alloc(size_t count, size_t size, const char *what, Error *e) {
    void *p = big_alloc_unset(count, size, what, e);
    return p ? memset(p, 0, count * size) : NULL;
}

/* Allocates bytes at a multiple of 64, the size of a cache line and of the widest vectors. aligned_alloc
 * requires a size that is a multiple of the alignment. `what` names the purpose in messages. */
void *big_alloc_unset(size_t count, size_t size, const char *what, Error *e) {
    uint64_t n;
    if (!mul_u64(count, size, &n) || n > SIZE_MAX - 64) {
        error_set(e, ERR_FAILED, "%s: %zu x %zu bytes do not fit in the address space", what, count, size);
        return NULL;
    }
    n = (n + 63) / 64 * 64;
    void *p = aligned_alloc(64, n ? n : 64);
    if (!p) {
        error_set(e, ERR_FAILED, "%s: not enough memory, %.1f MB are needed", what, (double)n / 1e6);
        return NULL;
    }
    return p;
}

/* Makes room for `more` bytes. The capacity doubles, so that appending n bytes one by one copies O(n) bytes
 * in total. Sizes above half the address space are refused, so the doubling cannot overflow. */
void buffer_reserve(Buffer *b, size_t more) {
    if (more <= b->capacity - b->size) return;
    if (more > SIZE_MAX / 2 - b->size) out_of_memory(more);
    size_t cap = b->capacity ? b->capacity : 256; /* bytes of the first allocation */
    while (cap < b->size + more)
        cap *= 2;
    b->data = xrealloc(b->data, cap);
    b->capacity = cap;
}

/* memcpy must not be called with a null pointer even for 0 bytes, so that case returns first. */
void buffer_append(Buffer *b, const void *bytes, size_t n) {
    if (n == 0) return;
    buffer_reserve(b, n);
    memcpy(b->data + b->size, bytes, n);
    b->size += n;
}

void buffer_byte(Buffer *b, uint8_t byte) {
    buffer_append(b, &byte, 1);
}

/* Formats twice: once to learn the length, once into the reserved space, which needs a byte more for the
 * terminating zero. */
void buffer_printf(Buffer *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n > 0) {
        buffer_reserve(b, (size_t)n + 1);
        vsnprintf((char *)b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += (size_t)n;
    }
    va_end(again);
}

/* Terminates the content and returns it. The zero byte lies in the reserved space and does not count; the
 * next append overwrites it. */
char *buffer_string(Buffer *b) {
    buffer_reserve(b, 1);
    b->data[b->size] = 0;
    return (char *)b->data;
}

/* The buffer is empty afterwards and may be used again. */
void buffer_free(Buffer *b) {
    free(b->data);
    *b = (Buffer){0};
}

/* An arena is a list of blocks, all freed at once. Allocations come from the first block; when its space is
 * used up, a new block is put before it. */
typedef struct ArenaBlock {
    struct ArenaBlock *next;
    size_t used, capacity; /* bytes of `data` */
    _Alignas(16) uint8_t data[];
} ArenaBlock;

/* Bytes of an ordinary block. An allocation of more than a quarter of it gets a block of its own, so that at
 * most a quarter of a block is wasted. */
enum { ARENA_BLOCK = 64 * 1024 };

/* Returns `n` zeroed bytes at a multiple of 16, which suits every type. */
void *arena_alloc(Arena *a, size_t n) {
    if (n > SIZE_MAX - 64) out_of_memory(n);
    n = (n + 15) / 16 * 16;
    ArenaBlock *b = a->blocks;
    if (!b || b->capacity - b->used < n) {
        size_t cap = n > ARENA_BLOCK / 4 ? n : ARENA_BLOCK;
        ArenaBlock *fresh = xmalloc(sizeof *fresh + cap);
        fresh->used = 0;
        fresh->capacity = cap;
        if (b && cap == n) { /* a block of its own goes second, because the first one still has room */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->blocks = fresh;
        }
        b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    return memset(p, 0, n);
}

/* arena_alloc returns zeroed memory, so the byte after the copy is the terminating zero. */
char *arena_strndup(Arena *a, const char *s, size_t n) {
    char *p = arena_alloc(a, n + 1);
    if (n) memcpy(p, s, n); /* an empty buffer has no data: `s` may be NULL then */
    return p;
}

char *arena_strdup(Arena *a, const char *s) {
    return arena_strndup(a, s, strlen(s));
}

/* Formats twice, because the length is not known before the first time. */
char *arena_printf(Arena *a, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    size_t length = n < 0 ? 0 : (size_t)n;
    char *s = arena_alloc(a, length + 1);
    vsnprintf(s, length + 1, fmt, again);
    va_end(again);
    return s;
}

/* All pointers into the arena become invalid. The arena is empty afterwards and may be used again. */
void arena_free(Arena *a) {
    for (ArenaBlock *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
}
