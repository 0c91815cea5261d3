/* Measures the grid of an evaluation. For each subject (model), context length and context-extension method:
 *
 *   1. The method changes the subject's spec for the length (RoPE scaling by length / training length).
 *   2. If the softmax scale is searched, several scales are measured on a validation part of the text.
 *   3. For each suite the measurement (cell) is read from the state file if the file has its key, and made
 * otherwise.
 *   4. The cell becomes one row of the results (perplexity) or one row per depth (tasks).
 *
 * The key of a cell is a hash of everything that its value depends on: program version, weights, texts,
 * suite, length, method and the options of the suite. */
#include "cmd/evaluate/eval_grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/evaluate/eval_measure.h"
#include "cmd/evaluate/eval_results.h"
#include "cmd/evaluate/eval_state.h"
#include "formats/clock.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/kv_cache.h"
#include "recal/memory.h"
#include "surgery/passes/passes.h"
#include "surgery/version.h"

struct EvalGrid {
    EvalOptions options;
    EvalInputs inputs;
    EvalState state;
    json_t *results;            /* under construction; eval_results.h has the shape */
    char text_key[33];          /* hash of the texts, part of every cell's key */
    char wording_key[33];       /* hash of the wording file, part of the keys of tasks */
    const EvalSubject *subject; /* the subject being measured */
    size_t model;               /* index of the subject in the results */
    double context;             /* training length of the subject, in tokens */
    size_t n_measured;          /* cells that were measured, not read from the state */
    double started;             /* clock_seconds() when the grid was opened */
    Buffer transcript;          /* lines of JSON */
    const EvalSetting *setting; /* the setting being measured, for the transcript */
    const EvalTask *task;       /* the task being measured, for the transcript */
};

/* ---- transcript ---- */

/* Texts as a JSON array; invalid UTF-8 is replaced. */
static json_t *text_array(const TextList *l) {
    json_t *list = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(list, json_text(l->texts[i]));
    return list;
}

/* Appends a line to the transcript. Called after each question (EvalInputs.on_answer). */
static void record_answer(void *context, const TranscriptEntry *a) {
    EvalGrid *g = context;
    json_t *line = json_pack(
        "{s:o, s:s, s:I, s:s, s:f, s:o, s:o, s:o, s:o, s:I, s:I}", "model", json_text(g->subject->name),
        "method", g->setting->extension->name, "length", (json_int_t)g->setting->length, "task",
        g->task->name, "depth", a->depth, "prompt", json_text(a->prompt), "answers",
        text_array(&a->question->answers), "candidates", text_array(&a->question->candidates), "said",
        json_text(a->continuation), "found", (json_int_t)a->answers_found, "place", (json_int_t)a->rank);
    json_print(line, 0, &g->transcript);
    buffer_byte(&g->transcript, '\n');
    json_decref(line);
}

/* ---- one cell ---- */

/* The pass scale_attention multiplies the softmax scale of every layer in the spec. */
static bool scale_softmax(Model *m, double scale, Error *e) {
    if (scale == 1) return true;
    json_t *args = json_pack("{s:f}", "factor", scale);
    bool ok = pass_apply(m, "scale_attention", args, e);
    json_decref(args);
    return ok;
}

enum { ANSWER_ROOM = 128 }; /* tokens of KV cache beyond the length */

/* Measures a cell. The method and the softmax scale change the spec of the model, so a new model is opened
 * for each cell, and net_under combines its changed spec with the weights that all cells share. */
static json_t *measure_cell(EvalGrid *g, const EvalSetting *s, const EvalTask *task, EvalMeasure measure,
                            Error *e) {
    const EvalSubject *subject = g->subject;
    Model *m = eval_inputs_open(&g->inputs, subject->source, e) ? subject->model(subject->context, e) : NULL;
    bool ok = m &&
              memory_check(kv_bytes(&m->spec, s->length + ANSWER_ROOM), "the KV cache of this length", e) &&
              (s->factor <= 1 || s->extension->apply(m, s->factor, e)) && scale_softmax(m, s->scale, e);
    Net *weights = ok ? subject->net(subject->context, e) : NULL;
    json_t *value = NULL;
    if (weights) {
        Net under = net_under(weights, &m->spec);
        g->setting = s;
        g->task = task;
        value = measure(&g->inputs, &under, s->length, task, e);
    }
    model_close(m);
    return value;
}

/* The key of a cell. A method that changes nothing at this length counts as "none", so that all methods share
 * one cell there. */
