/* A recipe at work: what plan tells and run does. Mistakes that show only beside the model are reported with
 * their place in the recipe. */
#ifndef DEROPE_CMD_RECIPE_RECIPE_JOB_H
#define DEROPE_CMD_RECIPE_RECIPE_JOB_H

#include "cmd/evaluate/eval_options.h"
#include "cmd/output.h"
#include "cmd/training_step.h"

enum { MAX_RECIPE_PATHS = 1024 };

typedef struct Job {
    const char *path;        /* of the recipe */
    const char *const *sets; /* --set, borrowed */
    size_t n_sets;
    json_t *recipe;
    bool from_scratch; /* the source is a configuration and a tokenizer */
    Checkpoint *source;
} Job;

/* Loads the recipe and opens its source. */
bool job_open(Job *j, const char *path, const char *const *sets, size_t n_sets, Error *e);
void job_close(Job *j);
/* A section of the recipe, NULL if it has none. */
const json_t *job_section(const Job *j, const char *name);
/* The source; after the recipe's surgery if `operated`. The caller closes it before the job. */
Model *job_model(const Job *j, bool operated, Error *e);
/* The recalibrate section as a request; `data` (MAX_RECIPE_PATHS) is filled with paths borrowed from it. */
bool job_recal(const Job *j, const char **data, RecalRequest *r, Error *e);
/* The evaluate section as options, complete but for where they are kept; `texts` (MAX_RECIPE_PATHS) is filled
 * with paths borrowed from it. */
bool job_evaluation(const Job *j, const char **texts, EvalOptions *o, Error *e);
size_t job_n_outputs(const Job *j);
/* Output `i` as a request, of a type and carrier that can be. */
bool job_output(const Job *j, size_t i, const Model *operated, OutputRequest *r, Error *e);
/* The files, not folders, that a section's key ("data", "text") names. New reference, NULL with an error. */
json_t *job_files(const Job *j, const char *section, const char *key, Error *e);

#endif
