#include "cmd/recipe/recipe_job.h"

#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/recipe/recipe.h"
#include "cmd/surgery_flags.h"
#include "cmd/token_input.h"
#include "formats/checkpoint_open.h"
#include "formats/json.h"
#include "recal/text_data.h"

bool job_open(Job *j, const char *path, const char *const *sets, size_t n_sets, Error *e) {
    *j = (Job){.path = path, .sets = sets, .n_sets = n_sets};
    j->recipe = recipe_load(path, sets, n_sets, e);
    if (!j->recipe) return false;
    json_get_bool(job_section(j, "recalibrate"), "from_scratch", &j->from_scratch);
    j->source = checkpoint_open_config(json_get_string(j->recipe, "source"), j->from_scratch, e);
    return j->source != NULL;
}

void job_close(Job *j) {
    checkpoint_close(j->source);
    json_decref(j->recipe);
}

const json_t *job_section(const Job *j, const char *name) {
    return json_object_get(j->recipe, name);
}

/* What the recipe asks for makes no sense there; other trouble is not the recipe's. */
static bool blame(const Job *j, const char *dotted, Error *e) {
    return e->code == ERR_USAGE && recipe_blame(j->path, j->sets, j->n_sets, dotted, e);
}

static bool operate(const Job *j, Model *m, Error *e) {
    size_t i;
    json_t *pass;
    json_array_foreach(job_section(j, "surgery"), i, pass) {
        char dotted[32];
        json_t *one = json_pack("[O]", pass);
        bool ok = passes_apply(one, m, e);
        json_decref(one);
        snprintf(dotted, sizeof dotted, "surgery.%zu", i);
        if (!ok) return blame(j, dotted, e);
    }
    return true;
}

Model *job_model(const Job *j, bool operated, Error *e) {
    Model *m = j->from_scratch ? model_open_config(j->source, e) : model_open(j->source, e);
    if (!m || !operated || operate(j, m, e)) return m;
    model_close(m);
    return NULL;
}

static void set_u32(const json_t *o, const char *key, uint32_t *to) {
    uint64_t v;
    if (json_get_u64(o, key, &v)) *to = (uint32_t)v; /* the recipe's ranges fit */
}

static bool take_paths(const json_t *paths, const char **out, size_t *n, Error *e) {
    *n = json_array_size(paths);
    if (*n > MAX_RECIPE_PATHS)
        return error_set(e, ERR_USAGE, "more than %d paths; name a folder", MAX_RECIPE_PATHS);
    for (size_t i = 0; i < *n; i++)
        out[i] = json_string_value(json_array_get(paths, i));
    return true;
}

bool job_recal(const Job *j, const char **data, RecalRequest *r, Error *e) {
    const json_t *s = job_section(j, "recalibrate"), *paths = json_object_get(s, "data");
    const char *objective = json_get_string(s, "objective");
    *r = (RecalRequest){.train = train_defaults(),
                        .data = data,
                        .field = json_get_string(s, "field"),
                        .from_scratch = j->from_scratch};
    TrainOptions *t = &r->train;
    t->objective = objective_by_name(objective ? objective : "next-token");
    json_get_u64(s, "tokens", &t->tokens);
    json_get_u64(s, "seed", &t->seed);
    json_get_f64(s, "lr", &t->lr);
    json_get_f64(s, "min_lr_ratio", &t->min_lr_ratio);
    json_get_f64(s, "weight_decay", &t->weight_decay);
    json_get_f64(s, "beta1", &t->beta1);
    json_get_f64(s, "beta2", &t->beta2);
    json_get_f64(s, "clip", &t->clip);
    set_u32(s, "context", &t->context);
    set_u32(s, "batch", &t->batch);
    set_u32(s, "accumulate", &t->accumulate);
    set_u32(s, "warmup", &t->warmup);
    if (!take_paths(paths, data, &r->n_data, e)) return blame(j, "recalibrate.data", e);
    return train_check(t, e) || blame(j, "recalibrate", e);
}

