/* What a recipe would do, found out without doing it, for `derope plan`. plan_text.h prints the result for
 * people. Sizes are in bytes, lengths in tokens, times in seconds. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_PLAN_H
#define DEROPE_CMD_RECIPE_RECIPE_PLAN_H

#include "cmd/recipe/recipe_job.h"

/* The plan of an open job as JSON; new reference, or NULL with an error:
 *
 *   {"source": PATH,
 *    "layers": [{"layer", "position_before", "position", "window_before", "window"}, ...],
 *    "recalibration": {"objective", "tokens", "context", "text_files", "seconds_estimated",
 *                      "memory_bytes", "memory_available"},
 *    "evaluation": {"models", "context", "task_context", "suite", "tokens_estimated",
 *                   "seconds_estimated", "memory_bytes"},
 *    "outputs": [{"path", "format", "carrier", "runtimes", "carriers", "bytes",
 *                 "tensors": {"count", "not_untouched"}, "keys", "notices"}, ...]}
 *
 * "layers" lists only layers that change; a window of 0 is none; keys that end in "_before" describe the
 * source, those without it the model after surgery. "recalibration" and "evaluation" are absent if the
 * recipe has no such section. A model that is trained from scratch has neither "evaluation" nor entries in
 * "outputs". Mistakes in the recipe that show only with the model are ERR_RECIPE. */
json_t *recipe_plan(const RecipeJob *j, Error *e);

#endif
