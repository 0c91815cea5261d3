/* The state file of an evaluation. It holds every finished measurement (a cell) under a key, which is a hash
 * of everything that the measurement depends on. An interrupted evaluation continues from this file. Settings
 * that lead to the same computation have the same key and share one cell: at lengths up to the training
 * length, no context-extension method changes the model, so the model is measured once for all methods. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_STATE_H
#define DEROPE_CMD_EVALUATE_EVAL_STATE_H

#include <jansson.h>
#include <stdbool.h>

#include "formats/error.h"

typedef struct EvalState {
    const char *path; /* the state file; NULL: cells are only kept in memory; borrowed */
    json_t *cells;    /* object: key (32 hexadecimal digits) -> value of the cell */
} EvalState;

/* Reads the cells of the file at `path` (may be NULL). With `discard` the file is not read. With
 * `discard_tasks` the cells of tasks are dropped: cells do not contain prompts and answers, so a transcript
 * of them needs the tasks to be run again. A missing or damaged file counts as a file without cells, and
 * everything is measured again. */
void eval_state_open(EvalState *s, const char *path, bool discard, bool discard_tasks);
void eval_state_close(EvalState *s);
/* Returns the cell under `key`, borrowed. NULL if there is none, or if its members are not those of a task
 * measurement (`is_task`) or of a perplexity measurement. */
json_t *eval_state_get(const EvalState *s, const char *key, bool is_task);
/* Adds a cell and rewrites the file. Takes over the reference to `value`. */
bool eval_state_put(EvalState *s, const char *key, json_t *value, Error *e);
/* Checks, before the first measurement, that a state file may be written to `path`. An existing file that is
 * not a state file is only replaced with `force`. */
bool eval_state_may_begin(const char *path, bool force, Error *e);

#endif
