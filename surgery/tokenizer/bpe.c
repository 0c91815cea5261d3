/* Byte pair encoding of one piece, and the cache of pieces: neighbours merge, the lowest rank first, the
 * leftmost of equals. Short pieces scan for it; long ones (SentencePiece has no pieces: a whole text is one)
 * keep the candidates in a heap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "surgery/tokenizer/internal.h"

void token_append(TokenList *l, int32_t id) {
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 256;
        l->ids = xrealloc(l->ids, l->capacity * sizeof *l->ids);
    }
    l->ids[l->n++] = id;
}

/* ---- GPT-2's bytes ---- */

static bool is_visible(int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

/* The others become 256 and on, in their order: 0 to 32, 127 to 160, 173. */
static uint32_t printable_code(uint8_t byte) {
    if (is_visible(byte)) return byte;
    return 256 + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33 : 67);
}

void byte_to_printable(uint8_t byte, char out[3]) {
    uint32_t code = printable_code(byte);
    if (code < 0x80) {
        out[0] = (char)code;
        out[1] = 0;
    } else {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        out[2] = 0;
    }
}

void append_printable(Buffer *out, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char c[3];
        byte_to_printable((uint8_t)bytes[i], c);
        buffer_append(out, c, strlen(c));
    }
}

int printable_to_byte(uint32_t code) {
    if (code < 256) return is_visible((int)code) ? (int)code : -1;
    return code <= 256 + 32   ? (int)code - 256
           : code <= 256 + 66 ? (int)code - 256 - 33 + 127
           : code == 256 + 67 ? 173
                              : -1;
}

/* A bar behind something that is none. */
static bool bar_inside(const char *s, size_t n) {
    for (size_t i = 1; i + 3 <= n; i++)
        if (memcmp(s + i, space_bar, 3) == 0 && !(i >= 3 && memcmp(s + i - 3, space_bar, 3) == 0))
            return true;
    return false;
}

/* A newline, or the token of its byte, before something that is none. */
static bool newline_inside(const char *s, size_t n) {
    static const char byte[] = "<0x0A>";
    if (n > sizeof byte - 1 && memmem(s, n, byte, sizeof byte - 1)) return true;
    for (size_t i = 0; i + 1 < n; i++)
        if (s[i] == '\n' && s[i + 1] != '\n') return true;
    return false;
}

/* A token that text may become: does it reach over a place where words would begin? */
static void look_inside(Tokenizer *t, int32_t id) {
    if (bar_inside(t->text[id], t->len[id])) t->bars_start_words = false;
    if (newline_inside(t->text[id], t->len[id])) t->newlines_end_words = false;
}

void bpe_finish(Tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        if (t->byte_level)
            byte_to_printable((uint8_t)b, name);
        else
            snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_id[b] = text_map_get(&t->vocab, name, strlen(name));
    }
    bool long_pieces = !t->byte_level && !t->ignore_merges;
    t->bars_start_words = long_pieces && text_map_get(&t->vocab, space_bar, 3) >= 0;
    t->newlines_end_words = long_pieces && (!t->unigram || text_map_get(&t->vocab, "\n", 1) >= 0);
    if (t->unigram) {
        for (uint32_t i = 0; i < t->vocab_size && long_pieces; i++)
            if (t->text[i]) look_inside(t, (int32_t)i);
        return;
    }
    for (size_t i = 0; i < t->merges.capacity && long_pieces; i++)
        if (t->merges.slots[i].pair) look_inside(t, t->merges.slots[i].merged);
}

/* ---- symbols ---- */

typedef struct Symbol {
    int32_t id, previous, next; /* neighbours by position, -1 at the ends */
} Symbol;

static size_t char_length(uint8_t first) {
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static void add_symbol(Symbol *s, size_t *n, int32_t id) {
    s[*n] = (Symbol){id, (int32_t)*n - 1, (int32_t)*n + 1};
    ++*n;
}

static bool add_bytes(const Tokenizer *t, const char *p, size_t n, Symbol *s, size_t *count) {
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(uint8_t)p[i]] < 0) return false;
    for (size_t i = 0; i < n; i++)
        add_symbol(s, count, t->byte_id[(uint8_t)p[i]]);
    return true;
}

