/* The sections of a recipe. The tables of options themselves belong to the parts of the program that use the
 * values (training, evaluation, outputs); here they are put together into sections, with the struct that the
 * values of each section are stored in. A group's offset is counted from the start of that struct. */
#include "cmd/recipe/recipe_sections.h"

#include <stddef.h>
#include <string.h>

#include "cmd/eval_request.h"
#include "cmd/output_options.h"
#include "cmd/training_step.h"

/* The `recalibrate` section, stored in a RecalRequest. Help lists the keys in this order, and errors name the
 * first required key in it that is missing. */
const OptionGroup recipe_recalibrate_groups[] = {
    {NULL, recal_text_options, 0},
    {NULL, train_options, offsetof(RecalRequest, train)},
    {NULL, recal_start_options, 0},
    {0},
};

/* The `evaluate` section is stored in an EvalRequest, and each entry of `outputs` in an OutputRequest. */
const OptionGroup recipe_evaluate_groups[] = {{NULL, eval_request_options, 0}, {0}};
const OptionGroup recipe_output_groups[] = {{NULL, output_request_options, 0}, {0}};

/* Name, kind, whether it is required, groups of options, help. */
const RecipeSection recipe_sections[] = {
    {"source", SECTION_PATH, true, NULL, "HF folder or a zip of one, GGUF, safetensors or PyTorch file"},
    {"surgery", SECTION_PASSES, false, NULL, "passes, applied in order"},
    {"recalibrate", SECTION_MAP, false, recipe_recalibrate_groups, "train on the CPU after surgery"},
    {"evaluate", SECTION_MAP, false, recipe_evaluate_groups,
     "measure perplexity, needles and other tasks by length"},
    {"outputs", SECTION_LIST, true, recipe_output_groups, "what to write: one output or a list of several"},
    {0},
};

const RecipeSection *recipe_section_by_name(const char *name) {
    for (const RecipeSection *s = recipe_sections; s->name; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}
