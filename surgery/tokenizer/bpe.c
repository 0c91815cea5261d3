/* Byte pair encoding of one piece. The piece starts as a row of symbols, one for each byte (byte-level
 * vocabularies) or each character. Then, as long as any two neighbours have a merge, the pair whose merge has
 * the lowest rank becomes one symbol; of several equal ones the leftmost goes first. What remains are the
 * tokens.
 *
 * HF `tokenizers`, llama.cpp and SentencePiece all define it so. SentencePiece ranks pairs by the score of
 * the token that they form, which the loaders turn into ranks. Symbols form a doubly linked list in an array.
 * Short pieces look for the best pair by scanning all neighbours; long ones (a model without pre-tokenizer
 * has whole texts as pieces) keep the candidates in a heap, which makes the time n log n instead of n^2. */
#include "surgery/tokenizer/bpe.h"

#include <stdlib.h>

#include "surgery/tokenizer/byte_level.h"

/* ---- symbols ---- */

/* A part of the piece that is one token at the moment, in a doubly linked list. */
typedef struct Symbol {
    int32_t id;             /* of its token; -1: it was merged into the symbol on its left */
    int32_t previous, next; /* places of its neighbours; -1 at the ends */
} Symbol;

/* Bytes of a character of UTF-8, from its first byte. */
static size_t char_length(uint8_t first) {
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Appends a symbol to the list and counts it. Its next neighbour is assumed to follow; first_symbols corrects
 * that for the last one. */
static void add_symbol(Symbol *s, size_t *n, int32_t id) {
    s[*n] = (Symbol){id, (int32_t)*n - 1, (int32_t)*n + 1};
    ++*n;
}

/* Appends the tokens <0xXX> of all bytes, or none and returns false if one of them has no such token. */
static bool add_bytes(const Tokenizer *t, const char *p, size_t n, Symbol *s, size_t *count) {
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(uint8_t)p[i]] < 0) return false;
    for (size_t i = 0; i < n; i++)
        add_symbol(s, count, t->byte_id[(uint8_t)p[i]]);
    return true;
}

/* Writes the piece as symbols, at most one for each byte, and returns how many there are. A character without
 * a token becomes the tokens of its bytes if the model has byte fallback, else the unknown token; if there is
 * none it is left out, as HF `tokenizers` does. */
static size_t first_symbols(const Tokenizer *t, const char *piece, size_t n, Symbol *s) {
    size_t count = 0;
    bool unk_open =
        false; /* the character before this one had no token, so that fuse_unk joins this one to it */
    for (size_t i = 0, len; i < n; i += len) {
        /* Byte-level vocabularies have a token for each byte, which is looked up in a table; others one for
         * most characters. */
        len = t->byte_level ? 1 : char_length((uint8_t)piece[i]);
        int32_t id = t->byte_level ? t->byte_id[(uint8_t)piece[i]] : text_map_get(&t->vocab, piece + i, len);
        bool known = id >= 0 || (t->byte_fallback && add_bytes(t, piece + i, len, s, &count));
        if (id >= 0) add_symbol(s, &count, id);
        if (!known && t->unk >= 0 && !(t->fuse_unk && unk_open)) add_symbol(s, &count, t->unk);
        unk_open = !known;
    }
    if (count) s[count - 1].next = -1;
    return count;
}

/* Merges the symbol at `left` with the one behind it. The right one leaves the list; its id of -1 tells the
 * heap that pairs with it are out of date. */
static void merge_symbols(Symbol *s, int32_t left, int32_t merged) {
    int32_t right = s[left].next, after = s[right].next;
    s[left].id = merged;
    s[left].next = after;
    if (after >= 0) s[after].previous = left;
    s[right].id = -1;
}

/* Merges until no neighbours have a merge. In each round all pairs are looked up; `<` keeps the leftmost of
 * equal ranks. */
