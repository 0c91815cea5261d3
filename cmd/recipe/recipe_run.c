/* `derope run` for one recipe. cmd/verbs/run.c calls recipe_run for each recipe of its command line; the
 * sections of the recipe arrive as requests from recipe_job.c, training is done by cmd/training_step.c,
 * measurements by cmd/evaluate/eval_grid.c, and outputs are written by cmd/output.c. This file decides which
 * of those steps are still to be done, in which order they are done, and what is refused before any of them
 * begins.
 *
 * Order of one run: open the recipe and its models, compute the keys, check the places of all outputs,
 * measure the source and the untrained model, train, write the outputs, measure the trained model, write
 * reports and model cards. */
#include "cmd/recipe/recipe_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/evaluate/eval_grid.h"
#include "cmd/evaluate/eval_results.h"
#include "cmd/evaluate/eval_table.h"
#include "cmd/model_card.h"
#include "cmd/recipe/recipe_job.h"
#include "cmd/report/report_files.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/output.h"
#include "formats/text.h"
#include "surgery/manifest.h"
#include "surgery/version.h"

/* One entry of the recipe's `outputs` section. */
typedef struct Target {
    /* Path, dtype, carrier and so on, as output_write takes them. */
    OutputRequest request;
    char key[33]; /* key of writing it: hash of the weights' key and of its entry in `outputs` */
    bool done;    /* the output is there already, and its manifest has this key */
} Target;

/* Everything that one run of one recipe holds; recipe_run releases it. */
typedef struct Run {
    /* What the command line said, borrowed. */
    const RecipeRun *options;
    /* The recipe and its opened source. */
    RecipeJob job;
    char *work;                  /* OUTPUT.work, the folder of what is kept between runs */
    char *steps_path;            /* OUTPUT.work/steps.json, the state file of the evaluation */
    EvalRequest eval;            /* the evaluate section */
    EvalGrid *evaluation;        /* the measurements so far; NULL: none are wanted */
    Target *targets;             /* one for each output of the recipe */
    Model *source_model, *model; /* the source as it is, and after surgery */
    Net *net, *source_net;       /* nets of these models; NULL until something has to be computed with them */
    char source_key[33], surgery_key[33],
        weights_key[33]; /* keys of these three steps, 32 hexadecimal digits each */
    json_t *summary;     /* what the manifest says about the recalibration; NULL: none was done yet */
    size_t notices_told; /* how many notices of `model` were already printed with an output */
} Run;

/* ---- keys ---- */

/* Hashes the names and the contents of files, given as an array of paths. The name counts because its
 * ending decides how the file is read (.jsonl, .gz). The folder does not count, so that a moved text keeps
 * its key. */
static bool hash_files(const json_t *files, Hash *h, Error *e) {
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file) {
        const char *path = json_string_value(file), *slash = strrchr(path, '/'),
                   *name = slash ? slash + 1 : path;
        char digest[33];
        if (!hash_file(path, digest, e)) return false;
        hash_update(h, name, strlen(name) + 1);
        hash_update(h, digest, 32);
    }
    return true;
}

/* Hashes a JSON value by its compact text. NULL, for a section that the recipe lacks, adds nothing. */
static void hash_json(Hash *h, const json_t *v) {
    Buffer text = {0};
    if (v) json_print(v, 0, &text);
    hash_update(h, text.data, text.size);
    buffer_free(&text);
}

/* The key of a step: a hash of the program's version, of the key that it starts from, of its parameters, and
 * of the files that it reads (their hash, or ""). */
static void step_key(const char *from, const json_t *parameters, const char *files, char out[33]) {
    Hash *h = hash_new();
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, from, strlen(from));
    hash_json(h, parameters);
    hash_update(h, files, strlen(files));
    hash_finish(h, out);
}

/* Hashes all files that a key of a section names, such as recalibrate.data, into `out`. Folders count with
 * the files in them. Fails if a file cannot be read. */
