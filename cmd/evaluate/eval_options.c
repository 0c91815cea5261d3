/* Filling and checking EvalOptions. The flags of `derope eval` and the keys of a recipe call the same
 * functions, so both accept the same names and report the same errors; the caller adds to the error where the
 * value came from (a flag, or a line of the recipe). */
#include "cmd/evaluate/eval_options.h"

#include <string.h>

#include "cmd/cmd.h"
#include "recal/evaluate/eval_tasks.h"
#include "surgery/options.h"

/* An error lists all names that exist. */
bool eval_options_add_suite(EvalOptions *o, const char *name, Error *e) {
    /* A suite is "perplexity", a task's name, or "all" for both. */
    const EvalTask *t = eval_task_by_name(name);
    bool ppl = strcmp(name, "perplexity") == 0, all = strcmp(name, "all") == 0;
    if (!t && !ppl && !all) {
        cmd_usage(e, "unknown '%.40s' (all, perplexity", name);
        for (const EvalTask *const *k = eval_tasks; *k; k++)
            cmd_advise(e, ", %s", (*k)->name);
        cmd_advise(e, ")");
        return false;
    }
    o->perplexity |= ppl || all;
    for (size_t i = 0; i < EVAL_MAX_ITEMS && eval_tasks[i]; i++)
        o->tasks[i] |= all || eval_tasks[i] == t;
    return true;
}

/* The list has room for every method once, because repeated names are not added again. */
bool eval_options_add_extension(EvalOptions *o, const char *name, Error *e) {
    const ContextExtension *m = context_extension_by_name(name);
    if (!m) {
        cmd_usage(e, "unknown '%.40s' (", name);
        for (const ContextExtension *const *k = context_extensions; *k; k++)
            cmd_advise(e, "%s%s", k == context_extensions ? "" : ", ", (*k)->name);
        cmd_advise(e, ")");
        return false;
    }
    for (size_t i = 0; i < o->n_extensions; i++)
        if (o->extensions[i] == m) return true;
    o->extensions[o->n_extensions++] = m;
    return true;
}

/* Sets the factor on the softmax scale. With "search" `scale` keeps its value, and each length finds its own
 * (search_scale in eval_grid.c). */
bool eval_options_set_scale(EvalOptions *o, const char *text, Error *e) {
    o->search_scale = strcmp(text, "search") == 0;
    if (o->search_scale) return true;
    if (!option_parse_real("the scale", text, &o->scale, e)) return false;
    return (o->scale > 0 && o->scale <= 100) ||
           cmd_usage(e, "%s is not a number above 0 and up to 100", text);
}

/* Perplexity is not a task: it has its own flag. */
bool eval_options_has_tasks(const EvalOptions *o) {
    bool any = false;
    for (size_t i = 0; eval_tasks[i]; i++)
        any |= o->tasks[i];
    return any;
}

/* Moves "none" to the front of the list of methods, adding it if it is missing: results under a method mean
 * little without the unchanged model beside them, so it is always measured. */
static void put_unchanged_first(EvalOptions *o) {
    size_t at = 0;
    while (at < o->n_extensions && o->extensions[at] != context_extensions[0])
        at++;
    if (at == o->n_extensions) o->n_extensions++;
    memmove(o->extensions + 1, o->extensions, at * sizeof *o->extensions);
    o->extensions[0] = context_extensions[0];
}

/* Removes repeated lengths in place and returns how many are left. A length measured twice would give two
 * rows, and the trials of both would be counted when reports pool them. */
static size_t drop_repeated(uint64_t *list, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        size_t j = 0;
        while (j < kept && list[j] != list[i])
            j++;
        if (j == kept) list[kept++] = list[i];
    }
    return kept;
}

/* Order matters: the suites decide what else is needed, and defaults are filled in last. */
bool eval_options_complete(EvalOptions *o, Error *e) {
    /* Without --suite: needles, and perplexity if there is a text. */
    if (!o->perplexity && !eval_options_has_tasks(o)) {
        o->perplexity = o->n_texts > 0;
        o->tasks[0] = true;
    }
    if (o->perplexity && !o->n_texts)
        return cmd_usage(e, "perplexity needs a text: --text FILE, or a recipe's text: FILE");
    if (o->search_scale && !o->perplexity)
        return cmd_usage(
            e, "searching the softmax scale needs perplexity: --suite perplexity,... and --text FILE");
    o->n_lengths = drop_repeated(o->lengths, o->n_lengths);
    o->n_task_lengths = drop_repeated(o->task_lengths, o->n_task_lengths);
    /* Half of a window of 2 tokens is one token, which has no token before it inside that half. */
    for (size_t i = 0; o->perplexity && o->score == SCORE_HALF && i < o->n_lengths; i++)
        if (o->lengths[i] == 2)
            return cmd_usage(e, "the second half of a context of 2 tokens predicts nothing");
    put_unchanged_first(o);
    return true;
}

/* Called when the first model is known; later models are measured at the same lengths. */
void eval_options_default_lengths(EvalOptions *o, uint64_t context) {
    if (o->n_lengths) return;
    /* Powers of two around the context, which have round ticks in a chart. */
    for (int shift = -2; shift <= 4; shift++) {
        uint64_t n = shift < 0 ? context >> -shift : context << shift;
        bool has_window = !o->perplexity || !o->max_tokens || n <= o->max_tokens;
        if (n >= 2 && has_window) o->lengths[o->n_lengths++] = n;
    }
}
