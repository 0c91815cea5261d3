/* What an evaluation measures: the options that `derope eval` fills from its flags and that `derope run` and
 * `derope plan` fill from a recipe's `evaluate:` section.
 *
 * EvalOptions is a plain struct. Start from {0}, set what was given, then call eval_options_complete, which
 * fills in the defaults and checks the combination. Whoever fills it checks the range of each number. */
#ifndef DEROPE_CMD_EVALUATE_EVAL_OPTIONS_H
#define DEROPE_CMD_EVALUATE_EVAL_OPTIONS_H

#include "recal/evaluate/context_extension.h"
#include "recal/evaluate/eval_task.h"
#include "recal/perplexity.h"

/* The greatest number of items in each list of the options, suites, lengths and depths; and of paths of
 * texts. */
enum { EVAL_MAX_ITEMS = 64, EVAL_MAX_PATHS = 1024 };

typedef struct EvalOptions {
    bool perplexity;            /* measure perplexity on `texts` */
    bool tasks[EVAL_MAX_ITEMS]; /* tasks[i]: measure the i-th entry of eval_tasks */

    /* Context lengths in tokens, for perplexity and for tasks. If n_lengths is 0, the grid takes a quarter of
     * the first subject's context to sixteen times that context, in powers of two. */
    uint64_t lengths[EVAL_MAX_ITEMS];
    size_t n_lengths;
    /* Context lengths in tokens for tasks alone. If n_task_lengths is 0, tasks use `lengths`. */
    uint64_t task_lengths[EVAL_MAX_ITEMS];
    size_t n_task_lengths;

    const char *texts[EVAL_MAX_PATHS]; /* files or folders: the perplexity text and the haystack; borrowed */
    size_t n_texts;
    const char *field; /* the member of a JSONL line that holds the text; NULL: "text" */

    /* Context-extension methods to run each checkpoint under. After eval_options_complete the first is always
     * "none", the unchanged model. */
    const ContextExtension *extensions[8];
    size_t n_extensions;

    size_t trials;       /* questions per length and depth; 0: 10 */
    size_t n_depths;     /* depths per length, spread evenly from the start of the text to its end; 0: 5 */
    uint64_t seed;       /* of the questions; 0: 1 */
    uint64_t max_tokens; /* of the text, for perplexity; 0: all of it */
    double scale;        /* multiplies the softmax scale of every layer; 0: 1 */
    bool search_scale;   /* instead of `scale`, search the best for each length on a part of the text that the
                          * reported perplexity does not use */
    Score score;         /* which tokens of a window count towards perplexity */
    const char *wording; /* JSON file that words facts and questions; NULL: built-in words */

    const char *state; /* file that keeps finished measurements for a later run; NULL: none are kept */
    bool transcript;   /* record every question together with the model's answer */
    bool force;        /* measure again what `state` already holds */
    int threads;       /* 0: as many as there are processors */
} EvalOptions;

/* Adds the suite of that name: "perplexity", a task's name, or "all". ERR_USAGE if there is no such suite. */
bool eval_options_add_suite(EvalOptions *o, const char *name, Error *e);
/* Adds the context-extension method of that name; naming one twice adds it once. ERR_USAGE if there is none.
 */
bool eval_options_add_extension(EvalOptions *o, const char *name, Error *e);
/* Sets the softmax scale from text: a number above 0 and up to 100, or "search". ERR_USAGE otherwise. */
bool eval_options_set_scale(EvalOptions *o, const char *text, Error *e);
/* Whether any task is to be measured. */
bool eval_options_has_tasks(const EvalOptions *o);
/* Fills in every default but the lengths, which depend on the first model, drops repeated lengths, and
 * refuses combinations that cannot be measured (ERR_USAGE). */
bool eval_options_complete(EvalOptions *o, Error *e);
/* Fills in the lengths if none were given: `context` (tokens) divided by 4 and 2, then times 1, 2, 4, 8, 16.
 * With perplexity, lengths above max_tokens are left out, because not one window of the text fills them. */
void eval_options_default_lengths(EvalOptions *o, uint64_t context);

#endif
