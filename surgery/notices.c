/* Notices: sentences about things that a person should know and that are no errors, such as a tensor that is
 * left out. They are collected in a JSON array of the model or of a report, and printed by the verbs. */
#include "surgery/notices.h"

#include <stdarg.h>
#include <stdio.h>

#include "formats/json.h"

/* A notice is cut at 600 bytes. */
void notice_add(json_t *notices, const char *fmt, ...) {
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    /* json_text accepts any bytes: the cut at 600 may fall inside a UTF-8 character, and names come from
     * files. */
    json_array_append_new(notices, json_text(text));
}
