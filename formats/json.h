/* jansson with our errors, and a writer that keeps numbers as people wrote them. */
#ifndef DEROPE_FORMATS_JSON_H
#define DEROPE_FORMATS_JSON_H

#include <jansson.h>

#include "formats/buffer.h"
#include "formats/error.h"

/* Parses `n` bytes; messages begin with `where` and carry line and column. Duplicate keys are errors.
 * Integers beyond 64 bits (tokenizer_config's model_max_length) become reals. New reference or NULL. */
json_t *json_parse(const char *where, const void *bytes, size_t n, Error *e);
/* The same for what begins at a later line of its file. */
json_t *json_parse_line(const char *where, size_t line, const void *bytes, size_t n, Error *e);

/* Appends `value`, indented by `indent` spaces (0: one line), keys in order, reals in the shortest form that
 * reads back the same. Ends without a newline. */
void json_print(const json_t *value, int indent, Buffer *out);

/* A string of bytes that need not be UTF-8 (a file's name): what is not becomes U+FFFD. New reference. */
json_t *json_text(const char *s);

/* Typed look-ups: false if absent, null or of another type. */
bool json_get_u64(const json_t *object, const char *key, uint64_t *out);
bool json_get_f64(const json_t *object, const char *key, double *out); /* integers too */
bool json_get_bool(const json_t *object, const char *key, bool *out);
const char *json_get_string(const json_t *object, const char *key); /* borrowed, or NULL */

#endif
