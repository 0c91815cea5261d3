/* The table of options of an evaluation, shared by `derope eval` and the `evaluate` section of recipes. The
 * values are stored in an EvalRequest and completed by eval_options_complete (cmd/evaluate/eval_options.h).
 *
 * Four options (suite, against, score, softmax_scale) are names or have two forms, so they cannot be stored
 * by type and offset; small functions below adapt the setters of eval_options.h to the table. The keys
 * `context` and `task_context` of a recipe are the flags --lengths and --task-lengths, because --context of
 * other verbs is a single number. */
#include "cmd/eval_request.h"

#include <stddef.h>

#include "cmd/token_input.h"
#include "recal/evaluate/eval_tasks.h"

/* Longest context in tokens that can be asked for; the net has 32-bit positions. */
enum { MAX_LENGTH = 1 << 30 };

/* ---- choices ---- */

/* Option.choices for `suite`: "perplexity", the tasks of recal/evaluate/eval_tasks.h, and "all". */
static size_t suite_names(const char **names, size_t max) {
    size_t n = 0;
    names[n++] = "perplexity";
    for (const EvalTask *const *t = eval_tasks; *t && n < max; t++)
        names[n++] = (*t)->name;
    if (n < max) names[n++] = "all";
    return n;
}

/* Option.choices for `against`: the context-extension methods (recal/evaluate/context_extension.h), "none"
 * first. */
static size_t extension_names(const char **names, size_t max) {
    size_t n = 0;
    for (const ContextExtension *const *m = context_extensions; *m && n < max; m++)
        names[n++] = (*m)->name;
    return n;
}

/* ---- values that are not stored by type and offset ---- */

/* Option.set for `suite`: adds one suite to those that are measured. */
static bool add_suite(void *options, const char *text, Error *e) {
    EvalRequest *r = options;
    return eval_options_add_suite(&r->options, text, e);
}

/* Option.set for `against`: adds one method to the list. */
static bool add_extension(void *options, const char *text, Error *e) {
    EvalRequest *r = options;
    return eval_options_add_extension(&r->options, text, e);
}

/* Option.set for `softmax_scale`: a factor, or "search". */
static bool set_scale(void *options, const char *text, Error *e) {
    EvalRequest *r = options;
    return eval_options_set_scale(&r->options, text, e);
}

/* Option.set for `score`: which tokens of a window count. */
static bool set_score(void *options, const char *text, Error *e) {
    EvalRequest *r = options;
    return perplexity_score_parse(text, &r->options.score, e);
}

/* ---- the table ---- */

