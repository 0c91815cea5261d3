/* Joins a recipe with its source for recipe_plan.c and recipe_run.c. The recipe reader (recipe.c) has checked
 * what can be checked without a model: names, types and ranges. What is checked here needs the model, or more
 * than one key; such errors get a place in the recipe afterwards, by recipe_blame. */
#include "cmd/recipe/recipe_job.h"

#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/recipe/recipe.h"
#include "cmd/recipe/recipe_sections.h"
#include "formats/checkpoint_open.h"
#include "formats/json.h"
#include "recal/text_data.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"

bool recipe_job_open(RecipeJob *j, const char *path, const char *const *sets, size_t n_sets, Error *e) {
    *j = (RecipeJob){.path = path, .sets = sets, .n_sets = n_sets};
    j->recipe = recipe_load(path, sets, n_sets, e);
    if (!j->recipe) return false;
    /* A source for training from scratch needs no weights, so only its configuration and tokenizer are
     * opened. */
    json_get_bool(recipe_job_section(j, "recalibrate"), "from_scratch", &j->from_scratch);
    j->source = checkpoint_open_config(json_get_string(j->recipe, "source"), j->from_scratch, e);
    return j->source != NULL;
}

void recipe_job_close(RecipeJob *j) {
    checkpoint_close(j->source);
    json_decref(j->recipe);
}

const json_t *recipe_job_section(const RecipeJob *j, const char *name) {
    return json_object_get(j->recipe, name);
}

bool recipe_job_blame(const RecipeJob *j, const char *dotted, Error *e) {
    return e->code == ERR_USAGE && recipe_blame(j->path, j->sets, j->n_sets, dotted, e);
}

/* ---- models ---- */

/* Applies the passes of the surgery section to a model in order. They are applied one by one, so that an
 * error can be reported at the line of the pass that failed. */
static bool operate(const RecipeJob *j, Model *m, Error *e) {
    size_t i;
    json_t *pass;
    json_array_foreach(recipe_job_section(j, "surgery"), i, pass) {
        char dotted[32];
        /* passes_apply takes a list. */
        json_t *one = json_pack("[O]", pass);
        bool ok = passes_apply(one, m, e);
        json_decref(one);
        snprintf(dotted, sizeof dotted, "surgery.%zu", i);
        if (!ok) return recipe_job_blame(j, dotted, e);
    }
    return true;
}

Model *recipe_job_model(const RecipeJob *j, bool operated, Error *e) {
    Model *m = j->from_scratch ? model_open_config(j->source, e) : model_open(j->source, e);
    if (!m || !operated || operate(j, m, e)) return m;
    model_close(m);
    return NULL;
}

/* ---- sections as requests ---- */

/* Stores the values of a section into `request`, the struct that the groups' offsets refer to, over the
 * defaults that it holds. `dotted` is the section's place in the recipe; an error names the key in it. */
static bool fill(const RecipeJob *j, const OptionGroup *groups, const json_t *section, const char *dotted,
                 void *request, Error *e) {
    /* options_from_json names the key that failed, which is appended to the section's place. */
    char where[64], place[160];
    if (options_from_json(groups, request, section, where, e)) return true;
    snprintf(place, sizeof place, "%s.%s", dotted, where);
    return recipe_job_blame(j, place, e);
}

bool recipe_job_recal(const RecipeJob *j, RecalRequest *r, Error *e) {
    *r = recal_request_defaults();
    return fill(j, recipe_recalibrate_groups, recipe_job_section(j, "recalibrate"), "recalibrate", r, e) &&
           (train_check(&r->train, e) || recipe_job_blame(j, "recalibrate", e));
}

/* Checks parts of the evaluate section that its options cannot check by themselves: the wording file has to
 * be readable, and a model card needs an output that is an HF folder. */
static bool check_extras(const RecipeJob *j, const EvalRequest *r, Error *e) {
    bool folder = false;
    /* The wording is opened only to see whether it is valid; the evaluation opens it again. */
    Wording words;
    if (!wording_open(r->options.wording, &words, e)) return false;
    wording_close(&words);
    /* Is one of the outputs an HF folder? */
    for (size_t i = 0; i < recipe_job_n_outputs(j); i++) {
        const json_t *output = json_array_get(recipe_job_section(j, "outputs"), i);
        folder |= folder_of_path(json_get_string(output, "path"));
    }
    if (!r->card || folder) return true;
    cmd_usage(e, "a card goes into an HF folder, and no output is one");
    return recipe_job_blame(j, "evaluate.card", e);
}

bool recipe_job_evaluation(const RecipeJob *j, EvalRequest *r, Error *e) {
    const json_t *section = recipe_job_section(j, "evaluate");
    /* Defaults first, then what the recipe gives, then what follows from it. */
    *r = (EvalRequest){0};
    options_default(recipe_evaluate_groups, r);
    r->options.perplexity = !json_object_get(section, "suite"); /* the default suite of a recipe */
    return fill(j, recipe_evaluate_groups, section, "evaluate", r, e) &&
           (eval_options_complete(&r->options, e) || recipe_job_blame(j, "evaluate", e)) &&
           check_extras(j, r, e);
}

size_t recipe_job_n_outputs(const RecipeJob *j) {
    return json_array_size(recipe_job_section(j, "outputs"));
}

bool recipe_job_output(const RecipeJob *j, size_t i, const Model *operated, OutputRequest *r, Error *e) {
    /* The entry's values over the defaults of a request; the model is needed to check dtype and carrier. */
    char dotted[48];
    snprintf(dotted, sizeof dotted, "outputs.%zu", i);
    *r = (OutputRequest){0};
    const json_t *output = json_array_get(recipe_job_section(j, "outputs"), i);
    if (!fill(j, recipe_output_groups, output, dotted, r, e)) return false;
    if (output_check(operated, r, e)) return true;
    if (r->carrier && e->code == ERR_FAILED)
        e->code = ERR_USAGE; /* the carrier that the recipe names cannot express the model, which is a mistake
                                in the recipe */
    return recipe_job_blame(j, dotted, e);
}

json_t *recipe_job_files(const RecipeJob *j, const char *section, const char *key, Error *e) {
    size_t i;
    json_t *path, *files = json_array();
    /* Each entry is a file or a folder; text_data_list replaces a folder by the files in it. */
    json_array_foreach(json_object_get(recipe_job_section(j, section), key), i, path) {
        if (text_data_list(json_string_value(path), files, e)) continue;
        json_decref(files);
        return NULL;
    }
    return files;
}