static bool files_key(const Run *r, const char *section, const char *key, char out[33], Error *e) {
    json_t *files = recipe_job_files(&r->job, section, key, e);
    Hash *h = hash_new();
    bool ok = files && hash_files(files, h, e);
    hash_finish(h, out);
    json_decref(files);
    return ok;
}

/* Computes the keys of source, surgery and weights. Each is hashed over the one before it, so that a change
 * in an early step makes every later step be done again. Without a recalibrate section the weights after
 * surgery are final, and the last two keys are equal. */
static bool find_keys(Run *r, Error *e) {
    const json_t *recal = recipe_job_section(&r->job, "recalibrate");
    json_t *source = manifest_sources(r->source_model);
    /* The source counts with the name, size and hash of each of its files. */
    step_key("", source, "", r->source_key);
    step_key(r->source_key, recipe_job_section(&r->job, "surgery"), "", r->surgery_key);
    json_decref(source);
    memcpy(r->weights_key, r->surgery_key, sizeof r->weights_key);
    if (recal) {
        char data[33];
        if (!files_key(r, "recalibrate", "data", data, e)) return false;
        json_t *parameters = json_copy((json_t *)recal);
        json_object_del(parameters, "data"); /* `data` names files, whose contents are hashed instead */
        step_key(r->surgery_key, parameters, data, r->weights_key);
        json_decref(parameters);
    }
    return true;
}

/* ---- recalibration ---- */

/* Trains the model after surgery, at most once in a run; `net` then holds the trained weights. The work
 * folder has the training state of the last run under a name with the weights' key. A finished state of the
 * same key is loaded by resuming at its end, which trains no further step; an interrupted one is continued.
 * --force ignores it. */
static bool recalibrate_step(Run *r, Error *e) {
    if (!recipe_job_section(&r->job, "recalibrate") || r->summary) return true;
    RecalRequest request;
    if (!recipe_job_recal(&r->job, &request, e)) return false;
    char state[PATH_MAX];
    snprintf(state, sizeof state, "%s/recalibrated-%.16s.state", r->work, r->weights_key);
    request.train.state_path = state;
    request.train.resume = access(state, F_OK) == 0 && !r->options->force;
    /* The untrained net that the evaluation may have opened is closed, because recalibrate opens its own. */
    net_close(r->net);
    r->net = NULL;
    TrainResult result = {0};
    bool ok = recalibrate(r->job.source, r->model, &request, &r->net, &result, e);
    if (ok) r->summary = recal_summary(&request, &result);
    /* Say whether the state was complete, was continued, or (without a note) did not exist. */
    if (ok && result.resumed == result.tokens)
        cmd_note("the recalibrated weights are up to date");
    else if (ok && result.resumed)
        cmd_note("went on after %llu tokens", (unsigned long long)result.resumed);
    json_decref(result.losses);
    return ok;
}

/* ---- evaluation ---- */

/* The callbacks of an EvalSubject (cmd/evaluate/eval_subject.h); the context is the Run. The grid calls the
 * net callbacks only when a measurement is missing, so no weights are decoded when all measurements are in
 * the state file. source_spec and operated_spec return a new Model, which the caller closes; the nets belong
 * to the Run. */
static Model *source_spec(void *context, Error *e) {
    return recipe_job_model(&((Run *)context)->job, false, e);
}

/* The net of the source as it is, for the rows "source". */
static Net *source_net(void *context, Error *e) {
    Run *r = context;
    if (!r->source_net) r->source_net = net_open(r->source_model, 0, e);
    return r->source_net;
}

static Model *operated_spec(void *context, Error *e) {
    return recipe_job_model(&((Run *)context)->job, true, e);
}

/* The net after surgery, with the weights that it has at the time: untrained ones, or trained ones after
 * recalibrate_step. */
static Net *operated_net(void *context, Error *e) {
    Run *r = context;
    if (!r->net) r->net = net_open(r->model, 0, e);
    return r->net;
}

/* The net with trained weights, which are loaded from the work folder if all outputs were up to date and
 * nothing was trained in this run. */