/* Each of a list of names, with the blame on it where there is no such thing. */
static bool take_names(const Job *j, const char *key, EvalOptions *o,
                       bool (*add)(EvalOptions *o, const char *name, Error *e), Error *e) {
    const json_t *names = json_object_get(job_section(j, "evaluate"), key);
    for (size_t i = 0; i < json_array_size(names); i++) {
        char dotted[48];
        snprintf(dotted, sizeof dotted, "evaluate.%s.%zu", key, i);
        if (!add(o, json_string_value(json_array_get(names, i)), e)) return blame(j, dotted, e);
    }
    return true;
}

static bool take_lengths(const json_t *contexts, uint64_t *out, size_t *n, Error *e) {
    *n = json_array_size(contexts);
    if (*n > EVAL_MAX_ITEMS) return error_set(e, ERR_USAGE, "more than %d lengths", EVAL_MAX_ITEMS);
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint64_t)json_integer_value(json_array_get(contexts, i));
    return true;
}

/* Words that cannot be read, and a card that has no place, show before any work. */
static bool check_extras(const Job *j, const EvalOptions *o, Error *e) {
    bool card = false, place = false;
    Wording words;
    if (!wording_open(o->wording, &words, e)) return false;
    wording_close(&words);
    json_get_bool(job_section(j, "evaluate"), "card", &card);
    for (size_t i = 0; i < job_n_outputs(j); i++)
        place |= folder_of_path(json_get_string(json_array_get(job_section(j, "outputs"), i), "path"));
    if (!card || place) return true;
    cmd_usage(e, "a card goes into an HF folder, and no output is one");
    return blame(j, "evaluate.card", e);
}

bool job_evaluation(const Job *j, const char **texts, EvalOptions *o, Error *e) {
    const json_t *s = job_section(j, "evaluate"), *contexts = json_object_get(s, "context");
    const char *score = json_get_string(s, "score"), *scale = json_get_string(s, "softmax_scale");
    uint64_t v;
    *o = (EvalOptions){.texts = texts,
                       .field = json_get_string(s, "field"),
                       .wording = json_get_string(s, "wording"),
                       .perplexity = !json_object_get(s, "suite")};
    if (!take_paths(json_object_get(s, "text"), texts, &o->n_texts, e)) return blame(j, "evaluate.text", e);
    if (!take_lengths(contexts, o->lengths, &o->n_lengths, e)) return blame(j, "evaluate.context", e);
    if (!take_lengths(json_object_get(s, "task_context"), o->task_lengths, &o->n_task_lengths, e))
        return blame(j, "evaluate.task_context", e);
    if (json_get_u64(s, "trials", &v)) o->trials = v;
    if (json_get_u64(s, "depths", &v)) o->n_depths = v;
    json_get_u64(s, "seed", &o->seed);
    json_get_u64(s, "tokens", &o->max_tokens);
    if (scale && !eval_options_set_scale(o, scale, e)) return blame(j, "evaluate.softmax_scale", e);
    if (score && !score_parse(score, &o->score, e)) return blame(j, "evaluate.score", e);
    return take_names(j, "suite", o, eval_options_add_suite, e) &&
           take_names(j, "against", o, eval_options_add_extension, e) &&
           (eval_options_complete(o, e) || blame(j, "evaluate", e)) && check_extras(j, o, e);
}

size_t job_n_outputs(const Job *j) {
    return json_array_size(job_section(j, "outputs"));
}

bool job_output(const Job *j, size_t i, const Model *operated, OutputRequest *r, Error *e) {
    const json_t *o = json_array_get(job_section(j, "outputs"), i);
    *r = (OutputRequest){.path = json_get_string(o, "path"),
                         .dtype = json_get_string(o, "dtype"),
                         .carrier = json_get_string(o, "carrier")};
    json_get_u64(o, "max_shard_size", &r->max_shard_size);
    char dotted[48];
    snprintf(dotted, sizeof dotted, "outputs.%zu", i);
    if (output_check(operated, r, e)) return true;
    if (r->carrier && e->code == ERR_FAILED) e->code = ERR_USAGE; /* it was the recipe that named it */
    return blame(j, dotted, e);
}

json_t *job_files(const Job *j, const char *section, const char *key, Error *e) {
    size_t i;
    json_t *path, *files = json_array();
    json_array_foreach(json_object_get(job_section(j, section), key), i, path) {
        if (text_data_list(json_string_value(path), files, e)) continue;
        json_decref(files);
        return NULL;
    }
    return files;
}
