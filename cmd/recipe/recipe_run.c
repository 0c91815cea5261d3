/* Runs one recipe, from checking it to writing the reports. cmd/verbs/run.c calls recipe_run for each recipe
 * on the command line of `derope run`. The steps themselves are in other files: recipe_job.c converts the
 * sections of the recipe to requests, cmd/training_step.c trains, cmd/evaluate/eval_grid.c measures, and
 * cmd/output.c writes outputs. This file skips the steps whose results exist from an earlier run, calls the
 * other steps in order, and refuses a recipe that cannot succeed before the first of them begins.
 *
 * One run does the following, in this order: open the recipe and its models, compute the key of each step,
 * check that all outputs can be written, measure the source and the model after surgery, train, write the
 * outputs, measure the trained model, and write reports and model cards. */
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
    /* The parameters of output_write: path, dtype, carrier and so on. */
    OutputRequest request;
    /* Key of the output, 32 hexadecimal digits: a hash of the key of its weights and of this entry of the
     * recipe. The output stores it in its manifest. */
    char key[33];
    bool done; /* the file or folder at the path has this key already, so it is not written again */
} Target;

/* The state of one run of one recipe. recipe_run creates it and releases it. */
typedef struct Run {
    /* The options of the command line. Owned by the caller. */
    const RecipeRun *options;
    /* The recipe and its opened source checkpoint. */
    RecipeJob job;
    char *work;                  /* path of the folder OUTPUT.work, which holds files kept between runs */
    char *steps_path;            /* path of OUTPUT.work/steps.json, which stores measurements */
    EvalRequest eval;            /* the evaluate section as a request */
    EvalGrid *evaluation;        /* the measurements made so far; NULL: nothing is measured */
    Target *targets;             /* one element for each output, recipe_job_n_outputs in all */
    Model *source_model, *model; /* the source without changes, and the source after surgery */
    Net *net, *source_net;       /* weights of `model` and of `source_model`; NULL until they are needed */
    /* Keys of the source, of the model after surgery and of the final weights, 32 hexadecimal digits each. */
    char source_key[33], surgery_key[33], weights_key[33];
    json_t *summary;     /* description of the training for manifests; NULL: not trained in this run so far */
    size_t notices_told; /* number of notices of `model` that have been printed */
} Run;

/* ---- keys ---- */

/* Hashes the name and the contents of each file in an array of paths. The name is hashed because its
 * extension, such as .jsonl or .gz, decides how the file is read. The folder is not hashed, so that a text
 * can be moved without changing the key. */
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

/* Hashes the compact text of a JSON value. `v` is NULL if the recipe does not have the section; nothing is
 * hashed then. */
static void hash_json(Hash *h, const json_t *v) {
    Buffer text = {0};
    if (v) json_print(v, 0, &text);
    hash_update(h, text.data, text.size);
    buffer_free(&text);
}

/* Computes the key of a step: a hash of the version of derope, of `from`, the key of the step before it, of
 * the parameters of the step, and of `files`, which is the hash of the files that the step reads or "". */
static void step_key(const char *from, const json_t *parameters, const char *files, char out[33]) {
    Hash *h = hash_new();
    hash_update(h, DEROPE_VERSION, strlen(DEROPE_VERSION));
    hash_update(h, from, strlen(from));
    hash_json(h, parameters);
    hash_update(h, files, strlen(files));
    hash_finish(h, out);
}

/* Hashes all files that the recipe names under `key` of `section`, such as recalibrate.data, and writes the
 * hash to `out`. A folder stands for the files in it. Returns false if a file cannot be read. */
static bool files_key(const Run *r, const char *section, const char *key, char out[33], Error *e) {
    json_t *files = recipe_job_files(&r->job, section, key, e);
    Hash *h = hash_new();
    bool ok = files && hash_files(files, h, e);
    hash_finish(h, out);
    json_decref(files);
    return ok;
}

/* Computes source_key, surgery_key and weights_key. Each key is a hash that includes the key before it, so a
 * change of an early step changes the keys of all later steps, which are then done again. If the recipe has
 * no recalibrate section, the weights after surgery are final, and weights_key equals surgery_key. */
static bool find_keys(Run *r, Error *e) {
    const json_t *recal = recipe_job_section(&r->job, "recalibrate");
    json_t *source = manifest_sources(r->source_model);
    /* manifest_sources lists name, size and hash of each file of the source. */
    step_key("", source, "", r->source_key);
    step_key(r->source_key, recipe_job_section(&r->job, "surgery"), "", r->surgery_key);
    json_decref(source);
    memcpy(r->weights_key, r->surgery_key, sizeof r->weights_key);
    if (recal) {
        char data[33];
        if (!files_key(r, "recalibrate", "data", data, e)) return false;
        json_t *parameters = json_copy((json_t *)recal);
        json_object_del(parameters, "data"); /* the contents of these files are hashed, not their paths */
        step_key(r->surgery_key, parameters, data, r->weights_key);
        json_decref(parameters);
    }
    return true;
}

