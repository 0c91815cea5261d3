/* Notices are sentences for the user about what was read, left out or rounded ("tensor 'x' is rounded from
 * bf16 to f16"). They are neither errors nor debug output: `convert` prints them, and the manifest of an
 * output keeps them. A list of notices is a JSON array of strings. The model has one for what was found when
 * it was opened and for what passes said; each export has one of its own, which begins with a copy of the
 * model's. */
#ifndef DEROPE_SURGERY_NOTICES_H
#define DEROPE_SURGERY_NOTICES_H

#include <jansson.h>

/* Appends a formatted sentence, at most 600 bytes of it. */
void notice_add(json_t *notices, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
