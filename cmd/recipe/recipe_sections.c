/* The recipe's view of the tables of options: which tables make up a section, and in which struct the values
 * of the section will be stored. A group's offset is counted from the start of that struct. */
#include "cmd/recipe/recipe_sections.h"

#include <stddef.h>
#include <string.h>

#include "cmd/eval_request.h"
#include "cmd/output_options.h"
#include "cmd/training_step.h"

/* Stored in a RecalRequest. The order is that of help, and of complaints about keys that are missing. */
const OptionGroup recipe_recalibrate_groups[] = {
    {NULL, recal_text_options, 0},
    {NULL, train_options, offsetof(RecalRequest, train)},
    {NULL, recal_start_options, 0},
    {0},
};

/* Stored in an EvalRequest, and each output in an OutputRequest. */
const OptionGroup recipe_evaluate_groups[] = {{NULL, eval_request_options, 0}, {0}};
const OptionGroup recipe_output_groups[] = {{NULL, output_request_options, 0}, {0}};

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
