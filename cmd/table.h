/* The table that run prints at its end: what recipes measured, side by side. */
#ifndef DEROPE_CMD_TABLE_H
#define DEROPE_CMD_TABLE_H

#include <jansson.h>
#include <stdbool.h>

/* Adds the rows of an evaluation's subject number `model` to the table, one per method:
 * {"recipe", "model", "skipped", "perplexity": [{"context", "perplexity", "low", "high", "tokens"}],
 *  "tasks": {NAME: [{"context", "score", "low", "high", "first", "trials"}]}}, over all depths. */
void table_add(json_t *table, const json_t *results, size_t model, const char *recipe, bool skipped);
/* "examples/partial.yaml" -> "partial" */
void recipe_stem(const char *path, char out[64]);
/* Prints it; `several` recipes are told apart by their names. */
void table_print(const json_t *table, bool several);

#endif