/* ---- recalibration ---- */

/* Trains the model after surgery and leaves the trained weights in r->net. Returns at once if the recipe has
 * no recalibrate section or if this run has trained already. The training state is a file in the work folder,
 * and weights_key is a part of its name. If an earlier run with the same key left a state there, training
 * continues from it; if that state is at its last token, no step remains and the weights are only loaded.
 * With --force training starts from the beginning. */
static bool recalibrate_step(Run *r, Error *e) {
    if (!recipe_job_section(&r->job, "recalibrate") || r->summary) return true;
    RecalRequest request;
    if (!recipe_job_recal(&r->job, &request, e)) return false;
    char state[PATH_MAX];
    snprintf(state, sizeof state, "%s/recalibrated-%.16s.state", r->work, r->weights_key);
    request.train.state_path = state;
    request.train.resume = access(state, F_OK) == 0 && !r->options->force;
    /* Close the untrained net that the evaluation may have opened. recalibrate opens another one. */
    net_close(r->net);
    r->net = NULL;
    TrainResult result = {0};
    bool ok = recalibrate(r->job.source, r->model, &request, &r->net, &result, e);
    if (ok) r->summary = recal_summary(&request, &result);
    /* Print whether an earlier state was complete or was continued. `resumed` and `tokens` are numbers of
     * tokens. */
    if (ok && result.resumed == result.tokens)
        cmd_note("the recalibrated weights are up to date");
    else if (ok && result.resumed)
        cmd_note("went on after %llu tokens", (unsigned long long)result.resumed);
    json_decref(result.losses);
    return ok;
}

/* ---- evaluation ---- */

/* The next five functions are callbacks of an EvalSubject (cmd/evaluate/eval_subject.h). Their context is the
 * Run. The grid asks for a net only if a measurement is missing, so no weights are decoded if the state file
 * has all measurements.
 *
 * Opens the source without changes. The caller closes the returned model. */
static Model *source_spec(void *context, Error *e) {
    return recipe_job_model(&((Run *)context)->job, false, e);
}

/* Returns the net of the source without changes, for the rows "source" of the table. The Run owns the net. */
static Net *source_net(void *context, Error *e) {
    Run *r = context;
    if (!r->source_net) r->source_net = net_open(r->source_model, 0, e);
    return r->source_net;
}

/* Opens the source and applies the surgery to it. The caller closes the returned model. */
static Model *operated_spec(void *context, Error *e) {
    return recipe_job_model(&((Run *)context)->job, true, e);
}

/* Returns the net of the model after surgery. It has trained weights if recalibrate_step was called before,
 * or else the weights of the source. The Run owns the net. */
static Net *operated_net(void *context, Error *e) {
    Run *r = context;
    if (!r->net) r->net = net_open(r->model, 0, e);
    return r->net;
}

/* Returns the net with trained weights. If all outputs were up to date, recalibrate_step has not been called
 * before; it then loads the weights from the training state in the work folder. */
static Net *recalibrated_net(void *context, Error *e) {
    return recalibrate_step(context, e) ? operated_net(context, e) : NULL;
}

/* Measures a subject and adds its rows to the table that is printed at the end. `key` is the key of its
 * weights; a measurement that the state file has under this key is not repeated. A subject without a path is
 * reported with the path of the source. */
static bool evaluate_as(Run *r, EvalSubject s, const char *key, Error *e) {
    size_t before = eval_grid_n_measured(r->evaluation);
    memcpy(s.key, key, sizeof s.key);
    if (!s.path) s.path = json_get_string(r->job.recipe, "source");
    s.source = r->job.source;
    s.context = r;
    if (!eval_grid_add_subject(r->evaluation, &s, e)) return false;
    const json_t *results = eval_grid_results(r->evaluation);
    /* If nothing was measured, all numbers come from an earlier run; a note and the table say so. */
    bool skipped = eval_grid_n_measured(r->evaluation) == before;
    if (skipped) cmd_note("the evaluation of '%s' is up to date", s.name);
    eval_table_add(r->options->table, results, json_array_size(json_object_get(results, "models")) - 1,
                   r->job.path, skipped);
    return true;
}

/* Does the measurements that come before training: the source, if evaluate.source is set, and the model after
 * surgery. If the recipe has a recalibrate section, the model after surgery is measured only if
 * evaluate.untrained is set; without that section it is the final model and is always measured. The net of
 * the source is closed before anything else is done, because it needs as much memory as the net to be
 * trained. */
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

/* Measures the model after recalibration. The outputs have been written at this time, and the manifest of the
 * first one is handed to the evaluation, whose report shows how the model was trained. */
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

