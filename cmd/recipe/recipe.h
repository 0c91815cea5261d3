/* Recipes: a whole conversion in one YAML file. examples/recipe-reference.yaml shows every key, and
 * recipe_sections.h lists them for the program. Loading a recipe checks every key, type and range, and gives
 * plain JSON, so that the rest of the program never sees YAML:
 *
 *   {"source": PATH,
 *    "surgery": [{"pass": "drop_rope", "layers": ...}, ...],
 *    "recalibrate": {...}, "evaluate": {...},        absent if the recipe has none
 *    "outputs": [{"path": PATH, ...}, ...]}
 *
 * Paths in the file are relative to the file's folder, paths in --set to the current one; both come out
 * joined. Numbers may carry k, M or G. recipe_job.h makes requests of the JSON. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_H
#define DEROPE_CMD_RECIPE_RECIPE_H

#include <jansson.h>

#include "formats/error.h"

/* Loads the recipe at `path` and applies the `n_sets` texts of --set: "recalibrate.tokens=4000",
 * "outputs.0.path=out.gguf". Returns a new reference, or NULL with ERR_RECIPE and a message such as
 * "recipe.yaml:12:5: unknown key in recalibrate: 'tokns'; did you mean 'tokens'?". */
json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e);

/* For mistakes that show only once the model is open: turns the error in `e` into one of the recipe
 * (ERR_RECIPE), and puts before it the place of `dotted` ("surgery.1", "outputs.0.dtype"):
 * "recipe.yaml:12:5", or "--set KEY" if the value came from there. Returns false. */
bool recipe_blame(const char *path, const char *const *sets, size_t n_sets, const char *dotted, Error *e);

#endif
