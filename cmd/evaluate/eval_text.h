/* The results of `derope eval` as text for a terminal. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_TEXT_H
#define DEROPE_CMD_EVALUATE_EVAL_TEXT_H

#include <jansson.h>

/* Prints two tables on standard output, perplexity and tasks, each if anything of its kind was measured.
 * `results` are those of an evaluation (cmd/evaluate/eval_results.h). */
void eval_text_print(const json_t *results);

#endif