static Net *recalibrated_net(void *context, Error *e) {
    return recalibrate_step(context, e) ? operated_net(context, e) : NULL;
}

/* Measures a subject and adds its rows to the table that is printed at the end. `key` is the key of the
 * weights that are measured: measurements that the state file has under the same key are not repeated. A
 * subject without a path of its own stands under the path of the source. */
static bool evaluate_as(Run *r, EvalSubject s, const char *key, Error *e) {
    size_t before = eval_grid_n_measured(r->evaluation);
    memcpy(s.key, key, sizeof s.key);
    if (!s.path) s.path = json_get_string(r->job.recipe, "source");
    s.source = r->job.source;
    s.context = r;
    if (!eval_grid_add_subject(r->evaluation, &s, e)) return false;
    const json_t *results = eval_grid_results(r->evaluation);
    /* A note and a mark in the table tell the reader which numbers come from an earlier run. */
    bool skipped = eval_grid_n_measured(r->evaluation) == before;
    if (skipped) cmd_note("the evaluation of '%s' is up to date", s.name);
    eval_table_add(r->options->table, results, json_array_size(json_object_get(results, "models")) - 1,
                   r->job.path, skipped);
    return true;
}

/* Measures the source (evaluate.source), and the model after surgery. With a recalibrate section the latter
 * is measured only if evaluate.untrained asks for it; without one it is the result and always measured. The
 * net of the source is closed at once, as it takes as much memory as the one that is trained. */
static bool evaluate_before(Run *r, Error *e) {
    bool trained = recipe_job_section(&r->job, "recalibrate") != NULL;
    EvalSubject source = {.name = "source", .under_methods = true, .model = source_spec, .net = source_net},
                operated = {.name = trained ? "after surgery, untrained" : "after surgery",
                            .path = trained ? NULL : r->targets[0].request.path,
                            .model = operated_spec,
                            .net = operated_net};
    if (r->eval.source && !evaluate_as(r, source, r->source_key, e)) return false;
    net_close(r->source_net);
    r->source_net = NULL;
    return (trained && !r->eval.untrained) || evaluate_as(r, operated, r->surgery_key, e);
}

/* Measures the model after recalibration. The manifest of the first output, which has been written by now,
 * tells the report how the model was trained. */
static bool evaluate_after(Run *r, Error *e) {
    Error ignored = {0};
    Checkpoint *out = checkpoint_open(r->targets[0].request.path, &ignored);
    json_t *manifest = out ? manifest_read(out, &ignored) : NULL;
    EvalSubject s = {.name = "after recalibration",
                     .path = r->targets[0].request.path,
                     .manifest = manifest,
                     .model = operated_spec,
                     .net = recalibrated_net};
    bool ok = evaluate_as(r, s, r->weights_key, e);
    json_decref(manifest);
    checkpoint_close(out);
    return ok;
}

/* Creates the table of measurements. It reads finished ones from OUTPUT.work/steps.json, unless --force is
 * given. */
static bool begin_evaluation(Run *r, Error *e) {
    r->eval.options.state = r->steps_path;
    r->eval.options.force = r->options->force;
    r->evaluation = eval_grid_new(&r->eval.options, r->options->command, e);
    return r->evaluation != NULL;
}

/* Writes the recipe's report and the model cards. Both carry the hash of the results that they were made from
 * and are left alone if it still fits. Only outputs that are HF folders can hold a card. */
static bool report_step(Run *r, Error *e) {
    const json_t *results = eval_grid_results(r->evaluation);
    const char *subject = r->targets[0].request.path, *base_model = r->eval.base_model;
    if (r->eval.report && !report_renew(r->eval.report, results, r->options->force, e)) return false;
    for (size_t i = 0; r->eval.card && i < recipe_job_n_outputs(&r->job); i++) {
        const char *path = r->targets[i].request.path;
        if (!folder_of_path(path) || model_card_is_current(path, subject, base_model, results)) continue;
        if (!model_card_write(path, subject, base_model, results, e)) return false;
        cmd_note("wrote the model card of %s", path);
    }
    return true;
}

