/* A list of texts that grows. It holds pointers only: the texts themselves live in an arena of their owner,
 * and the array is freed with free(list.texts). */
#ifndef DEROPE_RECAL_EVALUATE_TEXT_LIST_H
#define DEROPE_RECAL_EVALUATE_TEXT_LIST_H

#include "recal/random.h"

typedef struct TextList {
    const char **texts; /* (n), C strings */
    size_t n, capacity;
} TextList;

/* Appends a text. Start with an empty list, {0}. */
void text_list_add(TextList *l, const char *text);
/* Inserts a text at a uniformly random place of the list: before, between or behind the others. */
void text_list_insert(TextList *l, Random *r, const char *text);

#endif
