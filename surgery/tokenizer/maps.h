/* The two hash tables of a tokenizer: from texts to ids, and from pairs of ids to what they merge into. Both
 * use open addressing with linear probing and double when they are half full. Start with {0}; free(map.slots)
 * frees one. */
#ifndef DEROPE_SURGERY_TOKENIZER_MAPS_H
#define DEROPE_SURGERY_TOKENIZER_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The vocabulary: the text of a token -> its id. */
typedef struct TextMap {
    struct TextSlot {
        const char *key; /* borrowed; NULL: the slot is empty */
        uint32_t len;    /* bytes of the key */
        int32_t value;
    } * slots;
    size_t capacity; /* a power of two */
    size_t n;        /* entries */
    uint64_t seed;   /* of the hash; no file can be made so that its texts collide */
} TextMap;

/* Sets the value of a key; one that is there is replaced. */
void text_map_put(TextMap *m, const char *key, uint32_t len, int32_t value);
/* The value of a key; -1 if it is absent. */
int32_t text_map_get(const TextMap *m, const char *key, size_t len);

/* The merges of byte pair encoding: (left id, right id) -> rank and merged id. */
typedef struct MergeMap {
    struct MergeSlot {
        uint64_t pair;  /* (left << 32 | right) + 1; 0: the slot is empty */
        uint32_t rank;  /* place in the list of merges; lower ones go first */
        int32_t merged; /* id of the token that the pair becomes */
    } * slots;
    size_t capacity; /* a power of two */
    size_t n;        /* entries */
    uint64_t seed;   /* of the hash, as that of TextMap */
} MergeMap;

/* Adds a merge. If the pair has one already, it is kept unless `replace`. */
void merge_map_put(MergeMap *m, int32_t left, int32_t right, uint32_t rank, int32_t merged, bool replace);
/* The merge of a pair, or NULL. Valid until the next merge_map_put. */
const struct MergeSlot *merge_map_get(const MergeMap *m, int32_t left, int32_t right);

#endif
