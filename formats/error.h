/* The one way in which functions of this program report failure (error.c).
 *
 * A function that can fail takes an `Error *` as its last argument and returns false, NULL or -1. It fills
 * the error exactly when it fails; NULL is allowed where the caller does not want the reason. A message names
 * the place first, then what was found and what was expected: "model.gguf: offset 4: GGUF version 9; versions
 * 2 and 3 are read". */
#ifndef DEROPE_FORMATS_ERROR_H
#define DEROPE_FORMATS_ERROR_H

#include <stdbool.h>

/* The code of an error is the exit status of the program. */
typedef enum ErrorCode {
    ERR_NONE = 0,
    ERR_FAILED = 1, /* the machine: disk full, no memory, no permission; or an output that exists already */
    ERR_USAGE = 2,  /* a wrong command line */
    ERR_INPUT = 3,  /* an input file is absent, damaged, or of an unsupported kind */
    ERR_RECIPE = 4, /* a wrong recipe */
    ERR_INTERRUPTED = 5, /* stopped by a signal; what is on disk can be resumed */
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    char message[1024]; /* longer messages are cut off */
} Error;

/* Fills `e` and returns false, so that callers can write `return error_set(...)`. */
bool error_set(Error *e, ErrorCode code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Fills `e` with the code ERR_FAILED and the formatted message followed by ": " and the text of errno, such
 * as "No such file or directory". Returns false. */
bool error_errno(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "place: " before the message that `e` already has, and returns false. */
bool error_place(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
