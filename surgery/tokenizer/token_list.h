/* A list of token ids that grows. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKEN_LIST_H
#define DEROPE_SURGERY_TOKENIZER_TOKEN_LIST_H

#include <stddef.h>
#include <stdint.h>

/* Start with an empty list, {0}. */
typedef struct TokenList {
    int32_t *ids; /* (n) */
    size_t n, capacity;
} TokenList;

void token_append(TokenList *l, int32_t id);
/* Frees the ids; the list is empty afterwards and can be used again. */
void token_list_free(TokenList *l);

#endif
