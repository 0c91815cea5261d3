/* A recipe together with its opened source, for `derope plan` and `derope run`. The functions here convert
 * the sections of the recipe into the requests that the rest of cmd/ takes. They use the same option tables
 * (surgery/option.h) as command-line flags do, so both accept the same values. Mistakes that can only be
 * found with the model at hand are reported with the key of the recipe that they are in.
 */
#ifndef DEROPE_CMD_RECIPE_RECIPE_JOB_H
#define DEROPE_CMD_RECIPE_RECIPE_JOB_H

#include "cmd/eval_request.h"
#include "cmd/output.h"
#include "cmd/training_step.h"

/* An opened recipe. Start with recipe_job_open, which fills all fields. */
typedef struct RecipeJob {
    const char *path;        /* the recipe file, borrowed */
    const char *const *sets; /* the KEY=VALUE arguments of --set, borrowed */
    size_t n_sets;           /* number of texts in `sets` */
    json_t *recipe;          /* as recipe_load returns it */
    bool from_scratch; /* train from random weights; only the source's configuration and tokenizer are read */
    /* The opened source; NULL if it could not be opened. Models made of it borrow from it. */
    Checkpoint *source;
} RecipeJob;

/* Loads the recipe and opens its source. The job is closed by recipe_job_close whether this succeeds or not.
 */
bool recipe_job_open(RecipeJob *j, const char *path, const char *const *sets, size_t n_sets, Error *e);
void recipe_job_close(RecipeJob *j);
/* A section of the recipe as JSON, NULL if the recipe has none of that name. Borrowed. */
const json_t *recipe_job_section(const RecipeJob *j, const char *name);
/* Turns an ERR_USAGE in `e` into an ERR_RECIPE that names the recipe and the key (such as "evaluate.report").
 * Other errors stay unchanged. Returns false, so that callers can return its result. */
bool recipe_job_blame(const RecipeJob *j, const char *dotted, Error *e);
/* Opens the source as a model, and applies the recipe's surgery to it if `operated` is set. NULL with an
 * error. The caller closes the model, and does so before the job. */
Model *recipe_job_model(const RecipeJob *j, bool operated, Error *e);
/* Converts the recalibrate section into a request. Its strings are borrowed from the job. */
bool recipe_job_recal(const RecipeJob *j, RecalRequest *r, Error *e);
/* Converts the evaluate section into a request. Its strings are borrowed from the job. The caller sets the
 * path of the state file (EvalOptions.state). */
bool recipe_job_evaluation(const RecipeJob *j, EvalRequest *r, Error *e);
/* How many outputs the recipe has, at least 1. */
size_t recipe_job_n_outputs(const RecipeJob *j);
/* Converts output `i` (from 0) into a request. A storage type or a carrier that is impossible for `operated`,
 * the model after surgery, is an error. */
bool recipe_job_output(const RecipeJob *j, size_t i, const Model *operated, OutputRequest *r, Error *e);
/* Lists the files that are named under `key` ("data" or "text") in a section, as an array of paths. A folder
 * is replaced by the files in it. Returns a new reference, or NULL with an error. */
json_t *recipe_job_files(const RecipeJob *j, const char *section, const char *key, Error *e);

#endif