static void cell_key(const EvalGrid *g, const EvalSetting *s, const char *suite, const EvalTask *task,
                     char out[33]) {
    const EvalOptions *o = &g->options;
    json_t *what = json_pack("{s:s, s:s, s:I, s:f, s:f}", "suite", suite, "method",
                             s->factor > 1 ? s->extension->name : "none", "length", (json_int_t)s->length,
                             "factor", s->factor, "scale", s->scale);
    json_object_update_new(what, task ? json_pack("{s:I, s:I, s:I, s:s}", "trials", (json_int_t)o->trials,
                                                  "depths", (json_int_t)o->n_depths, "seed",
                                                  (json_int_t)o->seed, "wording", g->wording_key)
                                      : json_pack("{s:b, s:I, s:I}", "search", o->search_scale, "score",
                                                  (json_int_t)o->score, "tokens", (json_int_t)o->max_tokens));
    /* The program's version is part of the key, because another version may compute something else. */
    Hash *h = hash_new();
    Buffer text = {0};
    json_print(what, 0, &text);
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, g->subject->key, 32);
    hash_update(h, g->text_key, 32);
    hash_update(h, text.data, text.size);
    hash_finish(h, out);
    buffer_free(&text);
    json_decref(what);
}

/* The value of a cell, from the state or measured now; borrowed from the state. NULL with an error. */
static json_t *find_cell(EvalGrid *g, const EvalSetting *s, const char *suite, const EvalTask *task,
                         EvalMeasure measure, Error *e) {
    char key[33];
    cell_key(g, s, suite, task, key);
    json_t *value = eval_state_get(&g->state, key, task != NULL);
    if (value) return value;
    cmd_progress("%s: %s, %s at %llu", g->subject->name, suite, s->extension->name,
                 (unsigned long long)s->length);
    value = measure_cell(g, s, task, measure, e);
    if (!value) return NULL;
    /* Save the cell at once, so that an interruption does not lose it. */
    g->n_measured++;
    return eval_state_put(&g->state, key, value, e) ? value : NULL;
}

/* ---- one setting ---- */

/* Sets the softmax scale to the one with the least loss on the validation part of the text. */
static bool search_scale(EvalGrid *g, EvalSetting *s, Error *e) {
    static const double scales[] = {0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5};
    /* Each scale is a cell of its own with its own key, so a search that was interrupted continues where it
     * was. A loss of NaN never counts as the best. */
    double best = HUGE_VAL, found = 1;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        double nll;
        s->scale = scales[i];
        const json_t *value = find_cell(g, s, "validation", NULL, eval_measure_validation, e);
        if (!value) return false;
        if (json_get_f64(value, "nll", &nll) && nll < best) {
            best = nll;
            found = scales[i];
        }
    }
    s->scale = found;
    return true;
}

/* Measures something at one setting (length, method and softmax scale) and adds the rows to the results. */
typedef bool (*AtSetting)(EvalGrid *g, EvalSetting *s, Error *e);

/* Measures the perplexity and adds one row. */
static bool perplexity_at(EvalGrid *g, EvalSetting *s, Error *e) {
    const json_t *value = find_cell(g, s, "perplexity", NULL, eval_measure_perplexity, e);
    if (value) eval_results_add_row(g->results, s, NULL, value);
    return value != NULL;
}

/* Measures the selected tasks and adds one row per task and depth. */
static bool tasks_at(EvalGrid *g, EvalSetting *s, Error *e) {
    for (size_t i = 0; eval_tasks[i]; i++) {
        if (!g->options.tasks[i]) continue;
        const json_t *rows = find_cell(g, s, eval_tasks[i]->name, eval_tasks[i], eval_measure_task, e);
        if (!rows) return false;
        for (size_t j = 0; j < json_array_size(rows); j++)
            eval_results_add_row(g->results, s, eval_tasks[i], json_array_get(rows, j));
    }
    return true;
}

/* ---- one subject ---- */

/* Calls `measure` for every length and every method; only for the unchanged model if no method applies to it
 * (`stretchable` is false). Up to the training length the factor of a method is 1. The method then changes
 * nothing, and its rows repeat those of the unchanged model. */