/* At most one symbol a byte. What has no token and no stand-in is left out, as HF tokenizers does. */
static size_t first_symbols(const Tokenizer *t, const char *piece, size_t n, Symbol *s) {
    size_t count = 0;
    bool unk_open = false;
    for (size_t i = 0, len; i < n; i += len) {
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

static void merge_symbols(Symbol *s, int32_t left, int32_t merged) {
    int32_t right = s[left].next, after = s[right].next;
    s[left].id = merged;
    s[left].next = after;
    if (after >= 0) s[after].previous = left;
    s[right].id = -1;
}

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

/* ---- heap ---- */

typedef struct Candidate {
    uint32_t rank;
    int32_t left, left_id, right_id, merged;
} Candidate;

typedef struct Heap {
    Candidate *items;
    size_t n, capacity;
} Heap;

static bool before(const Candidate *a, const Candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void heap_push(Heap *h, Candidate c) {
    if (h->n == h->capacity)
        h->items = xrealloc(h->items, (h->capacity = 2 * h->capacity + 64) * sizeof *h->items);
    size_t i = h->n++;
    for (; i && before(&c, &h->items[(i - 1) / 2]); i = (i - 1) / 2)
        h->items[i] = h->items[(i - 1) / 2];
    h->items[i] = c;
}

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

static void push_pair(const Tokenizer *t, Heap *h, const Symbol *s, int32_t left) {
    if (left < 0 || s[left].next < 0) return;
    int32_t right = s[left].next;
    const struct MergeSlot *m = merge_map_get(&t->merges, s[left].id, s[right].id);
    if (m) heap_push(h, (Candidate){m->rank, left, s[left].id, s[right].id, m->merged});
}

static void merge_by_heap(const Tokenizer *t, Symbol *s) {
    Heap h = {0};
    for (int32_t i = 0; i >= 0; i = s[i].next)
        push_pair(t, &h, s, i);
    while (h.n) {
        Candidate c = heap_pop(&h);
        /* out of date if either side has merged since */
        if (s[c.left].id != c.left_id || s[c.left].next < 0 || s[s[c.left].next].id != c.right_id) continue;
        merge_symbols(s, c.left, c.merged);
        push_pair(t, &h, s, s[c.left].previous);
        push_pair(t, &h, s, c.left);
    }
    free(h.items);
}

/* ---- pieces seen before ---- */

enum { CACHE_SLOTS = 1 << 15, CACHED_PIECE = 32, CACHED_TOKENS = 8 };

typedef struct CacheSlot {
    uint8_t len, n;
    char piece[CACHED_PIECE];
    int32_t ids[CACHED_TOKENS];
} CacheSlot;

struct WordCache {
    CacheSlot slots[CACHE_SLOTS];
};

struct WordCache *word_cache_new(void) {
    return xcalloc(1, sizeof(struct WordCache));
}

void word_cache_free(struct WordCache *c) {
    free(c);
}

static CacheSlot *cache_slot(const Tokenizer *t, const char *piece, size_t n) {
    return &t->cache->slots[XXH3_64bits(piece, n) % CACHE_SLOTS];
}

/* The id of a piece that is a token, else -1. */
static int32_t whole_piece(const Tokenizer *t, const char *piece, size_t n) {
    if (!t->byte_level) return text_map_get(&t->vocab, piece, n);
    Buffer printable = {0};
    append_printable(&printable, piece, n);
    int32_t id = text_map_get(&t->vocab, (char *)printable.data, printable.size);
    buffer_free(&printable);
    return id;
}

static bool bpe_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    int32_t whole = t->ignore_merges ? whole_piece(t, piece, n) : -1;
    if (whole >= 0) {
        token_append(out, whole);
        return true;
    }
    Symbol few[64], *s = n <= 64 ? few : big_alloc(n, sizeof *s, "symbols of a text", e);
    if (!s) return false;
    if (first_symbols(t, piece, n, s)) {
        if (n <= 48)
            merge_by_scanning(t, s);
        else
            merge_by_heap(t, s);
        for (int32_t i = 0; i >= 0; i = s[i].next)
            token_append(out, s[i].id);
    }
    if (s != few) free(s);
    return true;
}

bool piece_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    CacheSlot *slot = n && n <= CACHED_PIECE ? cache_slot(t, piece, n) : NULL;
    if (slot && slot->len == n && memcmp(slot->piece, piece, n) == 0) {
        for (int i = 0; i < slot->n; i++)
            token_append(out, slot->ids[i]);
        return true;
    }
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
