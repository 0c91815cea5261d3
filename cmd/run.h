/* The steps of a recipe, as plan tells them and run does them. */
#ifndef DEROPE_CMD_RUN_H
#define DEROPE_CMD_RUN_H

#include "cmd/recalibrate.h"

/* A recipe's recalibrate section as a request; `data` is filled with the paths (borrowed from the recipe). */
bool recal_from_recipe(const json_t *section, const char **data, size_t max_data, RecalRequest *r, Error *e);

enum { MAX_RECIPE_PATHS = 1024 };

#endif
