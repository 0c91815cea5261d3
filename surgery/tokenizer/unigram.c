/* The unigram model. The best way to write a piece is found by dynamic programming from left to right (the
 * Viterbi algorithm): the best way to a place is the best of all tokens that end there, each behind the best
 * way to where it begins. Tokens are found through a trie of bytes, whose edges are in a hash table. A
 * character that is no token may be written as unknown, at a score below all tokens, so that there always is
 * a way. */
#include "surgery/tokenizer/unigram.h"

#include <math.h>
#include <stdlib.h>

#include "surgery/tokenizer/unicode.h"

struct Unigram {
    MergeMap children;   /* the edges of the trie: (node, byte) -> node; node 0 is the root */
    int32_t *token;      /* (n), by node: id of the token that ends there; -1: none */
    int32_t n, capacity; /* nodes */
    double *score;       /* (vocab_size), by id: log-probability */
    double unknown;      /* score of an unknown character */
    bool single;         /* sums are taken in single precision, as in the sentencepiece library */
};

/* Adds a node without a token and returns its number. */
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
    new_node(u); /* the root */
    return u;
}

void unigram_free(Unigram *u) {
    if (!u) return;
    free(u->children.slots);
    free(u->token);
    free(u->score);
    free(u);
}

/* Follows the text through the trie, adding what is missing. Of several tokens with one text the last one
 * stays. */
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

void unigram_set_unknown(Unigram *u, double least_score) {
    enum { PENALTY = 10 }; /* kUnkPenalty of sentencepiece; HF `tokenizers` and llama.cpp have the same */
    u->unknown = least_score - PENALTY;
}

/* ---- the best way through a piece ---- */

/* The best way to write the text before a byte. There is one for each byte of the piece, and one for its end.
 */
typedef struct Best {
    double score;   /* sum over its tokens */
    uint32_t start; /* where its last token begins */
    uint32_t next;  /* set afterwards, on the best way: where the token that begins here ends */
    int32_t id;     /* of its last token, or one of the two below */
} Best;

enum { UNKNOWN = -1 }; /* the last token is an unknown character */
enum { NO_WAY = -2 };  /* no token ends here */

/* Compares a new way to the place `to` with the best one known, and keeps the better. The new way ends with
 * token `id`, whose score is `more`, behind a way of score `score` to `start`. Of equal ways the first one
 * stays. */
static void offer(const Unigram *u, Best *to, double score, double more, size_t start, int32_t id) {
    double sum = u->single ? (double)((float)score + (float)more) : score + more;
    if (to->id == NO_WAY || sum > to->score) *to = (Best){.score = sum, .start = (uint32_t)start, .id = id};
}

/* Single precision cannot tell sums apart that have grown large. The sentencepiece library then subtracts the
 * current sum from all that are open, and so must we to choose the same way. */
static void rebase_scores(Best *best, size_t at, size_t furthest) {
    enum { LARGE = 100000 };
    double score = best[at].score;
    if (fabs(score) <= LARGE) return;
    for (size_t i = at; i <= furthest; i++)
        if (best[i].id != NO_WAY) best[i].score = (float)((float)best[i].score - (float)score);
}

/* Fills best[0] to best[n] from left to right: when a place is reached, the best way to it is final. */
static void find_best(const Unigram *u, const char *p, size_t n, Best *best) {
    for (size_t i = 0; i <= n; i++)
        best[i].id = NO_WAY;
    best[0] = (Best){.id = UNKNOWN};
    size_t furthest = 0; /* the last place that a way leads to so far */
    for (size_t i = 0, len; i < n; i += len) {
        next_char(p + i, n - i, &len);
        if (u->single) rebase_scores(best, i, furthest);
        if (furthest < i + len) furthest = i + len;
        /* Offer every token that begins here, by going down the trie. `known`: one of them is exactly this
         * character. */
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
        /* A character that no token spells by itself may be unknown. */
        if (!known) offer(u, &best[i + len], best[i].score, u->unknown, i, UNKNOWN);
    }
}

/* Unknown characters in a row are taken together. They become the token of that whole text if there is one
 * (HF looks the joined text up again), else the tokens <0xXX> of its bytes with byte fallback, else one
 * unknown token, else nothing. */
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

enum { STACK_BYTES = 64 }; /* bytes of a piece, with its end, that need no allocation */

/* Appends the tokens of the best way to write the piece. */
bool unigram_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e) {
    Best few[STACK_BYTES],
        *best = n < STACK_BYTES ? few : big_alloc(n + 1, sizeof *best, "ways to write a text", e);
    if (!best) return false;
    /* 1. Find the best way to each place. */
    find_best(t->unigram, piece, n, best);
    /* 2. Go back from the end, which meets the tokens of the best way in reverse, and note for each where it
     * ends. */
    for (uint32_t at = (uint32_t)n; at > 0; at = best[at].start)
        best[best[at].start].next = at;
    /* 3. Go forward and append them. `unknown` is where the current run of unknown characters began. */
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