/* ---- outputs ---- */

/* The key in the manifest of what lies at `path`, member "run_key". "" if nothing lies there, or something
 * that `derope run` did not write. */
static void key_of_output(const char *path, char out[33]) {
    Error ignored = {0};
    out[0] = 0;
    if (access(path, F_OK) != 0) return;
    Checkpoint *c = checkpoint_open(path, &ignored);
    json_t *manifest = c ? manifest_read(c, &ignored) : NULL;
    const char *key = json_get_string(manifest, "run_key");
    if (key) snprintf(out, 33, "%.32s", key);
    json_decref(manifest);
    checkpoint_close(c);
}

/* Whether the output's place is free or may be replaced, and can be written to. */
static bool target_may_begin(const Target *t, Error *e) {
    return output_may_begin(t->request.path, folder_of_path(t->request.path), t->request.force, e);
}

/* Fills `targets`: reads the entry of each output, compares its key with that of the file that is there, and
 * refuses an output that could not be written, before any work is done. */
static bool find_targets(Run *r, Error *e) {
    size_t n = recipe_job_n_outputs(&r->job);
    r->targets = xcalloc(n, sizeof *r->targets);
    for (size_t i = 0; i < n; i++) {
        Target *t = &r->targets[i];
        char there[33];
        if (!recipe_job_output(&r->job, i, r->model, &t->request, e)) return false;
        /* The output is up to date if its manifest has the key that it would get now. */
        step_key(r->weights_key, json_array_get(recipe_job_section(&r->job, "outputs"), i), "", t->key);
        key_of_output(t->request.path, there);
        t->done = !r->options->force && strcmp(t->key, there) == 0;
        /* What an earlier run of a recipe wrote is replaced without --force, which protects files of other
         * origin. */
        t->request.force = r->options->force || there[0];
        bool exists = access(t->request.path, F_OK) == 0;
        if (exists && !t->done && !target_may_begin(t, e)) return false;
    }
    return true;
}

/* Writes one output, after training if that is still to be done. The manifest gets the output's key, which a
 * later run compares, the whole recipe, and the summary of the training. Notices about the model are printed
 * with its first output only. */
static bool write_target(Run *r, Target *t, Error *e) {
    if (t->done) {
        cmd_note("%s is up to date", t->request.path);
        return true;
    }
    if (!recalibrate_step(r, e)) return false;
    json_t *extra = json_pack("{s:s, s:O}", "run_key", t->key, "recipe", r->job.recipe);
    if (r->summary) json_object_update(extra, r->summary);
    t->request.extra = extra;
    t->request.notices_told = r->notices_told;
    bool ok = output_write(r->model, &t->request, e);
    r->notices_told = json_array_size(r->model->notices);
    json_decref(extra);
    if (ok) cmd_note("wrote %s", t->request.path);
    return ok;
}

/* ---- the whole ---- */

/* Makes the folders above `path` that are missing, as mkdir -p does. A slash at the end of the path does not
 * make the path itself a folder. */
static bool make_parents(const char *path, Error *e) {
    char *copy = xstrdup(path);
    bool ok = true;
    for (char *p = copy + 1; ok && *p; p++)
        if (*p == '/' && p[1]) {
            *p = 0;
            ok = mkdir(copy, 0777) == 0 || errno == EEXIST || error_errno(e, "%s", copy);
            *p = '/';
        }
    free(copy);
    return ok;
}

/* Whether a report may be written at `page`. An earlier report of derope is replaced without --force, any
 * other file is not. */
static bool report_may_replace(const char *page, bool force, Error *e) {
    return make_parents(page, e) && report_may_begin(page, force || report_is_ours(page), e);
}

/* Makes the work folder OUTPUT.work, named after the first output, and the folders in which outputs lie, and
 * sets `work` and `steps_path`. Checks the places of outputs again, now that their folders exist. */
