/* The state file of an evaluation: every finished measurement (a cell), under a key that is the hash of
 * all that the measurement depends on. An interrupted evaluation continues from it, and settings that come to
 * the same computation share one cell: up to the training length all context-extension methods leave the
 * model unchanged, so it is measured once there. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_STATE_H
#define DEROPE_CMD_EVALUATE_EVAL_STATE_H

#include <jansson.h>
#include <stdbool.h>

#include "formats/error.h"

typedef struct EvalState {
    const char *path; /* of the file; NULL: cells live in memory alone; borrowed */
    json_t *cells;    /* object: key (32 hexadecimal digits) -> value of the cell */
} EvalState;

/* Reads the cells at `path` (may be NULL). With `discard` they are not read; with `discard_tasks` those of
 * tasks are dropped, which a transcript needs because prompts and answers are not kept in cells. A missing
 * or damaged file means no cells: everything is then measured again. */
void eval_state_open(EvalState *s, const char *path, bool discard, bool discard_tasks);
void eval_state_close(EvalState *s);
/* The cell under `key`, borrowed; NULL if there is none, or if what is there does not look like a cell of a
 * task (`is_task`) or of a perplexity. */
json_t *eval_state_get(const EvalState *s, const char *key, bool is_task);
/* Adds a cell and rewrites the file. Takes over the reference to `value`. */
bool eval_state_put(EvalState *s, const char *key, json_t *value, Error *e);
/* Whether a state may be written to `path`. A file that is there and is not a state file is replaced only
 * with `force`. Asked before the work begins. */
bool eval_state_may_begin(const char *path, bool force, Error *e);

#endif
