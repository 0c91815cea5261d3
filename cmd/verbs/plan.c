/* derope plan: shows what `derope run` would do with a recipe, without doing any of it. The plan is made by
 * cmd/recipe/recipe_plan.c and printed by cmd/recipe/plan_text.c. */
#include <stddef.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/recipe/plan_text.h"
#include "cmd/recipe/recipe_plan.h"

/* The most --set on one command line. */
enum { MAX_SETS = 64 };

/* The command line. --set works as it does for `derope run`, so that a plan can be made for the same
 * values. */
typedef struct Arguments {
    /* Path of the recipe, and the texts of --set. */
    const char *recipe, *sets[MAX_SETS];
    size_t n_sets;
    bool json;
} Arguments;

/* The flag that this verb has in common with run. */
static const Option own_options[] = {
    {.name = "set",
     .type = OPTION_TEXT,
     .keeps_commas = true, /* the value is YAML */
     .value_name = "KEY=VALUE",
     .capacity = MAX_SETS,
     .offset = offsetof(Arguments, sets),
     .count_offset = offsetof(Arguments, n_sets),
     .help = "override a key, as derope run does; can be given several times"},
    {0},
};

/* All flags of the verb, with the place of their struct in Arguments. */
static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, json_option, offsetof(Arguments, json)},
    {0},
};

/* Takes the operand: the recipe. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (a->recipe) return cmd_usage(e, "one recipe, not '%s' as well", operand);
    a->recipe = operand;
    return true;
}

/* The function of the verb (cmd/verb.h). Opening the job reads the recipe and the headers of its source; the
 * plan decodes no weights. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.recipe = NULL};
    if (!command_line_parse(self, argc, argv, &a, take_operand, e)) return false;
    if (!a.recipe) return cmd_usage(e, "a recipe is needed (derope plan --help)");
    /* Open the recipe and its source, plan, and print. */
    RecipeJob j;
    json_t *plan = recipe_job_open(&j, a.recipe, a.sets, a.n_sets, e) ? recipe_plan(&j, e) : NULL;
    bool ok = plan != NULL;
    if (ok && a.json) cmd_print_json(plan);
    if (ok && !a.json) plan_print(plan);
    /* Closing is allowed whether or not the job could be opened. */
    json_decref(plan);
    recipe_job_close(&j);
    return ok;
}

const Verb verb_plan = {
    .name = "plan",
    .summary = "show what a recipe would change and what it would cost, without running it",
    .operands = "RECIPE",
    .about = "Prints what `derope run` would do, and writes no file. The plan lists the layers that change; "
             "for each output its carrier (the stock architecture that it is written as), why no other "
             "carrier was chosen, the tensors and keys that change, and the storage types of changed "
             "tensors; and the tokens, time and memory that recalibration and evaluation need. The time is a "
             "rough estimate for two ordinary cores.",
    .groups = groups,
    .examples = "  derope plan recipe.yaml --set recalibrate.tokens=1M\n",
    .run = run,
};
