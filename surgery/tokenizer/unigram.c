/* Unigram: of all ways to write a piece in tokens, the one whose scores sum up highest. A character that is
 * no token may stand as unknown, at a score below all others. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "surgery/tokenizer/internal.h"

struct Unigram {
    MergeMap children; /* (node, byte) -> node; node 0 is the root */
    int32_t *token;    /* by node; -1: none ends here */
    int32_t n, capacity;
    double *score; /* by id */
    double unknown;
    bool single; /* sums in single precision, as the sentencepiece library has them */
};

static int32_t new_node(Unigram *u) {
    if (u->n == u->capacity) {
        u->capacity = u->capacity ? 2 * u->capacity : 4096;
        u->token = xrealloc(u->token, (size_t)u->capacity * sizeof *u->token);
    }
    u->token[u->n] = -1;
    return u->n++;
}

Unigram *unigram_new(uint32_t vocab_size, bool single) {
    Unigram *u = xcalloc(1, sizeof *u);
    u->score = xcalloc(vocab_size ? vocab_size : 1, sizeof *u->score);
    u->single = single;
    new_node(u);
    return u;
}

void unigram_free(Unigram *u) {
    if (!u) return;
    free(u->children.slots);
    free(u->token);
    free(u->score);
    free(u);
}

void unigram_add(Unigram *u, const char *text, size_t n, int32_t id, double score) {
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        const struct MergeSlot *s = merge_map_get(&u->children, node, (uint8_t)text[i]);
        int32_t child = s ? s->merged : new_node(u);
        if (!s) merge_map_put(&u->children, node, (uint8_t)text[i], 0, child, true);
        node = child;
    }
    if (n) u->token[node] = id;
    u->score[id] = score;
}

void unigram_unknown(Unigram *u, double least) {
    enum { PENALTY = 10 };
    u->unknown = least - PENALTY;
}

/* The best way to the text before this byte. */
typedef struct Best {
    double score;
    uint32_t start; /* of the last token */
    uint32_t next;  /* on the best way to the end: where the token from here ends */
    int32_t id;     /* of the last token; -1: unknown; -2: there is no way here */
} Best;

enum { UNKNOWN = -1, NO_WAY = -2 };

static void offer(const Unigram *u, Best *to, double score, double more, size_t start, int32_t id) {
    double sum = u->single ? (double)((float)score + (float)more) : score + more;
    if (to->id == NO_WAY || sum > to->score) *to = (Best){.score = sum, .start = (uint32_t)start, .id = id};
}

/* Floats lose what distinguishes sums that have grown large: the library then begins at 0 again. */
static void start_again(Best *best, size_t at, size_t furthest) {
    enum { LARGE = 100000 };
    double score = best[at].score;
    if (fabs(score) <= LARGE) return;
    for (size_t i = at; i <= furthest; i++)
        if (best[i].id != NO_WAY) best[i].score = (float)((float)best[i].score - (float)score);
}

static void find_best(const Unigram *u, const char *p, size_t n, Best *best) {
    for (size_t i = 0; i <= n; i++)
        best[i].id = NO_WAY;
    best[0] = (Best){.id = UNKNOWN};
    size_t furthest = 0;
    for (size_t i = 0, len; i < n; i += len) {
        next_char(p + i, n - i, &len);
        if (u->single) start_again(best, i, furthest);
        if (furthest < i + len) furthest = i + len;
        bool known = false;
        int32_t node = 0;
        for (size_t k = i; k < n; k++) {
            const struct MergeSlot *s = merge_map_get(&u->children, node, (uint8_t)p[k]);
            if (!s) break;
            node = s->merged;
            if (u->token[node] < 0) continue;
            offer(u, &best[k + 1], best[i].score, u->score[u->token[node]], i, u->token[node]);
            known |= k + 1 - i == len;
            if (furthest < k + 1) furthest = k + 1;
        }
        if (!known) offer(u, &best[i + len], best[i].score, u->unknown, i, UNKNOWN);
    }
}

/* Unknown characters in a row are one: the token of that text, its bytes, or the unknown one. */
static void append_unknown(const Tokenizer *t, const char *p, size_t n, TokenList *out) {
    int32_t whole = text_map_get(&t->vocab, p, n);
    bool bytes = whole < 0 && t->byte_fallback;
    for (size_t i = 0; bytes && i < n; i++)
        bytes = t->byte_id[(uint8_t)p[i]] >= 0;
    for (size_t i = 0; bytes && i < n; i++)
        token_append(out, t->byte_id[(uint8_t)p[i]]);
    if (bytes) return;
    if (whole < 0) whole = t->unk;
    if (whole >= 0) token_append(out, whole);
}

bool unigram_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    Best few[64], *best = n < 64 ? few : big_alloc(n + 1, sizeof *best, "ways to write a text", e);
    if (!best) return false;
    find_best(t->unigram, piece, n, best);
    for (uint32_t at = (uint32_t)n; at > 0; at = best[at].start)
        best[best[at].start].next = at;
    for (uint32_t at = 0, end, unknown = 0; at < n; at = end) {
        end = best[at].next;
        bool is_unknown = best[end].id == UNKNOWN;
        if (!is_unknown) token_append(out, best[end].id);
        bool goes_on = is_unknown && end < n && best[best[end].next].id == UNKNOWN;
        if (goes_on) continue;
        if (is_unknown) append_unknown(t, piece + unknown, end - unknown, out);
        unknown = end;
    }
    if (best != few) free(best);
    return true;
}
