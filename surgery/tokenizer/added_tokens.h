/* Added tokens: tokens such as <|im_end|> or <s> that are recognised when they are written out in a text,
 * before the text is cut into pieces. */
#ifndef DEROPE_SURGERY_TOKENIZER_ADDED_TOKENS_H
#define DEROPE_SURGERY_TOKENIZER_ADDED_TOKENS_H

#include "surgery/tokenizer/normalize.h"

typedef struct AddedToken {
    const char *text;
    uint32_t len; /* bytes of text */
    int32_t id;
    bool special;        /* left out when tokens are decoded */
    bool lstrip, rstrip; /* the token includes the white space before it (after it) */
    bool single_word;    /* is only recognised if no letter or digit touches it */
    bool normalized;     /* is searched in normalised text instead of the original one */
} AddedToken;

/* The texts of added tokens as a tree by bytes. */
typedef struct Trie {
    struct TrieNode *nodes; /* nodes[0] is the root; NULL if there are no texts */
    uint32_t n, capacity;
    bool starts[256]; /* the bytes that a text may begin with */
} Trie;

typedef struct AddedTokens {
    AddedToken *tokens; /* (n), in the tokenizer's arena */
    size_t n;
    Trie in_text;       /* those that are searched in the original text */
    Trie in_normalized; /* those that are searched in normalised text */
} AddedTokens;

enum { MAX_TOKEN_LENGTH = 1024 }; /* bytes */

/* Builds the tries. Tokens that are searched in normalised text are normalised by the steps of `normalizers`,
 * or taken as they are if it is NULL. An ERR_INPUT if a token is longer than MAX_TOKEN_LENGTH, or if the
 * normalised tokens together are much longer than they were before. */
bool added_tokens_index(AddedTokens *a, const NormalizerList *normalizers, Error *e);
void added_tokens_free(AddedTokens *a);

/* Receives either an added token (then `n` is 0), or the text between two added tokens (then `token` is
 * NULL). `first` is true for the text at the start of the input. Returning false ends the search. */
typedef bool (*AddedTokenSink)(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                               Error *e);

/* Searches a text for the added tokens of a trie, from left to right, the longest one at each place, and
 * passes tokens and the text between them to the sink in order. Empty text is not passed. */
bool added_tokens_cut(const AddedTokens *a, const Trie *trie, const char *text, size_t n, AddedTokenSink sink,
                      void *context, Error *e);

#endif