static void merge_by_scanning(const Tokenizer *t, Symbol *s) {
    for (;;) {
        const struct MergeSlot *best = NULL;
        int32_t at = -1;
        for (int32_t i = 0; s[i].next >= 0; i = s[i].next) {
            const struct MergeSlot *m = merge_map_get(&t->merges, s[i].id, s[s[i].next].id);
            if (m && (!best || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        }
        if (!best) return;
        merge_symbols(s, at, best->merged);
    }
}

/* ---- long pieces: candidates in a binary heap ---- */

/* A pair that may merge. The ids tell later whether its symbols are still what they were. */
typedef struct Candidate {
    uint32_t rank;
    int32_t left;              /* place of the left symbol */
    int32_t left_id, right_id; /* tokens of both when the candidate was found */
    int32_t merged;            /* what they become */
} Candidate;

/* items[0] goes first; the children of item i are 2i + 1 and 2i + 2, and never go before it. */
typedef struct Heap {
    Candidate *items;
    size_t n, capacity;
} Heap;

/* The order of merging: by rank, then from left to right. */
static bool before(const Candidate *a, const Candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

/* Starts at the end and moves parents down as long as the new item goes before them. */
static void heap_push(Heap *h, Candidate c) {
    if (h->n == h->capacity)
        h->items = xrealloc(h->items, (h->capacity = 2 * h->capacity + 64) * sizeof *h->items);
    size_t i = h->n++;
    for (; i && before(&c, &h->items[(i - 1) / 2]); i = (i - 1) / 2)
        h->items[i] = h->items[(i - 1) / 2];
    h->items[i] = c;
}

/* Takes the first item. The last one replaces it: from the top, the child that goes first moves up until the
 * last item fits. */
static Candidate heap_pop(Heap *h) {
    Candidate top = h->items[0], last = h->items[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && before(&h->items[child + 1], &h->items[child])) child++;
        if (!before(&h->items[child], &last)) break;
        h->items[i] = h->items[child];
    }
    h->items[i] = last;
    return top;
}

/* Adds the symbol at `left` and its right neighbour to the candidates, if they have a merge. `left` may be
 * -1, which is no symbol. */
static void push_pair(const Tokenizer *t, Heap *h, const Symbol *s, int32_t left) {
    if (left < 0 || s[left].next < 0) return;
    int32_t right = s[left].next;
    const struct MergeSlot *m = merge_map_get(&t->merges, s[left].id, s[right].id);
    if (m) heap_push(h, (Candidate){m->rank, left, s[left].id, s[right].id, m->merged});
}

/* Gives the same merges in the same order as merge_by_scanning, in time n log n. */
static void merge_by_heap(const Tokenizer *t, Symbol *s) {
    Heap h = {0};
    /* 1. All neighbours of the beginning are candidates. */
    for (int32_t i = 0; i >= 0; i = s[i].next)
        push_pair(t, &h, s, i);
    while (h.n) {
        /* 2. Take the best one. It is out of date if either side has merged since it was found; candidates
         * are not searched in the heap to be removed, they are skipped here. */
        Candidate c = heap_pop(&h);
        if (s[c.left].id != c.left_id || s[c.left].next < 0 || s[s[c.left].next].id != c.right_id) continue;
        /* 3. Merge it. The new symbol forms pairs with both of its neighbours. */
        merge_symbols(s, c.left, c.merged);
        push_pair(t, &h, s, s[c.left].previous);
        push_pair(t, &h, s, c.left);
    }
    free(h.items);
}

/* ---- a piece ---- */

enum { STACK_SYMBOLS = 64 }; /* symbols of a piece that need no allocation */
enum {
    MAX_SCANNED = 48
}; /* bytes of a piece up to which its symbols are scanned; longer ones use the heap */

/* The id of a piece that is a token as a whole; else -1. */
static int32_t whole_piece(const Tokenizer *t, const char *piece, size_t n) {
    if (!t->byte_level) return text_map_get(&t->vocab, piece, n);
    Buffer printable = {0};
    append_printable(&printable, piece, n);
    int32_t id = text_map_get(&t->vocab, (char *)printable.data, printable.size);
    buffer_free(&printable);
    return id;
}

/* Appends the tokens of one piece. Fails only if memory for a very long piece is short. */
bool bpe_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    /* With ignore_merges (Llama 3), a piece that is in the vocabulary is that token, even if no merges lead
     * to it. */
    int32_t whole = t->ignore_merges ? whole_piece(t, piece, n) : -1;
    if (whole >= 0) {
        token_append(out, whole);
        return true;
    }
    /* Otherwise spell the piece, merge, and read the tokens off the list. */
    Symbol few[STACK_SYMBOLS],
        *s = n <= STACK_SYMBOLS ? few : big_alloc(n, sizeof *s, "symbols of a text", e);
    if (!s) return false;
    if (first_symbols(t, piece, n, s)) {
        if (n <= MAX_SCANNED)
            merge_by_scanning(t, s);
        else
            merge_by_heap(t, s);
        for (int32_t i = 0; i >= 0; i = s[i].next)
            token_append(out, s[i].id);
    }
    if (s != few) free(s);
    return true;
}
