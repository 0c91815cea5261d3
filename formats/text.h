/* Small predicates and measures of strings, UTF-8 text and paths, used by readers, writers and commands
 * (text.c). No function here allocates memory or fails. */
#ifndef DEROPE_FORMATS_TEXT_H
#define DEROPE_FORMATS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* True if the last bytes of `s` are `end`. A string ends with itself and with the empty string. */
bool text_ends_with(const char *s, const char *end);

/* The number of leading bytes of `text` that are whole, valid UTF-8 sequences: `n` if all of it is valid.
 * Overlong forms, surrogates and code points above U+10FFFF are invalid (RFC 3629); a zero byte is valid. */
size_t text_utf8_prefix(const void *text, size_t n);

/* True if all `n` bytes are valid UTF-8. */
bool text_is_utf8(const void *text, size_t n);

/* The length of `path` without the slashes at its end, so that "model/" and "model" name one output. The root
 * directory "/" keeps its slash. */
size_t path_length(const char *path);

#endif
