/* Building the results of an evaluation, one JSON object (eval_results.h has its shape), and joining those
 * of several recipes. eval_grid.c adds models and rows while it measures; reports (cmd/report), tables
 * (eval_table.c) and the text output (eval_text.c) read the object. */
#include "cmd/evaluate/eval_results.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/machine.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "recal/text_data.h"
#include "surgery/family.h"
#include "surgery/manifest.h"
#include "surgery/version.h"

/* "seconds" is filled in when the results are taken. */
json_t *eval_results_new(const EvalOptions *o, const char *command) {
    char started[32];
    time_t now = time(NULL);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    /* Settings that decide what a number means are repeated in the results, so that reports can show them. */
    json_t *settings =
        json_pack("{s:I, s:I, s:I, s:s}", "seed", (json_int_t)o->seed, "trials", (json_int_t)o->trials,
                  "depths", (json_int_t)o->n_depths, "score", o->score == SCORE_HALF ? "half" : "all");
    return json_pack("{s:s, s:o, s:o, s:s, s:f, s:[], s:o, s:[], s:[], s:[]}", "derope", DEROPE_VERSION,
                     "command", json_text(command), "machine", machine_json(), "started", started, "seconds",
                     0.0, "texts", "settings", settings, "models", "perplexity", "tasks");
}

/* Folders are expanded to files. The key covers contents and the JSONL field, not names: a moved file is the
 * same text. */
bool eval_results_add_texts(json_t *results, const EvalOptions *o, char key[33], Error *e) {
    json_t *files = json_array(), *list = json_object_get(results, "texts");
    bool ok = true;
    Hash *h = hash_new();
    for (size_t i = 0; ok && i < o->n_texts; i++)
        ok = text_data_list(o->texts[i], files, e);
    /* Each file is listed with its hash, and the hash goes into the key. */
    for (size_t i = 0; ok && i < json_array_size(files); i++) {
        char digest[33];
        struct stat st = {0};
        const char *path = json_string_value(json_array_get(files, i));
        ok = hash_file(path, digest, e);
        if (!ok) break;
        stat(path, &st);
        hash_update(h, digest, 32);
        json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "file", json_text(path), "bytes",
                                              (json_int_t)st.st_size, "xxh3_128", digest));
    }
    if (o->field) hash_update(h, o->field, strlen(o->field));
    hash_finish(h, key);
    json_decref(files);
    return ok;
}

/* What reports say about a model. Layers are listed one by one with how position enters. */
static json_t *describe_model(const EvalSubject *s, const Model *m) {
    uint64_t parameters = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        parameters += tensor_elems(&m->tensors[i].tensor);
    /* A model in memory knows its passes; one from disk was changed by an earlier run, which its manifest
     * records. */
    json_t *passes = json_array_size(m->passes) ? m->passes : json_object_get(s->manifest, "passes");
    return json_pack("{s:o, s:o, s:s, s:I, s:I, s:o, s:O?, s:O?}", "name", json_text(s->name), "path",
                     json_text(s->path), "family", m->family->name, "parameters", (json_int_t)parameters,
                     "context", (json_int_t)m->spec.context, "layers", manifest_layers(&m->spec), "passes",
                     passes, "recalibration", json_object_get(s->manifest, "recalibration"));
}

/* The index is what rows refer to. */
size_t eval_results_add_model(json_t *results, const EvalSubject *s, const Model *m) {
    json_t *models = json_object_get(results, "models");
    json_array_append_new(models, describe_model(s, m));
    return json_array_size(models) - 1;
}

/* Names must be distinct, since reports tell models apart by them. */
bool eval_results_has_model(const json_t *results, const char *name) {
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(results, "models"), i, m) {
        const char *its = json_get_string(m, "name");
        if (its && strcmp(its, name) == 0) return true;
    }
    return false;
}

/* Members of the setting come first; `value` cannot replace them. */
void eval_results_add_row(json_t *results, const EvalSetting *s, const EvalTask *task, const json_t *value) {
    json_t *row = json_pack("{s:I, s:s, s:f, s:I}", "model", (json_int_t)s->model, "method",
                            s->extension->name, "softmax_scale", s->scale, "length", (json_int_t)s->length);
    if (task) json_object_set_new(row, "task", json_string(task->name));
    json_object_update_missing(row, (json_t *)value);
    json_array_append_new(json_object_get(results, task ? "tasks" : "perplexity"), row);
}

/* ---- joining ---- */

/* Adds the texts of `other` that `all` does not list yet, and drops settings in which the two differ, because
 * they no longer hold for every row. */
static void join_texts_and_settings(json_t *all, const json_t *other) {
    json_t *texts = json_object_get(all, "texts"), *settings = json_object_get(all, "settings"), *value;
    const char *key;
    void *next;
    size_t i, k;
    json_array_foreach(json_object_get(other, "texts"), i, value) {
        for (k = 0; k < json_array_size(texts) && !json_equal(json_array_get(texts, k), value);)
            k++;
        if (k == json_array_size(texts)) json_array_append(texts, value);
    }
    json_object_foreach_safe(settings, next, key, value) {
        if (!json_equal(value, json_object_get(json_object_get(other, "settings"), key)))
            json_object_del(settings, key);
    }
}

/* Works on a deep copy, because the results of one recipe are still used after they were joined. */
void eval_results_join(json_t *all, const json_t *results, const char *prefix) {
    static const char *const tables[] = {"perplexity", "tasks"};
    json_t *copy = json_deep_copy(results), *row;
    json_int_t before = (json_int_t)json_array_size(json_object_get(all, "models"));
    double seconds = json_number_value(json_object_get(all, "seconds")) +
                     json_number_value(json_object_get(results, "seconds"));
    size_t i;
    /* Models get the recipe's name in front. The source is the same in all recipes and keeps its name. */
    json_array_foreach(json_object_get(copy, "models"), i, row) {
        const char *name = json_get_string(row, "name");
        if (*prefix && strcmp(name, "source") != 0)
            json_object_set_new(row, "name", json_sprintf("%s: %s", prefix, name));
    }
    /* The models of `copy` come after those of `all`, so the indices in its rows move up. */
    for (size_t t = 0; t < 2; t++)
        json_array_foreach(json_object_get(copy, tables[t]), i, row) json_object_set_new(
            row, "model", json_integer(before + json_integer_value(json_object_get(row, "model"))));
    /* The first results are taken whole, with machine, version and command. */
    if (!json_object_size(all)) {
        json_object_update(all, copy);
    } else {
        join_texts_and_settings(all, copy);
        json_array_extend(json_object_get(all, "models"), json_object_get(copy, "models"));
        for (size_t t = 0; t < 2; t++)
            json_array_extend(json_object_get(all, tables[t]), json_object_get(copy, tables[t]));
    }
    /* The time is the sum over the recipes. */
    json_object_set_new(all, "seconds", json_real(seconds));
    json_decref(copy);
}
