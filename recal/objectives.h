/* What training can minimise. objectives.c has the one list of objectives: recipes, flags, help and
 * completions ask it for names. Adding one is a line there and its loss in train_batch.c. */
#ifndef DEROPE_RECAL_OBJECTIVES_H
#define DEROPE_RECAL_OBJECTIVES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Objective {
    const char *name;   /* "next-token": what --objective takes and the manifest records */
    const char *help;   /* one line */
    bool needs_teacher; /* its loss compares with the source model as it was, with its RoPE */
} Objective;

extern const Objective objectives[]; /* ends with a NULL name */
/* NULL if there is none of that name. */
const Objective *objective_by_name(const char *name);
/* Fills `names` with at most `max` names and returns how many, for an option's choices. */
size_t objective_names(const char **names, size_t max);

#endif