/* Creates the grid of measurements. Unless --force is given, it starts with the measurements that
 * OUTPUT.work/steps.json has from earlier runs. */
static bool begin_evaluation(Run *r, Error *e) {
    r->eval.options.state = r->steps_path;
    r->eval.options.force = r->options->force;
    r->evaluation = eval_grid_new(&r->eval.options, r->options->command, e);
    return r->evaluation != NULL;
}

/* Writes the report of the recipe (evaluate.report) and, if evaluate.card is set, a model card into each
 * output that is an HF folder. Reports and cards contain a hash of the results that they were made from; they
 * are written again only if the results have another hash. */
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

/* Reads the key of the output at `path` from the member "run_key" of its manifest. `out` becomes "" if the
 * path does not exist or was not written by `derope run`. */
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

/* Returns true if an output can be written to its path: either nothing exists at the path, or it may be
 * replaced. */
static bool target_may_begin(const Target *t, Error *e) {
    return output_may_begin(t->request.path, folder_of_path(t->request.path), t->request.force, e);
}

/* Fills r->targets from the outputs section and finds out which outputs are up to date. Fails if an existing
 * file or folder at the path of an output must not be replaced, so that no time is spent in vain. */
static bool find_targets(Run *r, Error *e) {
    size_t n = recipe_job_n_outputs(&r->job);
    r->targets = xcalloc(n, sizeof *r->targets);
    for (size_t i = 0; i < n; i++) {
        Target *t = &r->targets[i];
        char there[33];
        if (!recipe_job_output(&r->job, i, r->model, &t->request, e)) return false;
        /* The output is up to date if the key in its manifest is the one that this run would store in it. */
        step_key(r->weights_key, json_array_get(recipe_job_section(&r->job, "outputs"), i), "", t->key);
        key_of_output(t->request.path, there);
        t->done = !r->options->force && strcmp(t->key, there) == 0;
        /* An output that `derope run` wrote (it has a key) is replaced even without --force. Any other file
         * or folder is replaced only with --force. */
        t->request.force = r->options->force || there[0];
        bool exists = access(t->request.path, F_OK) == 0;
        if (exists && !t->done && !target_may_begin(t, e)) return false;
    }
    return true;
}

/* Writes one output, unless it is up to date. Trains first if the recipe demands it and this run has not
 * trained yet. The manifest of the output gets its key, the complete recipe and the summary of the training.
 * Notices about the model are printed only with the first output that is written. */
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

/* ---- files and folders, and the order of the steps ---- */

/* Creates the missing folders above `path`, as mkdir -p does. The last component of the path is not created,
 * even if the path ends with a slash. */
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

/* Creates the folders above `page` and returns true if a report can be written to that path. A report of
 * derope that exists there may be replaced even without --force; any other file may be replaced only with
 * --force. */
static bool report_may_replace(const char *page, bool force, Error *e) {
    return make_parents(page, e) && report_may_begin(page, force || report_is_ours(page), e);
}

/* Sets r->work and r->steps_path, and creates the work folder and the folders that the outputs and the report
 * are written to. The work folder has the path of the first output with ".work" at the end. Every output that
 * is to be written is checked again, because find_targets could not check folders that did not exist yet. */
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

/* Sets the modification time of each output that was up to date to the current time. This is for make, which
 * compares times: if an input file has a newer time but the same contents, its output would stay older than
 * the input, and make would run the recipe every time. */
static bool renew_times(const Run *r, Error *e) {
    for (size_t i = 0; i < recipe_job_n_outputs(&r->job); i++)
        if (r->targets[i].done && utimensat(AT_FDCWD, r->targets[i].request.path, NULL, 0) != 0)
            return error_errno(e, "%s", r->targets[i].request.path);
    return true;
}

/* The type of the functions that with_depfile calls: depfile_check and depfile_write of cmd/output.h, and
 * spares_all below. */
typedef bool (*DepfileStep)(const char *path, const char *const *targets, size_t n_targets,
                            const Checkpoint *source, const json_t *more, Error *e);

/* Calls `step` with `path`, the paths of all outputs as `targets`, the source, and the paths of all other
 * files that the run reads as `more`. These are the recipe itself, the texts for training and evaluation, and
 * the file that evaluate.wording names. */
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

/* Returns true if `path` is `folder` or a path inside it. The texts of the paths are compared, because an
 * output may not exist yet. */
static bool lies_in(const char *path, const char *folder) {
    size_t n = path_length(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || !path[n]);
}

/* Returns true if a report can be written to `path` without harm to the other files of the run. It must not
 * be inside an output, because writing the output would delete it, and it must not replace a file that the
 * run reads: a file in `more` or a file of the source. */
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

