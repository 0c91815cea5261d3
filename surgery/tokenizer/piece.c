/* Encoding one piece, the last step of encode.c: by the model of the tokenizer, BPE or unigram. Natural text
 * repeats a few thousand words, so short pieces are looked up in a cache first. The cache is a table without
 * chains: a piece that falls on a taken slot replaces what is there. It takes about two megabytes for each
 * tokenizer. */
#include "surgery/tokenizer/piece.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "surgery/tokenizer/bpe.h"
#include "surgery/tokenizer/unigram.h"

enum { CACHE_SLOTS = 1 << 15 };
enum { CACHED_PIECE = 32 }; /* bytes of the longest piece that is cached */
enum { CACHED_TOKENS = 8 }; /* tokens that a cached piece may have */

/* One piece and its tokens. */
typedef struct CacheSlot {
    uint8_t len;                /* bytes of the piece; 0: the slot is empty */
    uint8_t n;                  /* tokens of the piece */
    char piece[CACHED_PIECE];   /* (len) */
    int32_t ids[CACHED_TOKENS]; /* (n) */
} CacheSlot;

struct PieceCache {
    CacheSlot slots[CACHE_SLOTS];
};

/* Zeroed memory: every slot is empty. */
struct PieceCache *piece_cache_new(void) {
    return xcalloc(1, sizeof(struct PieceCache));
}

void piece_cache_free(struct PieceCache *c) {
    free(c);
}

/* The only slot in which a piece may be. The cache is not part of what a tokenizer means, so it may be
 * written through a const tokenizer. */
static CacheSlot *cache_slot(const Tokenizer *t, const char *piece, size_t n) {
    return &t->cache->slots[XXH3_64bits(piece, n) % CACHE_SLOTS];
}

/* An empty piece, and one that is longer than a slot, goes past the cache. */
bool piece_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    CacheSlot *slot = n && n <= CACHED_PIECE ? cache_slot(t, piece, n) : NULL;
    if (slot && slot->len == n && memcmp(slot->piece, piece, n) == 0) {
        for (int i = 0; i < slot->n; i++)
            token_append(out, slot->ids[i]);
        return true;
    }
    /* Not in the cache: encode it, and keep the result if it is short enough. */
    size_t start = out->n;
    if (!(t->unigram ? unigram_encode : bpe_encode)(t, piece, n, out, e)) return false;
    if (slot && out->n - start <= CACHED_TOKENS) {
        slot->len = (uint8_t)n;
        slot->n = (uint8_t)(out->n - start);
        memcpy(slot->piece, piece, n);
        if (slot->n) memcpy(slot->ids, out->ids + start, slot->n * sizeof *slot->ids);
    }
    return true;
}
