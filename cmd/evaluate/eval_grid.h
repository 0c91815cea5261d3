/* The grid of an evaluation: subjects under context-extension methods, at lengths, by suites. `derope eval`
 * and the `evaluate:` section of a recipe both work through it.
 *
 * How the files of cmd/evaluate fit together: eval_options says what to measure, eval_subject what is
 * measured, eval_measure does one measurement (a cell), eval_state keeps finished cells in a file,
 * eval_results is the JSON that comes out, and eval_grid goes through all combinations. eval_text prints
 * results of `derope eval`, eval_table those of `derope run`. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_GRID_H
#define DEROPE_CMD_EVALUATE_EVAL_GRID_H

#include "cmd/evaluate/eval_options.h"
#include "cmd/evaluate/eval_subject.h"

typedef struct EvalGrid EvalGrid;

/* A grid without subjects. `options` must be complete; what they point to is borrowed and must outlive the
 * grid. `command` is quoted in the results. NULL with an error if a text or the wording cannot be read. */
EvalGrid *eval_grid_new(const EvalOptions *options, const char *command, Error *e);
void eval_grid_free(EvalGrid *g);

/* Measures a subject at every length, under every method and by every suite, except the cells that the state
 * already holds. On an error or an interruption the finished cells remain in the state. */
bool eval_grid_add_subject(EvalGrid *g, const EvalSubject *s, Error *e);
/* Measures a checkpoint on disk, under all methods. */
bool eval_grid_add_checkpoint(EvalGrid *g, const char *path, Error *e);

/* How many cells were measured so far, not counting those found in the state. */
size_t eval_grid_n_measured(const EvalGrid *g);
/* The results (eval_results.h) of all subjects so far; borrowed from the grid. */
json_t *eval_grid_results(EvalGrid *g);
/* With the option `transcript`: one line of JSON per question that was asked; borrowed from the grid.
 * {"model", "method", "length", "task", "depth", "prompt", "answers", "candidates", "said", "found" (how many
 * of the answers), "place" (rank of the right candidate, 1 the likeliest; 0: there were no candidates)}. */
const Buffer *eval_grid_transcript(const EvalGrid *g);

#endif
