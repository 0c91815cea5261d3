/* A recipe describes a whole conversion in one YAML file. examples/recipe-reference.yaml shows every key, and
 * recipe_sections.h has the tables of keys that the program uses. Loading a recipe checks every key, type and
 * range, and returns JSON, so that the rest of the program does not handle YAML:
 *
 *   {"source": PATH,
 *    "surgery": [{"pass": "drop_rope", "layers": ...}, ...],
 *    "recalibrate": {...}, "evaluate": {...},        absent if the recipe has none
 *    "outputs": [{"path": PATH, ...}, ...]}
 *
 * Paths in the file are relative to the file's folder, and paths in --set are relative to the current folder.
 * In the JSON all paths are relative to the current folder or absolute. Numbers may be written with k, M or
 * G. recipe_job.h converts the JSON to requests. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_H
#define DEROPE_CMD_RECIPE_RECIPE_H

#include <jansson.h>

#include "formats/error.h"

/* Loads the recipe at `path` and applies the `n_sets` arguments of --set, such as "recalibrate.tokens=4000"
 * or "outputs.0.path=out.gguf". Returns a new reference, or NULL with ERR_RECIPE and a message such as
 * "recipe.yaml:12:5: unknown key in recalibrate: 'tokns'; did you mean 'tokens'?". */
json_t *recipe_load(const char *path, const char *const *sets, size_t n_sets, Error *e);

/* Reports a mistake in a recipe that was only found when the model was open. Turns the error in `e` into
 * ERR_RECIPE, and prefixes its message with the position of the key `dotted` (such as "surgery.1" or
 * "outputs.0.dtype"): "recipe.yaml:12:5", or "--set KEY" if --set supplied the value. Returns false. */
bool recipe_blame(const char *path, const char *const *sets, size_t n_sets, const char *dotted, Error *e);

#endif
