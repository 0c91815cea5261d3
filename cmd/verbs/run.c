/* derope run: does what recipes say, one after the other, and prints a table of what was measured.
 * cmd/recipe/recipe_run.c does one recipe; this file reads the command line, passes it on and collects the
 * measurements of all recipes for the table and for the joint report of --report. */
#include <stddef.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/evaluate/eval_table.h"
#include "cmd/recipe/recipe_run.h"
#include "cmd/report/report_files.h"

/* The most --set on one command line. */
enum { MAX_SETS = 64 };

/* The command line. The operands come first, as operands_take expects them. */
typedef struct Arguments {
    /* Paths of the recipes, done in this order. */
    Operands recipes;
    /* Texts of --set, applied to each recipe; where to write a make rule and the joint report, or NULL. */
    const char *sets[MAX_SETS], *depfile, *report;
    size_t n_sets;
    char *command;           /* the command line as text, quoted in reports */
    bool force, json;        /* do everything anew; print the table as JSON */
    json_t *table, *results; /* rows (array) and joined measurements (object) of all recipes */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "set",
     .type = OPTION_TEXT,
     .keeps_commas = true, /* the value is YAML */
     .value_name = "KEY=VALUE",
     .capacity = MAX_SETS,
     .offset = offsetof(Arguments, sets),
     .count_offset = offsetof(Arguments, n_sets),
     .help = "override a key, as in recalibrate.tokens=4k or outputs.0.path=out.gguf; can be given several "
             "times"},
    {.name = "force",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, force),
     .help = "repeat all steps, also those that are up to date, and replace the outputs"},
    {.name = "depfile",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .offset = offsetof(Arguments, depfile),
     .help =
         "write a make rule that says that the outputs depend on every file that was read; for one recipe"},
    {.name = "report",
     .type = OPTION_PATH,
     .value_name = "OUT.html",
     .offset = offsetof(Arguments, report),
     .help =
         "a page about the evaluations of all recipes together; OUT.json and OUT.csv are written beside it"},
    {0},
};

static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, json_option, offsetof(Arguments, json)},
    {0},
};

/* Parses the command line. A depfile goes with one recipe only: a rule with the outputs of two would make
 * each depend on the inputs of both. */
static bool parse(const Verb *self, int argc, char **argv, Arguments *a, Error *e) {
    if (!command_line_parse(self, argc, argv, a, operands_take, e)) return false;
    if (!a->recipes.n) return cmd_usage(e, "a recipe is needed (derope run --help)");
    return !a->depfile || a->recipes.n == 1 || cmd_usage(e, "--depfile goes with one recipe");
}

/* Writes the page of --report about the evaluations of all recipes, unless it is up to date. ERR_FAILED if no
 * recipe measured anything. */
static bool joint_report(const Arguments *a, Error *e) {
    if (!json_object_size(a->results))
        return error_set(e, ERR_FAILED, "%s: no recipe has an evaluate section to report", a->report);
    return report_renew(a->report, a->results, a->force, e);
}

/* The function of the verb (cmd/verb.h). The first recipe that fails ends the run, and then no table is
 * printed; its finished steps are kept and skipped the next time. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.command = command_line_text(argc, argv), .table = json_array(), .results = json_object()};
    bool ok = parse(self, argc, argv, &a, e);
    /* What all recipes of this command line share. */
    RecipeRun options = {.sets = a.sets,
                         .n_sets = a.n_sets,
                         .force = a.force,
                         .depfile = a.depfile,
                         .report = a.report,
                         .command = a.command,
                         .several = a.recipes.n > 1,
                         .table = a.table,
                         .results = a.results};
    /* Each recipe adds its rows and results. */
    for (size_t i = 0; ok && i < a.recipes.n; i++)
        ok = recipe_run(a.recipes.list[i], &options, e);
    /* The table names recipes only if there are several. */
    if (ok && a.json) cmd_print_json(a.table);
    if (ok && !a.json) eval_table_print(a.table, a.recipes.n > 1);
    ok = ok && (!a.report || joint_report(&a, e));
    json_decref(a.table);
    json_decref(a.results);
    free(a.command);
    return ok;
}

const Verb verb_run = {
    .name = "run",
    .summary = "run recipes, skipping the steps that are up to date",
    .operands = "RECIPE...",
    .about =
        "Runs the recipes one after the other. For each recipe it applies the surgery, recalibrates and "
        "evaluates the model, and writes the outputs. At the end it prints a table of all measurements. "
        "`derope help recipe` lists the keys of a recipe, and examples/recipe-reference.yaml shows them in "
        "use.\n\nA step is skipped if neither its parameters nor the contents of its input files have "
        "changed since it was last done. After an interruption (Ctrl-C, exit status 5) the same command "
        "continues. The files that this needs are kept in the folder OUTPUT.work beside the first output.",
    .groups = groups,
    .examples = "  derope run recipe.yaml --set recalibrate.tokens=4k --set outputs.0.path=out.gguf\n",
    .run = run,
};
