/* Finds out what a recipe would do, without doing it, for `derope plan`. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_PLAN_H
#define DEROPE_CMD_RECIPE_RECIPE_PLAN_H

#include "cmd/recipe/recipe_job.h"

/* The plan of an open job; new reference, or NULL with an error:
 *   {"source": PATH,
 *    "layers": [{"layer", "position_before", "position", "window_before", "window"}, ...],
 *    "recalibration": {"objective", "tokens", "context", "text_files", "seconds_estimated", "memory_bytes",
 *      "memory_available"},
 *    "evaluation": {"models", "context", "task_context", "suite", "tokens_estimated", "seconds_estimated",
 *      "memory_bytes"},
 *    "outputs": [{"path", "format", "carrier", "runtimes", "carriers", "bytes", "tensors", "keys",
 *      "notices"}, ...]}
 *
 * "recalibration" and "evaluation" are absent if the recipe has no such section. Keys that end in "_before"
 * describe the source; the keys without it describe the model after surgery. */
json_t *recipe_plan(const RecipeJob *j, Error *e);

#endif
