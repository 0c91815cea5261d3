/* What the verbs share at run time: interruption, progress and notes on standard error, JSON on standard
 * output, and two shorthands for errors. Verbs are described in cmd/verb.h, and their command lines parsed in
 * cmd/command_line.h. */
#ifndef DEROPE_CMD_CMD_H
#define DEROPE_CMD_CMD_H

#include <jansson.h>
#include <stdbool.h>

#include "formats/error.h"

/* Not 0 once SIGINT, SIGTERM or SIGHUP has come. Long loops look at it and fail with ERR_INTERRUPTED. */
extern volatile int cmd_stop;
/* --quiet: neither progress nor notes are printed. */
extern bool cmd_quiet;

/* Says that the request to stop was received, for the handler of a signal. Nothing if cmd_quiet. */
void cmd_say_stopping(void);
/* A line of progress on standard error. On a terminal it is rewritten in place, at most ten times a second;
 * elsewhere, as in a log, a plain line is printed every 10 s. Nothing if cmd_quiet. */
void cmd_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Ends a line of progress that was rewritten in place, so that other text begins on a line of its own. */
void cmd_progress_end(void);
/* "note: ..." on standard error, unless cmd_quiet. */
void cmd_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A JSON value on standard output, indented, with a newline. */
void cmd_print_json(const json_t *v);
/* error_set with ERR_USAGE; returns false. */
bool cmd_usage(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds to the end of the message in `e`. */
void cmd_advise(Error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
