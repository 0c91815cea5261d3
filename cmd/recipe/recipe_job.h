/* A recipe together with its source: what `derope plan` describes and `derope run` does. The sections of the
 * recipe become the requests that the rest of cmd/ takes, by the same tables of options as flags do
 * (surgery/option.h). Mistakes that show only beside the model are reported with their place in the recipe.
 */
#ifndef DEROPE_CMD_RECIPE_RECIPE_JOB_H
#define DEROPE_CMD_RECIPE_RECIPE_JOB_H

#include "cmd/eval_request.h"
#include "cmd/output.h"
#include "cmd/training_step.h"

/* An opened recipe. Start with recipe_job_open, which fills all fields. */
typedef struct RecipeJob {
    const char *path;        /* of the recipe file, borrowed */
    const char *const *sets; /* the texts of --set, borrowed */
    size_t n_sets;           /* number of texts in `sets` */
    json_t *recipe;          /* as recipe_load returns it */
    bool from_scratch;       /* the source has a configuration and a tokenizer, and no weights are read */
    /* The opened source; NULL if it could not be opened. Models made of it borrow from it. */
    Checkpoint *source;
} RecipeJob;

/* Loads the recipe and opens its source. The job is closed by recipe_job_close whether this succeeds or not.
 */
bool recipe_job_open(RecipeJob *j, const char *path, const char *const *sets, size_t n_sets, Error *e);
void recipe_job_close(RecipeJob *j);
/* A section of the recipe as JSON, NULL if the recipe has none of that name. Borrowed. */
const json_t *recipe_job_section(const RecipeJob *j, const char *name);
/* Makes an ERR_USAGE in `e` an error of the recipe at the dotted place; other errors stay. Returns false. */
bool recipe_job_blame(const RecipeJob *j, const char *dotted, Error *e);
/* The source as a model; with `operated` after the recipe's surgery. The caller closes it before the job. */
Model *recipe_job_model(const RecipeJob *j, bool operated, Error *e);
/* The recalibrate section as a request, whose texts are borrowed from the job. */
bool recipe_job_recal(const RecipeJob *j, RecalRequest *r, Error *e);
/* The evaluate section as a request, complete but for where its state is kept. Texts are borrowed. */
bool recipe_job_evaluation(const RecipeJob *j, EvalRequest *r, Error *e);
/* How many outputs the recipe has, at least 1. */
size_t recipe_job_n_outputs(const RecipeJob *j);
/* Output `i` as a request; refuses a type or a carrier that the model after surgery cannot have. */
bool recipe_job_output(const RecipeJob *j, size_t i, const Model *operated, OutputRequest *r, Error *e);
/* The files that a section's key ("data", "text") names, folders replaced by the files in them. New
 * reference, NULL with an error. */
json_t *recipe_job_files(const RecipeJob *j, const char *section, const char *key, Error *e);

#endif
