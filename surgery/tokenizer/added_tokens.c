/* Searching a text for added tokens, as HF `tokenizers` does (AddedVocabulary): from left to right, at each
 * place the longest token, by a trie of bytes. llama.cpp's rules are the same for the tokens that load_gguf.c
 * produces. encode.c searches twice: in the original text, and in normalised text for tokens with the option
 * `normalized`; each search has a trie of its own. */
#include "surgery/tokenizer/added_tokens.h"

#include <stdlib.h>

#include "surgery/tokenizer/unicode.h"

/* A node of the trie. Node 0 is the root, so 0 can mean "none" for children. The children of a node form a
 * linked list: there are few added tokens, and the table `starts` rules out most places of a text before the
 * trie is entered. */
struct TrieNode {
    uint8_t byte;   /* by which its parent leads here */
    int32_t token;  /* index of the added token that ends here; -1: none */
    uint32_t child; /* its first child; 0: none */
    uint32_t next;  /* the next child of its parent; 0: none */
};

/* The child of a node by a byte; 0 if there is none. */
static uint32_t child_of(const Trie *trie, uint32_t node, uint8_t byte) {
    uint32_t c = trie->nodes[node].child;
    while (c && trie->nodes[c].byte != byte)
        c = trie->nodes[c].next;
    return c;
}

/* Appends a node and returns its number. Numbers stay valid when the array moves; pointers would not. */
static uint32_t add_node(Trie *trie, struct TrieNode node) {
    if (trie->n == trie->capacity) {
        trie->capacity = trie->capacity ? 2 * trie->capacity : 64;
        trie->nodes = xrealloc(trie->nodes, trie->capacity * sizeof *trie->nodes);
    }
    trie->nodes[trie->n] = node;
    return trie->n++;
}

/* Adds a text of n bytes that ends at the added token of index `token`. Of several tokens of the same text
 * the first one stays. New nodes go to the front of their parent's list. */
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

/* How many nodes a trie may have for tokens of `bytes` bytes: one for each byte, and some more for tokens
 * that normalisation lengthens, but not the 32 times that it may lengthen each text. */
static uint64_t node_limit(uint64_t bytes) {
    return 8 * bytes + (1 << 20);
}

/* Builds both tries once the tokenizer is complete. `normalizers` NULL: texts are taken as they are. */
bool added_tokens_index(AddedTokens *a, const NormalizerList *normalizers, Error *e) {
    uint64_t bytes = 0; /* of the tokens so far */
    for (size_t i = 0; i < a->n; i++) {
        const AddedToken *token = &a->tokens[i];
        bytes += token->len;
        if (token->len > MAX_TOKEN_LENGTH)
            return error_set(e, ERR_INPUT, "added token %d is %u bytes long, more than %d", token->id,
                             token->len, MAX_TOKEN_LENGTH);
        /* A token that is searched in normalised text can only be found in its normalised form. */
        Buffer text = {0};
        buffer_append(&text, token->text, token->len);
        bool ok = !token->normalized || !normalizers || normalizers_apply(normalizers, &text, false, e);
        if (ok)
            trie_add(token->normalized ? &a->in_normalized : &a->in_text, (char *)text.data, text.size,
                     (int32_t)i);
        buffer_free(&text);
        if (!ok) return false;
        if (a->in_normalized.n > node_limit(bytes))
            return error_set(e, ERR_INPUT,
                             "the normalizers turn %zu added tokens of %llu bytes into more than %llu", i + 1,
                             (unsigned long long)bytes, (unsigned long long)node_limit(bytes));
    }
    return true;
}

void added_tokens_free(AddedTokens *a) {
    free(a->in_text.nodes);
    free(a->in_normalized.nodes);
}

/* The longest token that the text has at `at`, and its length in bytes; NULL if there is none. */
static const AddedToken *longest_at(const AddedTokens *a, const Trie *trie, const char *text, size_t n,
                                    size_t at, size_t *length) {
    const AddedToken *best = NULL;
    uint32_t node = 0;
    for (size_t i = at; i < n && (node = child_of(trie, node, (uint8_t)text[i])); i++)
        if (trie->nodes[node].token >= 0) {
            best = &a->tokens[trie->nodes[node].token];
            *length = i + 1 - at;
        }
    return best;
}

/* Whether text[from, to) has no letter, digit or other word character directly before or behind it, which the
 * option single_word demands. */
static bool stands_alone(const char *text, size_t n, size_t from, size_t to) {
    size_t len;
    return !(from > 0 && is_word_char(previous_char(text, from, &len))) &&
           !(to < n && is_word_char(next_char(text + to, n - to, &len)));
}

/* The sink receives the text between tokens and the tokens themselves in the order of the text. */
bool added_tokens_cut(const AddedTokens *a, const Trie *trie, const char *text, size_t n, AddedTokenSink sink,
                      void *context, Error *e) {
    size_t done = 0; /* up to here the text has been handed on */
    size_t length, len;
    for (size_t i = 0; trie->n && i < n;) {
        const AddedToken *token =
            trie->starts[(uint8_t)text[i]] ? longest_at(a, trie, text, n, i, &length) : NULL;
        if (!token) {
            i++;
            continue;
        }
        /* The search goes on behind the token, even if its options forbid it here. */
        size_t from = i, to = i + length;
        i = to;
        if (token->single_word && !stands_alone(text, n, from, to)) continue;
        /* Take white space at the sides along, except for what the token before has taken already: each space
         * is looked at once, even if tokens are spaces themselves. */
        if (token->rstrip && to < done) to = done;
        while (token->lstrip && from > done && is_space_char(previous_char(text, from, &len)))
            from -= len;
        while (token->rstrip && to < n && is_space_char(next_char(text + to, n - to, &len)))
            to += len;
        if (from < done) from = done;
        /* Hand on the text before the token, then the token. */
        if (from > done && !sink(context, text + done, from - done, done == 0, NULL, e)) return false;
        if (!sink(context, NULL, 0, false, token, e)) return false;
        done = to;
    }
    return done >= n || sink(context, text + done, n - done, done == 0, NULL, e);
}
