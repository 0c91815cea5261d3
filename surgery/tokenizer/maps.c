/* Hash tables with open addressing: a key lies at its hash, or in the first free slot behind it. They are at
 * most half full, so a search ends after few steps, and nothing is ever removed. The hash depends on a seed
 * that the author of a file cannot know, because keys that all fall on one slot would make searches long. */
#include "surgery/tokenizer/maps.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "formats/name_table.h"

enum { FIRST_CAPACITY = 1024 };

/* The slot that has the key, or the empty one where it belongs. */
static struct TextSlot *text_slot(const TextMap *m, const char *key, size_t len) {
    size_t mask = m->capacity - 1;
    for (size_t i = XXH3_64bits_withSeed(key, len, m->seed) & mask;; i = (i + 1) & mask) {
        struct TextSlot *s = &m->slots[i];
        if (!s->key || (s->len == len && memcmp(s->key, key, len) == 0)) return s;
    }
}

/* The key is borrowed; its value is replaced if it is there already. */
void text_map_put(TextMap *m, const char *key, uint32_t len, int32_t value) {
    /* Grow before the table is more than half full: every entry moves to its place in one of twice the size.
     */
    if (2 * (m->n + 1) > m->capacity) {
        TextMap bigger = {.capacity = m->capacity ? 2 * m->capacity : FIRST_CAPACITY};
        bigger.slots = xcalloc(bigger.capacity, sizeof *bigger.slots);
        bigger.seed = hash_seed(bigger.slots);
        for (size_t i = 0; i < m->capacity; i++)
            if (m->slots[i].key) *text_slot(&bigger, m->slots[i].key, m->slots[i].len) = m->slots[i];
        bigger.n = m->n;
        free(m->slots);
        *m = bigger;
    }
    struct TextSlot *s = text_slot(m, key, len);
    if (!s->key) m->n++;
    *s = (struct TextSlot){key, len, value};
}

/* -1 stands for a missing key, since token ids are not negative. */
int32_t text_map_get(const TextMap *m, const char *key, size_t len) {
    if (!m->n) return -1; /* an empty map has no slots to search */
    const struct TextSlot *s = text_slot(m, key, len);
    return s->key ? s->value : -1;
}

/* The key of a pair of ids: both in one 64-bit number. One is added so that no pair is 0, which marks an
 * empty slot. */
static uint64_t pair_of(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}

/* Fibonacci hashing: the multiplier is 2^64 over the golden ratio. Its upper half is mixed into the bits that
 * are used. The seed is added before a second multiplication, so that which pairs collide depends on it. */
static struct MergeSlot *merge_slot(const MergeMap *m, uint64_t pair) {
    size_t mask = m->capacity - 1;
    uint64_t h = (pair ^ m->seed) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    for (size_t i = (h ^ h >> 32) & mask;; i = (i + 1) & mask)
        if (!m->slots[i].pair || m->slots[i].pair == pair) return &m->slots[i];
}

/* `replace` decides between the first and the last of several entries of one pair: HF keeps the last merge,
 * llama.cpp the first. */
void merge_map_put(MergeMap *m, int32_t left, int32_t right, uint32_t rank, int32_t merged, bool replace) {
    /* Grow as text_map_put does. */
    if (2 * (m->n + 1) > m->capacity) {
        MergeMap bigger = {.capacity = m->capacity ? 2 * m->capacity : FIRST_CAPACITY};
        bigger.slots = xcalloc(bigger.capacity, sizeof *bigger.slots);
        bigger.seed = hash_seed(bigger.slots);
        for (size_t i = 0; i < m->capacity; i++)
            if (m->slots[i].pair) *merge_slot(&bigger, m->slots[i].pair) = m->slots[i];
        bigger.n = m->n;
        free(m->slots);
        *m = bigger;
    }
    struct MergeSlot *s = merge_slot(m, pair_of(left, right));
    if (s->pair && !replace) return;
    m->n += !s->pair;
    *s = (struct MergeSlot){pair_of(left, right), rank, merged};
}

const struct MergeSlot *merge_map_get(const MergeMap *m, int32_t left, int32_t right) {
    if (!m->n) return NULL;
    const struct MergeSlot *s = merge_slot(m, pair_of(left, right));
    return s->pair ? s : NULL;
}