static bool at_each_setting(EvalGrid *g, const uint64_t *lengths, size_t n, bool stretchable,
                            AtSetting measure, Error *e) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < g->options.n_extensions; j++) {
            /* The list of methods begins with the unchanged model (eval_options_complete). */
            EvalSetting s = {.model = g->model,
                             .extension = g->options.extensions[j],
                             .length = lengths[i],
                             .factor = 1,
                             .scale = g->options.scale};
            bool unchanged = s.extension == context_extensions[0];
            if (!unchanged && !stretchable) continue;
            if (!unchanged && (double)s.length > g->context) s.factor = (double)s.length / g->context;
            if ((g->options.search_scale && !search_scale(g, &s, e)) || !measure(g, &s, e)) return false;
        }
    return true;
}

/* Measures the perplexity at all lengths, then the tasks at all task lengths. */
static bool measure_subject(EvalGrid *g, bool stretchable, Error *e) {
    const EvalOptions *o = &g->options;
    /* Tasks use the lengths of perplexity unless they were given their own. */
    bool own = o->n_task_lengths > 0;
    return (!o->perplexity || at_each_setting(g, o->lengths, o->n_lengths, stretchable, perplexity_at, e)) &&
           (!eval_options_has_tasks(o) ||
            at_each_setting(g, own ? o->task_lengths : o->lengths, own ? o->n_task_lengths : o->n_lengths,
                            stretchable, tasks_at, e));
}

/* The model is opened once here for its spec and description. Each cell that has to be measured opens it
 * again, because a method changes the spec. */
bool eval_grid_add_subject(EvalGrid *g, const EvalSubject *s, Error *e) {
    Model *m = s->model(s->context, e);
    if (!m) return false;
    /* Methods are tried if the caller wants them for this subject and the model has layers that they
     * change. */
    bool stretchable = s->under_methods && context_extension_applies(&m->spec);
    /* From here on the cells belong to this subject. */
    g->subject = s;
    g->context = m->spec.context;
    g->model = eval_results_add_model(g->results, s, m);
    eval_options_default_lengths(&g->options, m->spec.context);
    if (s->under_methods && !stretchable && g->options.n_extensions > 1)
        cmd_note("%s: context-extension methods do not apply, because no layer has both RoPE and attention "
                 "to the whole text",
                 s->name);
    model_close(m);
    bool ok = measure_subject(g, stretchable, e);
    cmd_progress_end();
    eval_inputs_close(&g->inputs);
    return ok;
}

bool eval_grid_add_checkpoint(EvalGrid *g, const char *path, Error *e) {
    EvalCheckpoint c;
    bool ok = eval_checkpoint_open(&c, path, g->options.threads, e);
    /* Two models such as a/model and b/model have the same short name. The second one is named by its path.
     */
    if (ok && eval_results_has_model(g->results, c.name)) c.subject.name = path;
    ok = ok && eval_grid_add_subject(g, &c.subject, e);
    eval_checkpoint_close(&c);
    return ok || error_place(e, "%s", path);
}

/* ---- the grid ---- */

/* The state file may have cells of other texts. They are never used, because the key of a cell includes the
 * hash of the texts. */
EvalGrid *eval_grid_new(const EvalOptions *options, const char *command, Error *e) {
    EvalGrid *g = xcalloc(1, sizeof *g);
    EvalOptions *o = &g->options;
    *o = *options;
    g->inputs.options = o;
    if (o->transcript) {
        g->inputs.on_answer = record_answer;
        g->inputs.answer_context = g;
    }
    g->started = clock_seconds();
    g->results = eval_results_new(o, command);
    eval_state_open(&g->state, o->state, o->force, o->transcript);
    hash_bytes("", 0, g->wording_key);
    if (wording_open(o->wording, &g->inputs.wording, e) &&
        (!o->wording || hash_file(o->wording, g->wording_key, e)) &&
        eval_results_add_texts(g->results, o, g->text_key, e))
        return g;
    eval_grid_free(g);
    return NULL;
}

/* The subjects belong to the callers and are not freed. */
void eval_grid_free(EvalGrid *g) {
    if (!g) return;
    wording_close(&g->inputs.wording);
    json_decref(g->results);
    eval_state_close(&g->state);
    buffer_free(&g->transcript);
    free(g);
}

size_t eval_grid_n_measured(const EvalGrid *g) {
    return g->n_measured;
}

/* "seconds" is the time since eval_grid_new. */
json_t *eval_grid_results(EvalGrid *g) {
    json_object_set_new(g->results, "seconds", json_real((double)(int64_t)(clock_seconds() - g->started)));
    return g->results;
}

const Buffer *eval_grid_transcript(const EvalGrid *g) {
    return &g->transcript;
}