/* Applies spares_all to each file that belongs to the report at `report`: the HTML page, the JSON and the
 * CSV. */
static bool report_spares_all(const Run *r, const char *report, Error *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < REPORT_FILES; i++) {
        char *path = report_file(report, i);
        ok = with_depfile(r, path, spares_all, e);
        free(path);
    }
    return ok;
}

/* Checks the paths of the report of this recipe (evaluate.report) and of `joint`, the report of all recipes
 * (--report; NULL if there is none). It is called before anything is computed, and fails if a report would
 * replace or be deleted with another file of the run. */
static bool check_reports(const Run *r, const char *joint, Error *e) {
    if (r->eval.report && !report_spares_all(r, r->eval.report, e))
        return recipe_job_blame(&r->job, "evaluate.report", e);
    if (!joint) return true;
    return (report_spares_all(r, joint, e) || error_place(e, "--report")) &&
           report_may_replace(joint, r->options->force, e);
}

/* Does the steps of the recipe in this order: the measurements before training, training and writing the
 * outputs, the measurements after training, the report. A model that is trained from random weights is not
 * evaluated, because it has no source to be compared with. */
static bool run_steps(Run *r, Error *e) {
    bool evaluated = recipe_job_section(&r->job, "evaluate") && !r->job.from_scratch,
         trained = recipe_job_section(&r->job, "recalibrate") != NULL;
    if (evaluated && (!begin_evaluation(r, e) || !evaluate_before(r, e))) return false;
    for (size_t i = 0; i < recipe_job_n_outputs(&r->job); i++)
        if (!write_target(r, &r->targets[i], e)) return false;
    return !evaluated || ((!trained || evaluate_after(r, e)) && report_step(r, e));
}

/* Converts the sections recalibrate and evaluate to requests and lists the evaluation's texts, so that
 * mistakes in these sections are reported before the source is opened as a model. The evaluation request is
 * kept in r->eval. The training request is discarded; recalibrate_step makes it again. */
static bool check_sections(Run *r, Error *e) {
    RecalRequest request;
    if (recipe_job_section(&r->job, "recalibrate") && !recipe_job_recal(&r->job, &request, e)) return false;
    if (!recipe_job_section(&r->job, "evaluate")) return true;
    json_t *texts = recipe_job_files(&r->job, "evaluate", "text", e);
    json_decref(texts);
    if (!texts || !recipe_job_evaluation(&r->job, &r->eval, e)) return false;
    return true;
}

/* Opens the source as two models. The surgery changes r->model; r->source_model stays unchanged, for the key
 * of the source and for measuring it. */
static bool open_models(Run *r, Error *e) {
    r->source_model = recipe_job_model(&r->job, false, e);
    r->model = r->source_model ? recipe_job_model(&r->job, true, e) : NULL;
    return r->model != NULL;
}

/* Adds the measurements of this recipe to options->results, which collects those of all recipes. If there are
 * several recipes, the measurements are added under the name of the recipe. */
static void join_results(const Run *r) {
    char name[64] = "";
    if (r->options->several) eval_table_recipe_name(r->job.path, name);
    if (r->evaluation) eval_results_join(r->options->results, eval_grid_results(r->evaluation), name);
}

/* The contract is in recipe_run.h. A failed run keeps the training state and the measurements in the work
 * folder, so that the next run can continue. */
bool recipe_run(const char *path, const RecipeRun *options, Error *e) {
    Run r = {.options = options};
    /* The calls before run_steps open files, compute keys and check paths. run_steps, which measures and
     * trains, is reached only if all of them succeed. */
    const char *depfile = options->depfile;
    bool ok = recipe_job_open(&r.job, path, options->sets, options->n_sets, e) && check_sections(&r, e) &&
              open_models(&r, e) && find_keys(&r, e) && find_targets(&r, e) &&
              check_reports(&r, options->report, e) && open_work(&r, e) &&
              (!depfile || with_depfile(&r, depfile, depfile_check, e)) && run_steps(&r, e);
    /* Write the depfile last, because it is valid only if the outputs that it names are complete. */
    if (ok && depfile) ok = renew_times(&r, e) && with_depfile(&r, depfile, depfile_write, e);
    if (ok) join_results(&r);
    if (e->code == ERR_INTERRUPTED) cmd_advise(e, "; run it again to go on");
    /* Release everything. Each net uses tensors of its model, so r.net is closed before r.model. */
    net_close(r.net);
    model_close(r.model);
    model_close(r.source_model);
    eval_grid_free(r.evaluation);
    net_close(r.source_net);
    json_decref(r.summary);
    free(r.targets);
    if (r.work) rmdir(r.work); /* rmdir removes the folder only if it is empty */
    free(r.work);
    free(r.steps_path);
    recipe_job_close(&r.job);
    return ok;
}
