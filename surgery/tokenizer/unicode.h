/* Characters of UTF-8 text and their properties. The programs whose tokens are reproduced use different
 * versions of Unicode, and so do the libraries used here (PCRE2, utf8proc); the differences are in tables in
 * unicode.c. */
#ifndef DEROPE_SURGERY_TOKENIZER_UNICODE_H
#define DEROPE_SURGERY_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* U+2581, the three bytes by which SentencePiece vocabularies mark a space. */
extern const char space_marker[];
enum { SPACE_MARKER_SIZE = 3 };
/* Whether the text (n bytes) begins with the marker. */
static inline bool starts_with_marker(const char *text, size_t n) {
    return n >= SPACE_MARKER_SIZE && memcmp(text, space_marker, SPACE_MARKER_SIZE) == 0;
}

/* Decodes the character at the start of `text` (n > 0): returns its code point and sets its length in bytes;
 * -1 and a length of 1 if it is not valid UTF-8. */
int32_t next_char(const char *text, size_t n, size_t *len);
/* Decodes the character that ends before `at` > 0; returns as next_char does. */
int32_t previous_char(const char *text, size_t at, size_t *len);
/* Moves `*at` to the start of the next character; false if it is at the end already. */
bool next_position(const char *text, size_t n, size_t *at);

/* White_Space of Unicode: what \s matches in HF `tokenizers`. */
bool is_space_char(int32_t code);
/* What \w matches in Rust's regex crate: letters, marks, digits, connecting punctuation and joiners. */
bool is_word_char(int32_t code);
/* Whether Unicode normalisation in HF `tokenizers` leaves the character as it is although current Unicode
 * decomposes or reorders it: the crate `unicode-normalization-alignments` has the tables of Unicode 9. */
bool is_unnormalized(int32_t code);
/* The lower-case form of a character, including letters that are newer than utf8proc. */
int32_t lower_char(int32_t code);
/* A combining mark that Unicode 15 or 16 added and utf8proc does not know. */
bool is_new_mark(int32_t code);
/* The ranges that Unicode 15 and 16 added to the property \p{name} (`n` bytes of name), written as members of
 * a character class; NULL if there are none. */
const char *property_additions(const char *name, size_t n);

#endif