static bool open_work(Run *r, Error *e) {
    const char *first = r->targets[0].request.path;
    Buffer work = {0}, steps = {0};
    buffer_printf(&work, "%.*s.work", (int)path_length(first), first);
    r->work = buffer_string(&work);
    buffer_printf(&steps, "%s/steps.json", r->work);
    r->steps_path = buffer_string(&steps);
    for (size_t i = 0; i < recipe_job_n_outputs(&r->job); i++) {
        Target *t = &r->targets[i];
        if (!make_parents(t->request.path, e) || (!t->done && !target_may_begin(t, e))) return false;
    }
    if (r->eval.report && !report_may_replace(r->eval.report, r->options->force, e)) return false;
    if (mkdir(r->work, 0777) != 0 && errno != EEXIST) return error_errno(e, "%s", r->work);
    return true;
}

/* Sets the times of outputs that were up to date to now. make compares times: if an input was touched without
 * a change, the output would stay older than it, and make would run the recipe every time. */
static bool renew_times(const Run *r, Error *e) {
    for (size_t i = 0; i < recipe_job_n_outputs(&r->job); i++)
        if (r->targets[i].done && utimensat(AT_FDCWD, r->targets[i].request.path, NULL, 0) != 0)
            return error_errno(e, "%s", r->targets[i].request.path);
    return true;
}

/* What with_depfile calls: depfile_check and depfile_write of cmd/output.h, and spares_all, have this
 * type. */
typedef bool (*DepfileStep)(const char *path, const char *const *targets, size_t n_targets,
                            const Checkpoint *source, const json_t *more, Error *e);

/* Calls `step` with `path`, the run's outputs as targets, and as `more` every file beside the source that the
 * run reads: the recipe itself, the texts of training and evaluation, and the wording file of tasks. */
static bool with_depfile(const Run *r, const char *path, DepfileStep step, Error *e) {
    size_t n = recipe_job_n_outputs(&r->job);
    json_t *data = recipe_job_files(&r->job, "recalibrate", "data", e), *more = json_pack("[s]", r->job.path);
    if (!more) error_set(e, ERR_RECIPE, "%s: the name is not UTF-8", r->job.path);
    json_t *text = data && more ? recipe_job_files(&r->job, "evaluate", "text", e) : NULL;
    const char **targets = xcalloc(n, sizeof *targets);
    for (size_t i = 0; i < n; i++)
        targets[i] = r->targets[i].request.path;
    json_array_extend(more, data);
    json_array_extend(more, text);
    const char *wording = json_get_string(recipe_job_section(&r->job, "evaluate"), "wording");
    if (wording) json_array_append_new(more, json_string(wording));
    bool ok = text && step(path, targets, n, r->job.source, more, e);
    free(targets);
    json_decref(more);
    json_decref(text);
    json_decref(data);
    return ok;
}

/* Whether `path` lies in `folder` or equals it. The paths are compared as text, because an output need not
 * exist yet. */
static bool lies_in(const char *path, const char *folder) {
    size_t n = path_length(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]);
}

/* Refuses a report inside an output, which is replaced as a whole, and one in the place of a file that is
 * read. */
static bool spares_all(const char *path, const char *const *targets, size_t n_targets,
                       const Checkpoint *source, const json_t *more, Error *e) {
    size_t i;
    const json_t *file;
    for (i = 0; i < n_targets; i++)
        if (lies_in(path, targets[i]))
            return cmd_usage(e, "the report %s would lie in the output %s", path, targets[i]);
    json_array_foreach(more, i, file) if (same_file(path, json_string_value(file))) return cmd_usage(
        e, "the report would replace %s, which is read from", path);
    return output_spares_source(source, path, e);
}

/* Applies spares_all to each file of a report (the page, its JSON and its CSV). */
static bool report_spares_all(const Run *r, const char *report, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < REPORT_FILES; i++) {
        char *path = report_file(report, i);
        ok = with_depfile(r, path, spares_all, e);
        free(path);
    }
    return ok;
}

