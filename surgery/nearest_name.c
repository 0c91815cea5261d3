/* "Did you mean ...?": the known name that is nearest to a mistyped one. Messages about unknown options,
 * passes and choices use it. */
#include "surgery/nearest_name.h"

#include <string.h>

/* The Levenshtein distance of two words: the least number of characters to insert, delete or replace. It is
 * computed by dynamic programming with one row of the table at a time. Words above 60 characters count as far
 * from everything, which bounds the row. */
static size_t edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > 60 || m > 60) return 99;
    /* `diagonal` below is the value that row[j - 1] had in the row before this one. */
    size_t row[64]; /* row[j]: the distance of the first i characters of a and the first j of b */
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *nearest_name(const char *word, const char *const *candidates, size_t n) {
    /* One mistake in every three characters, and one more, still is the same word to a person. */
    size_t length = strlen(word), least = length / 3 + 2, nearest = n;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, candidates[i]);
        if (d >= least) continue; /* of candidates that are equally near the first one counts */
        least = d;
        nearest = i;
    }
    /* An abbreviation is far from the whole word, and yet says which one is meant. */
    for (size_t i = 0; nearest == n && length > 1 && i < n; i++)
        if (strncmp(candidates[i], word, length) == 0) nearest = i;
    return nearest < n ? candidates[nearest] : NULL;
}
