/* A plan for people to read: the text form of what recipe_plan returns (cmd/recipe/recipe_plan.h). */
#ifndef DEROPE_CMD_RECIPE_PLAN_TEXT_H
#define DEROPE_CMD_RECIPE_PLAN_TEXT_H

#include <jansson.h>

/* Prints the plan on standard output. */
void plan_print(const json_t *plan);

#endif
