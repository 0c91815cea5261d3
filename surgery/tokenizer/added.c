/* Added tokens (<|im_end|>, <s>) written out in a text: found leftmost first, the longest of several, by a
 * trie. Those that ask for it are sought in normalised text. */
#include <string.h>

#include "surgery/tokenizer/internal.h"

struct TrieNode {
    uint8_t byte;
    int32_t token;        /* index among the added tokens that ends here, -1 none */
    uint32_t child, next; /* 0: none */
};

static uint32_t child_of(const Trie *trie, uint32_t node, uint8_t byte) {
    uint32_t c = trie->nodes[node].child;
    while (c && trie->nodes[c].byte != byte)
        c = trie->nodes[c].next;
    return c;
}

static uint32_t add_node(Trie *trie, struct TrieNode node) {
    if (trie->n == trie->capacity) {
        trie->capacity = trie->capacity ? 2 * trie->capacity : 64;
        trie->nodes = xrealloc(trie->nodes, trie->capacity * sizeof *trie->nodes);
    }
    trie->nodes[trie->n] = node;
    return trie->n++;
}

static void trie_add(Trie *trie, const char *text, size_t n, int32_t token) {
    if (n == 0) return;
    if (!trie->n) add_node(trie, (struct TrieNode){.token = -1});
    trie->starts[(uint8_t)text[0]] = true;
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = child_of(trie, at, (uint8_t)text[i]);
        if (!c) {
            c = add_node(trie, (struct TrieNode){
                                   .byte = (uint8_t)text[i], .token = -1, .next = trie->nodes[at].child});
            trie->nodes[at].child = c;
        }
        at = c;
    }
    if (trie->nodes[at].token < 0) trie->nodes[at].token = token;
}

bool added_finish(Tokenizer *t, Error *e) {
    for (size_t i = 0; i < t->n_added; i++) {
        const AddedToken *a = &t->added[i];
        if (a->len > MAX_TOKEN_LENGTH)
            return error_set(e, ERR_INPUT, "added token %d is %u bytes long, more than %d", a->id, a->len,
                             MAX_TOKEN_LENGTH);
        Buffer text = {0};
        buffer_append(&text, a->text, a->len);
        bool ok = !a->normalized || t->as_library || normalize(t, &text, false, e);
        if (ok)
            trie_add(a->normalized ? &t->in_normalized : &t->in_text, (char *)text.data, text.size,
                     (int32_t)i);
        buffer_free(&text);
        if (!ok) return false;
    }
    return true;
}

/* The longest token at `at`; its length in `*n_found`. */
static const AddedToken *longest_at(const Tokenizer *t, const Trie *trie, const char *text, size_t n,
                                    size_t at, size_t *n_found) {
    const AddedToken *best = NULL;
    uint32_t node = 0;
    for (size_t i = at; i < n && (node = child_of(trie, node, (uint8_t)text[i])); i++)
        if (trie->nodes[node].token >= 0) {
            best = &t->added[trie->nodes[node].token];
            *n_found = i + 1 - at;
        }
    return best;
}

static bool alone(const char *text, size_t n, size_t from, size_t to) {
    size_t len;
    return !(from > 0 && is_word_char(previous_char(text, from, &len))) &&
           !(to < n && is_word_char(next_char(text + to, n - to, &len)));
}

bool added_cut(const Tokenizer *t, const Trie *trie, const char *text, size_t n, AddedSink sink,
               void *context, Error *e) {
    size_t done = 0, found, len;
    for (size_t i = 0; trie->n && i < n;) {
        const AddedToken *a = trie->starts[(uint8_t)text[i]] ? longest_at(t, trie, text, n, i, &found) : NULL;
        if (!a) {
            i++;
            continue;
        }
        size_t from = i, to = i + found;
        i = to;
        if (a->single_word && !alone(text, n, from, to)) continue;
        while (a->lstrip && from > 0 && is_space_char(previous_char(text, from, &len)))
            from -= len;
        while (a->rstrip && to < n && is_space_char(next_char(text + to, n - to, &len)))
            to += len;
        if (from < done) from = done; /* spaces that the token before has taken */
        if (from > done && !sink(context, text + done, from - done, done == 0, NULL, e)) return false;
        if (!sink(context, NULL, 0, false, a, e)) return false;
        done = to;
    }
    return done >= n || sink(context, text + done, n - done, done == 0, NULL, e);
}
