/* The `surgery` section of a recipe: a list of passes with their arguments. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_PASSES_H
#define DEROPE_CMD_RECIPE_RECIPE_PASSES_H

#include "cmd/recipe/recipe_yaml.h"
#include <jansson.h>

/* Reads "- drop_rope" and "- drop_rope: {layers: 20-29}" into [{"pass": "drop_rope", "layers": "20-29"},
 * ...], checked as far as that is possible without a model. New reference, or NULL with an error that names
 * file, line and column. */
json_t *recipe_read_passes(RecipeReader *r, const yaml_node_t *n, Error *e);

#endif
