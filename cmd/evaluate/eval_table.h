/* The table at the end of `derope run`: what several recipes measured, side by side. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_TABLE_H
#define DEROPE_CMD_EVALUATE_EVAL_TABLE_H

#include <jansson.h>
#include <stdbool.h>

/* Adds the rows of model number `model` of the results to the table, an array. Each context-extension method
 * gives a row
 *   {"recipe": path, "model": name, "skipped": nothing had to be measured,
 *    "perplexity": [{"context": tokens, "perplexity", "low", "high", "tokens"}],
 *    "tasks": {NAME: [{"context": tokens, "score", "low", "high", "first", "trials"}]}}
 * in which scores are pooled over all depths, with Wilson's 95 % interval. */
void eval_table_add(json_t *table, const json_t *results, size_t model, const char *recipe, bool skipped);
/* Prints perplexities and then each task, a column for each length. With `several` recipes, rows carry their
 * names. */
void eval_table_print(const json_t *table, bool several);
/* The name of a recipe in tables and reports: "examples/partial.yaml" -> "partial". Clipped to 63 bytes. */
void eval_table_recipe_name(const char *path, char out[64]);

#endif
