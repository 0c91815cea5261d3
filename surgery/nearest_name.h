/* Finds the name that a user probably meant by a mistyped word, for "did you mean" in error texts
 * (nearest_name.c). */
#ifndef DEROPE_SURGERY_NEAREST_NAME_H
#define DEROPE_SURGERY_NEAREST_NAME_H

#include <stddef.h>

/* The candidate nearest to `word` (edit distance at most a third of its length and one), else the first that
 * begins with it, else NULL: for "did you mean". */
const char *nearest_name(const char *word, const char *const *candidates, size_t n);

#endif