/* Refuses the recipe's own report (evaluate.report) and the joint one of --report if they cannot be written
 * where they are wanted, before any work is done. */
static bool check_reports(const Run *r, const char *joint, Error *e) {
    if (r->eval.report && !report_spares_all(r, r->eval.report, e))
        return recipe_job_blame(&r->job, "evaluate.report", e);
    if (!joint) return true;
    return (report_spares_all(r, joint, e) || error_place(e, "--report")) &&
           report_may_replace(joint, r->options->force, e);
}

/* Does the steps in order: measure, train and write, measure again, report. A model that is trained from
 * scratch is not evaluated, as there is no source to compare it with. */
static bool run_steps(Run *r, Error *e) {
    bool evaluated = recipe_job_section(&r->job, "evaluate") && !r->job.from_scratch,
         trained = recipe_job_section(&r->job, "recalibrate") != NULL;
    if (evaluated && (!begin_evaluation(r, e) || !evaluate_before(r, e))) return false;
    for (size_t i = 0; i < recipe_job_n_outputs(&r->job); i++)
        if (!write_target(r, &r->targets[i], e)) return false;
    return !evaluated || ((!trained || evaluate_after(r, e)) && report_step(r, e));
}

/* Reads the sections recalibrate and evaluate into requests and lists their texts, so that mistakes and
 * missing files show before the source is opened as a model. The training request is discarded here, because
 * recalibrate_step reads it again. */
static bool check_sections(Run *r, Error *e) {
    RecalRequest request;
    if (recipe_job_section(&r->job, "recalibrate") && !recipe_job_recal(&r->job, &request, e)) return false;
    if (!recipe_job_section(&r->job, "evaluate")) return true;
    json_t *texts = recipe_job_files(&r->job, "evaluate", "text", e);
    json_decref(texts);
    if (!texts || !recipe_job_evaluation(&r->job, &r->eval, e)) return false;
    return true;
}

/* Opens the source twice: the surgery changes one model in place, and the other is measured as it is. */
static bool open_models(Run *r, Error *e) {
    r->source_model = recipe_job_model(&r->job, false, e);
    r->model = r->source_model ? recipe_job_model(&r->job, true, e) : NULL;
    return r->model != NULL;
}

/* Adds this recipe's measurements to those of all recipes, under the recipe's name if there are several. */
static void join_results(const Run *r) {
    char name[64] = "";
    if (r->options->several) eval_table_recipe_name(r->job.path, name);
    if (r->evaluation) eval_results_join(r->options->results, eval_grid_results(r->evaluation), name);
}

bool recipe_run(const char *path, const RecipeRun *options, Error *e) {
    Run r = {.options = options};
    /* Everything up to run_steps only checks and opens; nothing is computed before all of it has
     * succeeded. */
    const char *depfile = options->depfile;
    bool ok = recipe_job_open(&r.job, path, options->sets, options->n_sets, e) && check_sections(&r, e) &&
              open_models(&r, e) && find_keys(&r, e) && find_targets(&r, e) &&
              check_reports(&r, options->report, e) && open_work(&r, e) &&
              (!depfile || with_depfile(&r, depfile, depfile_check, e)) && run_steps(&r, e);
    /* The depfile is written last, when the outputs that it names are complete. */
    if (ok && depfile) ok = renew_times(&r, e) && with_depfile(&r, depfile, depfile_write, e);
    if (ok) join_results(&r);
    if (e->code == ERR_INTERRUPTED) cmd_advise(e, "; run it again to go on");
    /* Nets are closed before the models whose tensors they use. */
    net_close(r.net);
    model_close(r.model);
    model_close(r.source_model);
    eval_grid_free(r.evaluation);
    net_close(r.source_net);
    json_decref(r.summary);
    free(r.targets);
    if (r.work) rmdir(r.work); /* removes it only if it is empty, that is if no step kept anything there */
    free(r.work);
    free(r.steps_path);
    recipe_job_close(&r.job);
    return ok;
}
