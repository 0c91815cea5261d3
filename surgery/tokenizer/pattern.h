/* Regular expressions of tokenizers. They are written for Oniguruma, the engine of HF `tokenizers`, and
 * matched by PCRE2; pattern.c rewrites what the two understand differently. */
#ifndef DEROPE_SURGERY_TOKENIZER_PATTERN_H
#define DEROPE_SURGERY_TOKENIZER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/error.h"

typedef struct Pattern Pattern;

/* Compiles an expression in Oniguruma's syntax. NULL with an error, whose message begins with `where`, if it
 * is longer than 16384 bytes, is wrong, or uses nested or intersected character classes, which PCRE2 does not
 * have.
 *
 * `trusted`: the expression is one of derope's own or a published one, which takes time in proportion to the
 * text. Searches with any other expression are counted and end with an error when they take more than 1000
 * steps for each byte of text, which such an expression does that tries the same places again and again. */
Pattern *pattern_compile(const char *text, bool trusted, const char *where, Error *e);
/* Compiles a text of at most 1024 bytes that is matched literally. */
Pattern *pattern_literal(const char *text, const char *where, Error *e);
void pattern_free(Pattern *p);

/* Finds the first match in text[at, n), which has to be valid UTF-8. Returns 1 and its begin and end in
 * `span`, 0 if there is none, -1 with an error if a limit on steps or memory is exceeded. A search from `at`
 * 0 begins a new text, whose bytes count for the limit. */
int pattern_find(const Pattern *p, const char *text, size_t n, size_t at, size_t span[2], Error *e);

#endif
