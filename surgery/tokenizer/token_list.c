/* A list of token ids that grows: what encoders append to. */
#include "surgery/tokenizer/token_list.h"

#include <stdlib.h>

#include "formats/buffer.h"

/* The capacity doubles, so that appending n ids takes time proportional to n. */
void token_append(TokenList *l, int32_t id) {
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 256;
        l->ids = xrealloc(l->ids, l->capacity * sizeof *l->ids);
    }
    l->ids[l->n++] = id;
}

/* The list is {0} again afterwards and can be used once more. */
void token_list_free(TokenList *l) {
    free(l->ids);
    *l = (TokenList){0};
}
