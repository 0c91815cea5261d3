/* derope eval: measures models side by side on texts and tasks, at a list of context lengths. This file reads
 * the command line, checks that nothing that is read would be written to, and distributes the results to
 * standard output, a report, a transcript and a model card. The measurements are done by
 * cmd/evaluate/eval_grid.c, which `derope run` uses as well. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/eval_request.h"
#include "cmd/evaluate/eval_grid.h"
#include "cmd/evaluate/eval_state.h"
#include "cmd/evaluate/eval_text.h"
#include "cmd/model_card.h"
#include "cmd/output.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_files.h"
#include "cmd/token_input.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/output.h"
#include "recal/text_data.h"

/* The command line. The operands come first, as operands_take expects them. */
typedef struct Arguments {
    /* Paths of the models to measure. */
    Operands models;
    /* What to measure and which report to write, the part that recipes share. */
    EvalRequest request;
    const char *transcript; /* JSONL file of all questions and answers; NULL: none */
    const char *card;       /* the model that gets a model card; NULL: none */
    bool json, csv;         /* the form of the results on standard output; neither: tables */
    bool force;             /* replace files that are there */
} Arguments;

/* The flags that recipes do not have or write elsewhere. */
static const Option own_options[] = {
    {.name = "transcript",
     .type = OPTION_PATH,
     .value_name = "OUT.jsonl",
     .offset = offsetof(Arguments, transcript),
     .help =
         "write every question and the model's answer; if an interrupted evaluation is continued, all of its "
         "tasks are run again, because the state file has no answers"},
    {.name = "card",
     .type = OPTION_PATH,
     .value_name = "OUT",
     .offset = offsetof(Arguments, card),
     .help =
         "write a model card (README.md and pictures) into this model, which must be one of the MODELs and "
         "an HF folder that derope wrote"},
    {.name = "state",
     .type = OPTION_PATH,
     .value_name = "FILE",
     .otherwise = "OUT.state, until the report is written",
     .offset = offsetof(Arguments, request.options.state),
     .help = "file that keeps finished measurements; running the same command again continues from it"},
    {.name = "force",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, force),
     .help = "replace existing output files"},
    {.name = "csv",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, csv),
     .help = "print the results as CSV"},
    {0},
};

/* All flags of the verb; the first table is the one that recipes use, too. */
static const OptionGroup groups[] = {
    {NULL, eval_request_options, offsetof(Arguments, request)},
    {NULL, own_options, 0},
    {NULL, json_option, offsetof(Arguments, json)},
    {NULL, threads_option, offsetof(Arguments, request.options.threads)},
    {0},
};

/* ---- arguments ---- */

/* The number of tokens of the text to read where --tokens is not given: 65536, or one window of the longest
 * length if that is more. */
static uint64_t default_tokens(const EvalOptions *o) {
    uint64_t tokens = 65536;
    for (size_t i = 0; i < o->n_lengths; i++)
        if (o->lengths[i] > tokens) tokens = o->lengths[i];
    return tokens;
}

/* Parses the command line into `a` and completes the options that depend on others. Refuses a --card that is
 * none of the models measured, since the results would not be about it. */
static bool parse(const Verb *self, int argc, char **argv, Arguments *a, Error *e) {
    EvalOptions *o = &a->request.options;
    if (!command_line_parse(self, argc, argv, a, operands_take, e)) return false;
    if (!a->models.n) return cmd_usage(e, "a model is needed (derope eval --help)");
    /* The card has to be for one of the models, spelled in the same way. */
    bool card_is_model = !a->card;
    for (size_t i = 0; i < a->models.n; i++)
        card_is_model = card_is_model || strcmp(a->card, a->models.list[i]) == 0;
    if (!card_is_model) return cmd_usage(e, "--card: '%s' is not among the models", a->card);
    /* The grid collects a transcript only if it will be written. Perplexity reads a limited part of the
     * text. */
    o->transcript = a->transcript != NULL;
    if (!o->max_tokens) o->max_tokens = default_tokens(o);
    return eval_options_complete(o, e);
}

/* ---- where results go ---- */

/* Fills `out` with the paths of all files that will be written, except those of a model card, and returns how
 * many there are. The caller frees each. */
static size_t written_files(const Arguments *a, char *out[REPORT_FILES + 2]) {
    size_t n = 0;
    for (size_t i = 0; a->request.report && i < REPORT_FILES; i++)
        out[n++] = report_file(a->request.report, i);
    if (a->transcript) out[n++] = xstrdup(a->transcript);
    if (a->request.options.state) out[n++] = xstrdup(a->request.options.state);
    return n;
}

