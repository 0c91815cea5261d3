/* Doing what a recipe says: `derope run`.
 *
 * Every step has a key, the hash of the program's version, of what goes into the step and of its parameters,
 * and is skipped if it was done with the same key before. The recalibrated weights are kept in OUTPUT.work
 * (OUTPUT being the recipe's first), measurements in OUTPUT.work/steps.json; an output carries its key in its
 * manifest. An interrupted run is continued by running the recipe again. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_RUN_H
#define DEROPE_CMD_RECIPE_RECIPE_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "formats/error.h"

/* What holds for all recipes of one command line. Everything is borrowed. */
typedef struct RecipeRun {
    const char *const *sets; /* texts of --set */
    size_t n_sets;
    bool force;          /* do everything anew and replace outputs */
    const char *depfile; /* where to write a make rule; NULL: nowhere */
    const char *report;  /* the joint report, which the caller writes at the end; NULL: none */
    const char *command; /* the command line, quoted in reports */
    bool several;        /* there is more than one recipe */
    json_t
        *table; /* array that receives a row for each model that was measured (cmd/evaluate/eval_table.h) */
    json_t *results; /* object that receives the measurements, joined (cmd/evaluate/eval_results.h) */
} RecipeRun;

/* Runs one recipe from checking to the last report. Mistakes in the recipe, missing files and places that
 * cannot be written to are refused before anything is computed. Adds to options->table and options->results
 * only what was measured. ERR_RECIPE for a wrong recipe, ERR_INTERRUPTED after a signal; running it again
 * then continues. */
bool recipe_run(const char *path, const RecipeRun *options, Error *e);

#endif
