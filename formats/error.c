/* Errors with a code and a message: see formats/error.h. All three functions return false, so that a caller
 * can write `return error_set(...)`, and all accept NULL from callers that do not need the reason. */
#include "formats/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Sets code and message. vsnprintf cuts off a message that does not fit. */
bool error_set(Error *e, ErrorCode code, const char *fmt, ...) {
    if (!e) return false;
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return false;
}

/* Sets ERR_FAILED and a message that ends with the text for errno. errno is saved first, because formatting
 * may change it. Memory that has run out is called the same wherever it was noticed (formats/buffer.c). */
bool error_errno(Error *e, const char *fmt, ...) {
    int saved = errno;
    if (!e) return false;
    e->code = ERR_FAILED;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->message)
        snprintf(e->message + n, sizeof e->message - (size_t)n, ": %s",
                 saved == ENOMEM ? "out of memory" : strerror(saved));
    return false;
}

/* Puts a place, such as a file name, before the message that is there. The message is copied first, because
 * it cannot be both source and destination of snprintf. */
bool error_place(Error *e, const char *fmt, ...) {
    if (!e) return false;
    char old[sizeof e->message];
    memcpy(old, e->message, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->message)
        snprintf(e->message + n, sizeof e->message - (size_t)n, ": %.*s", (int)sizeof old - n, old);
    return false;
}
