/* The one way a function says that it failed, and where.
 *
 * A function that can fail takes an `Error *` as its last argument and returns false or NULL.
 * The message names the place first: "model.gguf: tensor 17 'blk.0.attn_q.weight': offset ...".
 * The code is the exit status of the program (README, "Exit codes"). */
#ifndef DEROPE_FORMATS_ERROR_H
#define DEROPE_FORMATS_ERROR_H

#include <stdbool.h>

typedef enum ErrorCode {
    ERR_NONE = 0,
    ERR_FAILED = 1,      /* the machine said no: disk full, no memory, no permission */
    ERR_USAGE = 2,       /* the command line makes no sense */
    ERR_INPUT = 3,       /* an input file is damaged, or of a kind we refuse */
    ERR_RECIPE = 4,      /* a recipe is wrong */
    ERR_INTERRUPTED = 5, /* stopped by a signal; what is on disk can be resumed */
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    char message[1024];
} Error;

/* Fills `e` (if not NULL) and returns false, so that a caller can `return error_set(...)`. */
bool error_set(Error *e, ErrorCode code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Same, with ": strerror(errno)" appended and ERR_FAILED as code. */
bool error_errno(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "place: " before the message already in `e`; returns false. */
bool error_place(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