/* Refuses to write to a text or a wording file that is read, even with --force. */
static bool check_not_a_text(const Arguments *a, char *const *outputs, size_t n, Error *e) {
    json_t *files = json_array(), *file;
    bool ok = true;
    /* Collect all files that are read: texts, with folders replaced by their files, and the wording. */
    size_t i;
    for (i = 0; ok && i < a->request.options.n_texts; i++)
        ok = text_data_list(a->request.options.texts[i], files, e);
    if (a->request.options.wording) json_array_append_new(files, json_text(a->request.options.wording));
    /* Compare each with each output. */
    json_array_foreach(files, i, file) {
        for (size_t k = 0; ok && k < n; k++)
            if (same_file(outputs[k], json_string_value(file)))
                ok = cmd_usage(e, "%s is read from, and cannot be written to", outputs[k]);
    }
    json_decref(files);
    return ok;
}

/* Refuses to write to a file of the model at `path`. Fails as well if the model cannot be opened. */
static bool check_not_in_model(const char *path, char *const *outputs, size_t n, Error *e) {
    /* A checkpoint knows all files that it was read from. */
    Checkpoint *c = checkpoint_open(path, e);
    bool ok = c != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = output_spares_source(c, outputs[i], e);
    checkpoint_close(c);
    return ok;
}

/* Checks models and places of outputs, so that mistakes show before the first measurement and not hours
 * later. */
static bool check_places(const Arguments *a, Error *e) {
    /* Nothing that is read may be an output. */
    char *outputs[REPORT_FILES + 2];
    size_t n = written_files(a, outputs);
    bool ok = check_not_a_text(a, outputs, n, e);
    for (size_t i = 0; ok && i < a->models.n; i++)
        ok = check_not_in_model(a->models.list[i], outputs, n, e);
    for (size_t i = 0; i < n; i++)
        free(outputs[i]);
    /* Each output has to be new, or --force was given, and its folder writable. */
    return ok && (!a->request.report || report_may_begin(a->request.report, a->force, e)) &&
           (!a->card || model_card_check(a->card, e)) &&
           (!a->transcript || output_may_begin(a->transcript, false, a->force, e)) &&
           (!a->request.options.state || eval_state_may_begin(a->request.options.state, a->force, e));
}

/* Prints the results on standard output as JSON, as CSV or as tables. */
static void print_results(const Arguments *a, const json_t *results) {
    if (a->json) {
        cmd_print_json(results);
    } else if (a->csv) {
        Buffer text = {0};
        report_csv(results, &text);
        fwrite(text.data, 1, text.size, stdout);
        buffer_free(&text);
    } else {
        eval_text_print(results);
    }
}

/* Writes those of report, transcript and model card that were asked for. */
static bool write_results(const Arguments *a, const json_t *results, const Buffer *transcript, Error *e) {
    if (a->request.report && !report_write(a->request.report, results, a->force, e)) return false;
    if (a->transcript && !file_write(a->transcript, transcript->data, transcript->size, a->force, e))
        return false;
    if (!a->card) return true;
    if (!model_card_write(a->card, a->card, a->request.base_model, results, e)) return false;
    cmd_note("wrote the model card of %s", a->card);
    return true;
}

/* ---- the verb ---- */

/* Checks, measures one model after the other, and writes results only when all of them are measured. A
 * measurement that is finished is kept in the state file, so that an interrupted run can be continued. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.json = false};
    /* The command line is quoted in the report. */
    char *command = command_line_text(argc, argv), *state = NULL;
    bool ok = parse(self, argc, argv, &a, e);
    /* Without --state, a report has a state file named after it. */
    if (a.request.report && !a.request.options.state)
        a.request.options.state = state = report_beside(a.request.report, ".state");
    ok = ok && check_places(&a, e);
    /* Measure model by model. */
    EvalGrid *v = ok ? eval_grid_new(&a.request.options, command, e) : NULL;
    ok = v != NULL;
    for (size_t i = 0; ok && i < a.models.n; i++)
        ok = eval_grid_add_checkpoint(v, a.models.list[i], e);
    /* Print before writing: if a report cannot be written, the numbers have been seen. */
    if (ok) {
        const json_t *results = eval_grid_results(v);
        print_results(&a, results);
        ok = write_results(&a, results, eval_grid_transcript(v), e);
    }
    if (e->code == ERR_INTERRUPTED && a.request.options.state) cmd_advise(e, "; run it again to go on");
    /* The state file named after the report is no longer needed: the report's JSON holds everything in it.
     * One that --state named stays. */
    if (ok && state) unlink(state);
    eval_grid_free(v);
    free(command);
    free(state);
    return ok;
}

const Verb verb_eval = {
    .name = "eval",
    .summary = "compare models by perplexity and long-context tasks at several context lengths",
    .operands = "MODEL...",
    .about = VERB_MODEL_IS
    "\n\nMeasures each model at each context length, under each context-extension method that --against "
    "names. The "
    "score of a task is the fraction of questions whose greedy answer contains every value that was asked "
    "for; "
    "\"first\" is the fraction of questions for which the model ranks the correct value first among ten "
    "candidates. "
    "Intervals are 95 % confidence intervals: Student's t over windows for perplexity, Wilson's formula for "
    "fractions.",
    .groups = groups,
    .examples = "  derope eval model out/partial --text held-out.txt --against none,pi,ntk,yarn --report "
                "report.html\n",
    .run = run,
};
