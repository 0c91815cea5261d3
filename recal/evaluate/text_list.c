/* A list of texts that grows: sentences of a scene, answers and candidates of a question, keys and values. */
#include "recal/evaluate/text_list.h"

#include <string.h>

#include "formats/buffer.h"

void text_list_add(TextList *l, const char *text) {
    /* Doubling keeps the cost of a list linear in its length. The list borrows the texts and owns only the
     * array. */
    if (l->n == l->capacity) {
        l->capacity = 2 * l->capacity + 16;
        l->texts = xrealloc(l->texts, l->capacity * sizeof *l->texts);
    }
    l->texts[l->n++] = text;
}

void text_list_insert(TextList *l, Random *r, const char *text) {
    size_t at = random_below(r, l->n + 1);
    text_list_add(l, text); /* makes room; the order is put right below */
    memmove(l->texts + at + 1, l->texts + at, (l->n - 1 - at) * sizeof *l->texts);
    l->texts[at] = text;
}
