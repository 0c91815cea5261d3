/* The hash table of formats/name_table.h: open addressing with linear probing, at most half full. */
#include "formats/name_table.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FIRST_CAPACITY = 64 }; /* slots */

struct NameSlot {
    const char *name; /* borrowed; NULL: the slot is free */
    size_t position;
};

/* The slot of the name, or the free slot where it belongs. */
static struct NameSlot *slot_of(const NameTable *t, const char *name) {
    size_t mask = t->capacity - 1;
    for (size_t i = XXH3_64bits_withSeed(name, strlen(name), t->seed) & mask;; i = (i + 1) & mask) {
        struct NameSlot *s = &t->slots[i];
        if (!s->name || strcmp(s->name, name) == 0) return s;
    }
}

/* Moves all names to a table of twice the size. */
static void grow(NameTable *t) {
    NameTable bigger = {.capacity = t->capacity ? 2 * t->capacity : FIRST_CAPACITY, .n = t->n};
    bigger.slots = xcalloc(bigger.capacity, sizeof *bigger.slots);
    bigger.seed = hash_seed(bigger.slots);
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slots[i].name) *slot_of(&bigger, t->slots[i].name) = t->slots[i];
    free(t->slots);
    *t = bigger;
}

bool name_table_add(NameTable *t, const char *name, size_t position) {
    if (2 * (t->n + 1) > t->capacity) grow(t);
    struct NameSlot *s = slot_of(t, name);
    if (s->name) return false;
    *s = (struct NameSlot){name, position};
    t->n++;
    return true;
}

/* An empty table has no slots to search. */
size_t name_table_find(const NameTable *t, const char *name) {
    if (!t->n) return NAME_ABSENT;
    const struct NameSlot *s = slot_of(t, name);
    return s->name ? s->position : NAME_ABSENT;
}

void name_table_free(NameTable *t) {
    free(t->slots);
    *t = (NameTable){0};
}

/* The low bits of an address are those of its alignment, so the address is multiplied to fill all bits. */
uint64_t hash_seed(const void *table) {
    return (uint64_t)(uintptr_t)table * 0x9e3779b97f4a7c15u;
}