const Option eval_request_options[] = {
    /* Where it is measured: lengths and text. */
    /* `required` holds for recipes; as a flag it has a default, which `otherwise` describes. */
    {.name = "context",
     .flag = "lengths",
     .type = OPTION_U64,
     .required = true,
     .least = 2,
     .most = MAX_LENGTH,
     .unit = "tokens",
     .otherwise = "a quarter of the first model's context to sixteen times it, no longer than --tokens",
     .value_name = "N,...",
     .capacity = EVAL_MAX_ITEMS,
     .offset = offsetof(EvalRequest, options.lengths),
     .count_offset = offsetof(EvalRequest, options.n_lengths),
     .help = "context lengths to measure at"},
    {.name = "task_context",
     .flag = "task-lengths",
     .type = OPTION_U64,
     .least = 2,
     .most = MAX_LENGTH,
     .unit = "tokens",
     .otherwise = "the same",
     .value_name = "N,...",
     .capacity = EVAL_MAX_ITEMS,
     .offset = offsetof(EvalRequest, options.task_lengths),
     .count_offset = offsetof(EvalRequest, options.n_task_lengths),
     .help = "context lengths of needles and other tasks"},
    {.name = "text",
     .type = OPTION_PATH,
     .otherwise = "none; needles are then hidden in generated sentences",
     .keeps_commas = true,
     .capacity = EVAL_MAX_PATHS,
     .offset = offsetof(EvalRequest, options.texts),
     .count_offset = offsetof(EvalRequest, options.n_texts),
     .help =
         "text that was not trained on: read for perplexity, and where needles are hidden; a file or folder, "
         "and as a flag several times for several"},
    {.name = "field",
     .type = OPTION_TEXT,
     .fallback = "text",
     .value_name = "NAME",
     .offset = offsetof(EvalRequest, options.field),
     .help = "the member of a JSONL line that holds the text"},
    /* What is measured: suites, methods, and how much of each. */
    {.name = "suite",
     .type = OPTION_TEXT,
     .is_list = true,
     .choices = suite_names,
     .choices_checked_later = true,
     .set = add_suite,
     .otherwise = "perplexity in a recipe; as a flag needle, and perplexity where there is a text",
     .value_name = "NAME,...",
     .help = "what to measure"},
    {.name = "against",
     .type = OPTION_TEXT,
     .is_list = true,
     .choices = extension_names,
     .choices_checked_later = true,
     .set = add_extension,
     .otherwise = "none, the model as it is",
     .value_name = "METHOD,...",
     .help = "measure under these context-extension methods as well (in a recipe: the source), each at the "
             "length's own factor; for models in which some layer rotates and has no window"},
    {.name = "score",
     .type = OPTION_TEXT,
     .fallback = "all",
     .choices = perplexity_score_names,
     .set = set_score,
     .help = "which tokens of a window count for perplexity: every one, or those of its second half"},
    {.name = "tokens",
     .type = OPTION_U64,
     .least = 1,
     .otherwise = "all in a recipe; as a flag 65536, or the longest length",
     .offset = offsetof(EvalRequest, options.max_tokens),
     .help = "for perplexity, read no more than this many tokens of the text"},
    {.name = "trials",
     .type = OPTION_U64,
     .fallback = "10",
     .least = 1,
     .most = 100000,
     .offset = offsetof(EvalRequest, options.trials),
     .help = "questions for each length and depth"},
    {.name = "depths",
     .type = OPTION_U64,
     .fallback = "5",
     .least = 1,
     .most = EVAL_MAX_ITEMS,
     .offset = offsetof(EvalRequest, options.n_depths),
     .help = "at how many places between the start and the end of the text a needle is hidden"},
    {.name = "seed",
     .type = OPTION_U64,
     .fallback = "1",
     .offset = offsetof(EvalRequest, options.seed),
     .help = "seed of the random questions, which are the same for all models and methods"},
    /* A factor on the softmax scale of attention, which is 1/sqrt(head_dim) in most models. YaRN (Peng et al.
     * 2023) calls the inverse of this factor a temperature. */
    {.name = "softmax_scale",
     .type = OPTION_TEXT,
     .fallback = "1",
     .value_name = "X",
     .set = set_scale,
     .help = "multiply the softmax scale of every layer by this number; \"search\" finds the best factor "
             "from 0.8 to 1.5 for each length on a quarter of the text, and measures on the rest"},
    {.name = "wording",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .otherwise = "magic numbers",
     .offset = offsetof(EvalRequest, options.wording),
     .help =
         "JSON file that says how facts are stated and asked for: {\"fact\", \"question\", \"questions\", "
         "\"keys\", \"values\"}, with {key} and {value} in them"},
    /* Keys that only a recipe has, because only a recipe knows the source and the steps that lead to the
     * model. */
    {.name = "source",
     .type = OPTION_BOOL,
     .fallback = "true",
     .scope = OPTION_RECIPE_ONLY,
     .offset = offsetof(EvalRequest, source),
     .help = "measure the source as well"},
    {.name = "untrained",
     .type = OPTION_BOOL,
     .fallback = "true",
     .scope = OPTION_RECIPE_ONLY,
     .offset = offsetof(EvalRequest, untrained),
     .help = "measure after surgery and before recalibration as well"},
    /* What is written about the results. */
    {.name = "report",
     .type = OPTION_PATH,
     .value_name = "OUT.html",
     .offset = offsetof(EvalRequest, report),
     .help = "write an HTML page with tables and charts, and OUT.json and OUT.csv beside it"},
    {.name = "card",
     .type = OPTION_BOOL,
     .fallback = "false",
     .scope = OPTION_RECIPE_ONLY,
     .offset = offsetof(EvalRequest, card),
     .help = "write a model card, README.md and its pictures, into every HF folder among the outputs"},
    {.name = "base_model",
     .type = OPTION_TEXT,
     .value_name = "NAME",
     .offset = offsetof(EvalRequest, base_model),
     .help = "name of the source on the model hub, for the model card"},
    {0},
};
