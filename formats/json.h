/* JSON: jansson with errors that say where, a printer, and typed access (json.c).
 *
 * The printer exists because a config.json that no pass changed should come out with the numbers as people
 * wrote them: "rms_norm_eps": 1e-05 and not 1.0000000000000001e-05. */
#ifndef DEROPE_FORMATS_JSON_H
#define DEROPE_FORMATS_JSON_H

#include <jansson.h>

#include "formats/buffer.h"
#include "formats/error.h"

/* Makes jansson allocate by xmalloc, which ends the program when memory runs out. jansson itself would return
 * NULL from any of its functions, and every chain of calls that builds a value ignores that. To be called
 * once, before the first JSON value is made. */
void json_use_own_memory(void);

/* Parses `n` bytes and returns a new reference, or NULL with ERR_INPUT "WHERE:LINE:COLUMN: not valid JSON:
 * ...". Duplicate keys are errors. Integers that do not fit in 64 bits become reals: tokenizer_config.json
 * often has 1000000000000000019884624838656 as model_max_length. */
json_t *json_parse(const char *where, const void *bytes, size_t n, Error *e);

/* Does the same with text that begins at line `line` of its file, for files with one JSON value a line. */
json_t *json_parse_line(const char *where, size_t line, const void *bytes, size_t n, Error *e);

/* Appends `value` to `out`: keys in their order, reals with the fewest digits that read back as the same
 * double, each level indented by `indent` spaces (0: all on one line), no newline at the end. */
void json_print(const json_t *value, int indent, Buffer *out);

/* A JSON string of bytes that may not be valid UTF-8, such as a file name; invalid bytes become U+FFFD.
 * Returns a new reference. */
json_t *json_text(const char *s);

/* The value of a key. False, with `out` unchanged, if it is absent, null or of another type. json_get_f64
 * accepts integers too; json_get_u64 does not accept negative numbers. The string is borrowed from
 * `object`. */
bool json_get_u64(const json_t *object, const char *key, uint64_t *out);
bool json_get_f64(const json_t *object, const char *key, double *out);
bool json_get_bool(const json_t *object, const char *key, bool *out);
const char *json_get_string(const json_t *object, const char *key); /* NULL instead of false */

#endif
