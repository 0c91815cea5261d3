/* Prints the plan of a recipe, the JSON that recipe_plan returns (cmd/recipe/recipe_plan.h), as text for
 * people. */
#ifndef DEROPE_CMD_RECIPE_PLAN_TEXT_H
#define DEROPE_CMD_RECIPE_PLAN_TEXT_H

#include <jansson.h>

/* Prints the plan on standard output. */
void plan_print(const json_t *plan);

#endif
