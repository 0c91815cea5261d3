/* derope plan: what run would do, without doing any of it. */
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/recipe/recipe_job.h"
#include "formats/file_names.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/kv_cache.h"
#include "recal/memory.h"
#include "surgery/carriers/carriers.h"
#include "surgery/export.h"
#include "surgery/rope_frequencies.h"

/* Arithmetic per second that an ordinary two-core machine sustains here, for the estimate of time alone. */
static const double flops_per_second = 1.2e11;

/* ---- layers, tensors, keys ---- */

static json_t *plan_layers(const Model *m) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *then = &m->source_spec.layers[i], *now = &m->spec.layers[i];
        if (then->position == now->position && then->window == now->window &&
            then->rope_base == now->rope_base && rope_scaling_equal(&then->scaling, &now->scaling) &&
            then->softmax_scale == now->softmax_scale)
            continue;
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:i, s:i}", "layer", (int)i, "position_before",
                                              position_name(then->position), "position",
                                              position_name(now->position), "window_before",
                                              (int)then->window, "window", (int)now->window));
    }
    return list;
}

/* What becomes of a tensor: the type it has, what is done to its values, the type it is written in and, where
 * that stands in for its own, why. */
static json_t *plan_tensor(const Tensor *t, TensorStatus s, bool trained) {
    DType to = trained ? dtype_written(t->dtype) : t->dtype;
    bool scaled = t->scale != 1 || t->add != 0 || t->row_scale;
    bool replaced = trained ? to != t->dtype : scaled && tensor_type_replaced(t);
    const char *change = s != TENSOR_CHANGED                                         ? NULL
                         : trained                                                   ? "trained"
                         : scaled                                                    ? "scaled"
                         : t->quantization && dtype_info(t->dtype)->block_elems == 1 ? "dequantised"
                         : t->quantization                                           ? "regrouped"
                                                                                     : NULL;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s*}", "name", t->name, "dtype", dtype_info(to)->name, "status",
                            tensor_status_name(s), "change", change);
    if (s != TENSOR_NEW)
        json_object_set_new(
            row, "dtype_before",
            json_string(t->quantization ? t->quantization : dtype_info(t->storage_dtype)->name));
    if (replaced)
        json_object_set_new(row, "why",
                            json_sprintf("%s cannot be encoded", dtype_info(t->storage_dtype)->name));
    return row;
}

static json_t *plan_tensors(const Checkpoint *out, bool trained) {
    size_t counts[TENSOR_NEW + 1] = {0};
    json_t *changes = json_array(), *summary = json_object();
    for (size_t i = 0; i < out->n_tensors; i++) {
        TensorStatus s = tensor_status(&out->tensors[i]);
        if (trained && s != TENSOR_NEW) s = TENSOR_CHANGED;
        counts[s]++;
        /* of training's changes, which are to all, those alone that say something */
        bool telling = !trained || dtype_info(out->tensors[i].storage_dtype)->block_elems > 1;
        if (telling && s != TENSOR_UNTOUCHED)
            json_array_append_new(changes, plan_tensor(&out->tensors[i], s, trained && s != TENSOR_NEW));
    }
    for (int s = 0; s <= TENSOR_NEW; s++)
        json_object_set_new(summary, tensor_status_name((TensorStatus)s),
                            json_integer((json_int_t)counts[s]));
    return json_pack("{s:o, s:o}", "count", summary, "not_untouched", changes);
}

/* Keys of two configurations that differ, "key: before -> after". */
static json_t *plan_config(const Model *m, const Checkpoint *out) {
    Error ignored = {0};
    json_t *list = json_array(), *after = checkpoint_json(out, CONFIG_FILE, &ignored), *value;
    const char *key;
    json_object_foreach(after, key, value) {
        const json_t *before = json_object_get(m->config, key);
        if (!before || !json_equal((json_t *)before, value))
            json_array_append_new(
                list, json_pack("{s:s, s:O*, s:O}", "key", key, "before", before, "after", value));
    }
    json_object_foreach(m->config, key, value) {
        if (after && !json_object_get(after, key))
            json_array_append_new(list, json_pack("{s:s, s:O}", "key", key, "before", value));
    }
    json_decref(after);
    return list;
}

static json_t *plan_meta(const Model *m, const Checkpoint *out) {
    json_t *list = json_array();
    for (size_t i = 0; i < out->n_meta; i++) {
        const MetaEntry *now = &out->meta[i], *then = meta_find(m->source, now->key);
        if (strncmp(now->key, "tokenizer.", 10) == 0 && m->source->format != FORMAT_GGUF) continue;
        if (!then || then->type != now->type || then->size != now->size ||
            memcmp(then->bytes, now->bytes, now->size) != 0)
            json_array_append_new(
                list, json_pack("{s:s, s:s}", "key", now->key, "change", then ? "changed" : "new"));
    }
    return list;
}

static json_t *plan_output(const RecipeJob *j, const Model *m, size_t i, Error *e) {
    OutputRequest r;
    ExportReport report = {0};
    json_t *explain = NULL, *plan = NULL;
    Checkpoint *out = recipe_job_output(j, i, m, &r, e) ? output_export(m, &r, &report, e) : NULL;
    bool gguf = out && out->format == FORMAT_GGUF;
    if (out && carrier_pick(m, out->format, r.carrier, &explain, e)) {
        uint64_t bytes = 0;
        char runtimes[200];
        carrier_runtimes(report.carrier, m->family, runtimes, sizeof runtimes);
        for (size_t t = 0; t < out->n_tensors; t++)
            bytes += tensor_bytes(&out->tensors[t]);
        plan = json_pack("{s:s, s:s, s:s, s:s, s:O, s:I, s:o, s:o, s:O}", "path", r.path, "format",
                         gguf ? "gguf" : "hf", "carrier", report.carrier->name, "runtimes", runtimes,
                         "carriers", explain, "bytes", (json_int_t)bytes, "tensors",
                         plan_tensors(out, recipe_job_section(j, "recalibrate") != NULL), "keys",
                         gguf ? plan_meta(m, out) : plan_config(m, out), "notices", report.notices);
    }
    json_decref(explain);
    checkpoint_close(out);
    export_report_free(&report);
    return plan;
}

/* ---- cost ---- */

/* Two operations a weight and token forwards, twice that backwards. */
static double seconds_for(const Model *m, double passes, double tokens) {
    return 2 * passes * (double)net_weight_bytes(m) / sizeof(float) * tokens / flops_per_second;
}

static json_t *plan_recalibration(const RecipeJob *j, const Model *m, Error *e) {
    RecalRequest r;
    if (!recipe_job_recal(j, &r, e)) return NULL;
    json_t *files = recipe_job_files(j, "recalibrate", "data", e); /* they are there */
    if (!files) return NULL;
    uint64_t weights = net_weight_bytes(m), memory = weights + train_bytes(&m->spec, weights, &r.train);
    double seconds = seconds_for(m, r.train.objective->needs_teacher ? 4 : 3, (double)r.train.tokens);
    json_t *plan =
        json_pack("{s:s, s:I, s:i, s:I, s:f, s:I, s:I}", "objective", r.train.objective->name, "tokens",
                  (json_int_t)r.train.tokens, "context", (int)r.train.context, "text_files",
                  (json_int_t)json_array_size(files), "seconds_estimated", seconds, "memory_bytes",
                  (json_int_t)memory, "memory_available", (json_int_t)memory_available());
    json_decref(files);
    return plan;
}

/* The rows of the table that run prints: which models are measured, and under which methods. */
static json_t *plan_rows(const EvalRequest *r, bool trained) {
    const EvalOptions *o = &r->options;
    json_t *rows = json_array();
    for (size_t i = 0; r->source && i < o->n_extensions; i++)
        json_array_append_new(
            rows, json_sprintf("source%s%s", i ? " under " : "", i ? o->extensions[i]->name : ""));
    if (!trained) json_array_append_new(rows, json_string("after surgery"));
    if (trained && r->untrained) json_array_append_new(rows, json_string("after surgery, untrained"));
    if (trained) json_array_append_new(rows, json_string("after recalibration"));
    return rows;
}

/* Tokens that one row reads: the text once a length, and every question with the text around it, half of
 * which is shared. */
static double row_tokens(const EvalOptions *o, double text_tokens) {
    bool own = o->n_task_lengths > 0;
    const uint64_t *lengths = own ? o->task_lengths : o->lengths;
    double tokens = o->perplexity ? text_tokens * (double)o->n_lengths * (o->search_scale ? 8 : 1) : 0;
    for (size_t i = 0; i < (own ? o->n_task_lengths : o->n_lengths); i++)
        for (size_t t = 0; eval_tasks[t]; t++)
            if (o->tasks[t])
                tokens += 0.6 * (double)o->trials * (double)(eval_tasks[t]->has_depth ? o->n_depths : 1) *
                          (double)lengths[i];
    return tokens;
}

/* Tokens are guessed from the text's size: four bytes each, as English has them. */
static json_t *plan_evaluation(const RecipeJob *j, const Model *m, Error *e) {
    const json_t *section = recipe_job_section(j, "evaluate");
    EvalRequest request;
    if (!recipe_job_evaluation(j, &request, e)) return NULL;
    const EvalOptions o = request.options;
    json_t *files = recipe_job_files(j, "evaluate", "text", e), *v;
    if (!files) return NULL;
    uint64_t tokens = 0, longest = 0;
    size_t i;
    struct stat st;
    json_array_foreach(files, i, v) tokens +=
        stat(json_string_value(v), &st) == 0 ? (uint64_t)st.st_size / 4 : 0;
    for (i = 0; i < o.n_lengths; i++)
        if (o.lengths[i] > longest) longest = o.lengths[i];
    for (i = 0; i < o.n_task_lengths; i++)
        if (o.task_lengths[i] > longest) longest = o.task_lengths[i];
    if (o.max_tokens && o.max_tokens < tokens) tokens = o.max_tokens;
    json_t *rows = plan_rows(&request, recipe_job_section(j, "recalibrate") != NULL), *suites = json_array();
    if (o.perplexity) json_array_append_new(suites, json_string("perplexity"));
    for (i = 0; eval_tasks[i]; i++)
        if (o.tasks[i]) json_array_append_new(suites, json_string(eval_tasks[i]->name));
    double all = (double)json_array_size(rows) * row_tokens(&o, (double)tokens);
    json_decref(files);
    return json_pack("{s:o, s:O, s:O*, s:o, s:I, s:f, s:I}", "models", rows, "context",
                     json_object_get(section, "context"), "task_context",
                     json_object_get(section, "task_context"), "suite", suites, "tokens_estimated",
                     (json_int_t)all, "seconds_estimated", seconds_for(m, 1, all), "memory_bytes",
                     (json_int_t)(2 * net_weight_bytes(m) + kv_bytes(&m->spec, longest)));
}

/* ---- printing ---- */

static void print_layers(const json_t *layers) {
    for (size_t i = 0, j; i < json_array_size(layers); i = j) {
        const json_t *a = json_array_get(layers, i);
        json_t *x = json_copy((json_t *)a);
        json_object_del(x, "layer");
        for (j = i + 1; j < json_array_size(layers); j++) {
            json_t *y = json_copy(json_array_get(layers, j));
            json_object_del(y, "layer");
            bool same = json_equal(x, y);
            json_decref(y);
            if (!same) break;
        }
        json_decref(x);
        printf("  layers %lld-%lld: %s -> %s, window %lld -> %lld\n",
               json_integer_value(json_object_get(a, "layer")),
               json_integer_value(json_object_get(json_array_get(layers, j - 1), "layer")),
               json_string_value(json_object_get(a, "position_before")),
               json_string_value(json_object_get(a, "position")),
               json_integer_value(json_object_get(a, "window_before")),
               json_integer_value(json_object_get(a, "window")));
    }
}

/* "model.layers.17.mlp.up_proj.weight" as "model.layers.*.mlp.up_proj.weight" and 17; -1 without a number. */
static int split_layer(const char *name, char pattern[128]) {
    const char *p = name;
    while (*p && !(isdigit((unsigned char)*p) && p > name && p[-1] == '.'))
        p++;
    char *end;
    long layer = *p ? strtol(p, &end, 10) : -1;
    if (*p)
        snprintf(pattern, 128, "%.*s*%s", (int)(p - name), name, end);
    else
        snprintf(pattern, 128, "%s", name);
    return (int)layer;
}

/* "q4_k -> scaled -> q4_k", "bf16 -> f32", "iq2_xs -> scaled -> q8_0: iq2_xs cannot be encoded"; "f32" where
 * a plain type stays. */
static void type_path(const json_t *row, char out[128]) {
    const char *before = json_get_string(row, "dtype_before"), *now = json_get_string(row, "dtype"),
               *change = json_get_string(row, "change"), *why = json_get_string(row, "why");
    DType type;
    bool plain = !before || (strcmp(before, now) == 0 && dtype_from_name(now, &type) &&
                             dtype_info(type)->block_elems == 1);
    if (plain || (!change && strcmp(before, now) == 0))
        snprintf(out, 128, "%s", now);
    else
        snprintf(out, 128, "%s -> %s%s%s%s%s", before, change ? change : "", change ? " -> " : "", now,
                 why ? ": " : "", why ? why : "");
}

/* Those of equal status, type and place in their layers on one line. */
static void print_tensors(const json_t *tensors) {
    json_t *groups = json_object(), *row, *layers;
    const char *label;
    size_t i;
    json_array_foreach(tensors, i, row) {
        char pattern[128], key[320];
        int layer = split_layer(json_get_string(row, "name"), pattern);
        char types[128];
        type_path(row, types);
        snprintf(key, sizeof key, "%s: %s (%s)", json_get_string(row, "status"), pattern, types);
        if (!json_object_get(groups, key)) json_object_set_new(groups, key, json_array());
        if (layer >= 0) json_array_append_new(json_object_get(groups, key), json_integer(layer));
    }
    json_object_foreach(groups, label, layers) {
        printf("    %s", label);
        for (size_t a = 0, b; a < json_array_size(layers); a = b) {
            json_int_t first = json_integer_value(json_array_get(layers, a)), last = first;
            for (b = a + 1;
                 b < json_array_size(layers) && json_integer_value(json_array_get(layers, b)) == last + 1;
                 b++)
                last++;
            printf(a ? "," : ", * = ");
            printf(last > first ? "%lld-%lld" : "%lld", (long long)first, (long long)last);
        }
        printf("\n");
    }
    json_decref(groups);
}

static void print_key(const json_t *k) {
    const char *change = json_get_string(k, "change");
    printf("  key %s: ", json_get_string(k, "key"));
    if (change) {
        printf("%s\n", change);
        return;
    }
    const json_t *sides[] = {json_object_get(k, "before"), json_object_get(k, "after")};
    for (int i = 0; i < 2; i++) {
        Buffer text = {0};
        if (sides[i]) json_print(sides[i], 0, &text);
        if (!sides[i]) buffer_printf(&text, "absent");
        printf("%s%.60s%s", i ? " -> " : "", buffer_string(&text), text.size > 60 ? "..." : "");
        buffer_free(&text);
    }
    printf("\n");
}

static void print_output(const json_t *o) {
    printf("output %s (%s, %.1f MB)\n", json_get_string(o, "path"), json_get_string(o, "format"),
           json_number_value(json_object_get(o, "bytes")) / 1e6);
    printf("  carrier %s: %s\n", json_get_string(o, "carrier"), json_get_string(o, "runtimes"));
    const char *status;
    size_t i;
    json_t *c, *n, *k, *notice;
    json_array_foreach(json_object_get(o, "carriers"), i, c) {
        const char *why = json_get_string(c, "why");
        if (why && *why) printf("    not %s: %s\n", json_get_string(c, "carrier"), why);
    }
    const json_t *tensors = json_object_get(o, "tensors");
    printf("  tensors: ");
    const char *comma = "";
    json_object_foreach(json_object_get(tensors, "count"), status, n) {
        if (!json_integer_value(n)) continue;
        printf("%s%lld %s", comma, (long long)json_integer_value(n), status);
        comma = ", ";
    }
    printf("\n");
    print_tensors(json_object_get(tensors, "not_untouched"));
    json_array_foreach(json_object_get(o, "keys"), i, k) print_key(k);
    json_array_foreach(json_object_get(o, "notices"), i, notice)
        printf("  note: %s\n", json_string_value(notice));
}

static void print_recalibration(const json_t *r) {
    printf("recalibrate: %lld tokens, %s, about %.0f s on two cores, %.2f GB of memory (%.1f GB available)\n",
           (long long)json_integer_value(json_object_get(r, "tokens")), json_get_string(r, "objective"),
           json_number_value(json_object_get(r, "seconds_estimated")),
           json_number_value(json_object_get(r, "memory_bytes")) / 1e9,
           json_number_value(json_object_get(r, "memory_available")) / 1e9);
}

static void print_lengths(const json_t *lengths) {
    size_t i;
    json_t *length;
    printf(" at ");
    json_array_foreach(lengths, i, length)
        printf("%s%lld", i ? ", " : "", (long long)json_integer_value(length));
}

/* "perplexity at 256, 1024; needle, copy at 512": tasks may have lengths of their own. */
static void print_suites(const json_t *v) {
    const json_t *context = json_object_get(v, "context"), *own = json_object_get(v, "task_context");
    size_t i;
    json_t *suite;
    bool apart = false;
    json_array_foreach(json_object_get(v, "suite"), i, suite) {
        bool text = strcmp(json_string_value(suite), "perplexity") == 0;
        printf("%s%s", i && !apart ? ", " : "; ", json_string_value(suite));
        apart = text && own;
        if (apart) print_lengths(context);
    }
    if (!apart) print_lengths(own ? own : context);
}

static void print_evaluation(const json_t *v) {
    size_t i;
    json_t *model;
    printf("evaluate:");
    json_array_foreach(json_object_get(v, "models"), i, model)
        printf("%s %s", i ? ";" : "", json_string_value(model));
    print_suites(v);
    printf("; about %lld tokens, %.0f s, %.2f GB of memory\n",
           (long long)json_integer_value(json_object_get(v, "tokens_estimated")),
           json_number_value(json_object_get(v, "seconds_estimated")),
           json_number_value(json_object_get(v, "memory_bytes")) / 1e9);
}

static void print_plan(const json_t *plan) {
    const json_t *layers = json_object_get(plan, "layers"), *recal = json_object_get(plan, "recalibration"),
                 *evaluation = json_object_get(plan, "evaluation");
    printf("source %s\n", json_get_string(plan, "source"));
    print_layers(layers);
    if (!json_array_size(layers)) printf("  no layer changes\n");
    if (recal) print_recalibration(recal);
    if (evaluation) print_evaluation(evaluation);
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(plan, "outputs"), i, o) print_output(o);
}

/* ---- the verb ---- */

/* Puts what a step would cost into the plan, if the recipe has that step. */
static bool add_step(const RecipeJob *j, const Model *m, const char *section, const char *name, json_t *plan,
                     json_t *(*cost)(const RecipeJob *j, const Model *m, Error *e), Error *e) {
    if (!recipe_job_section(j, section)) return true;
    json_t *step = cost(j, m, e);
    return step && json_object_set_new(plan, name, step) == 0;
}

static bool fill_plan(const RecipeJob *j, json_t *plan, Error *e) {
    Model *m = recipe_job_model(j, true, e);
    json_t *outputs = json_array();
    json_object_set(plan, "source", json_object_get(j->recipe, "source"));
    if (m) json_object_set_new(plan, "layers", plan_layers(m));
    bool ok = m && add_step(j, m, "recalibrate", "recalibration", plan, plan_recalibration, e) &&
              (j->from_scratch || add_step(j, m, "evaluate", "evaluation", plan, plan_evaluation, e));
    for (size_t i = 0; ok && !j->from_scratch && i < recipe_job_n_outputs(j); i++) {
        json_t *o = plan_output(j, m, i, e);
        ok = o && json_array_append_new(outputs, o) == 0;
    }
    json_object_set_new(plan, "outputs", outputs);
    model_close(m);
    return ok;
}

enum { MAX_SETS = 64 };

typedef struct Arguments {
    const char *recipe, *sets[MAX_SETS];
    size_t n_sets;
    bool json;
} Arguments;

static const Option own_options[] = {
    {.name = "set",
     .type = OPTION_TEXT,
     .keeps_commas = true, /* the value is YAML */
     .value_name = "KEY=VALUE",
     .capacity = MAX_SETS,
     .offset = offsetof(Arguments, sets),
     .count_offset = offsetof(Arguments, n_sets),
     .help = "override a key, as derope run does; can be given several times"},
    {0},
};

static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, json_option, offsetof(Arguments, json)},
    {0},
};

static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (a->recipe) return cmd_usage(e, "one recipe, not '%s' as well", operand);
    a->recipe = operand;
    return true;
}

static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.recipe = NULL};
    if (!command_line_parse(self, argc, argv, &a, take_operand, e)) return false;
    if (!a.recipe) return cmd_usage(e, "a recipe is needed (derope plan --help)");
    RecipeJob j;
    json_t *plan = json_object();
    bool ok = recipe_job_open(&j, a.recipe, a.sets, a.n_sets, e) && fill_plan(&j, plan, e);
    if (ok && a.json) cmd_print_json(plan);
    if (ok && !a.json) print_plan(plan);
    json_decref(plan);
    recipe_job_close(&j);
    return ok;
}

const Verb verb_plan = {
    .name = "plan",
    .summary = "what a recipe would do: layers, tensors, keys, carriers, cost",
    .operands = "RECIPE",
    .about = "Writes nothing. Says which layers change; for each output the stock architecture that carries "
             "it, and why "
             "not the others; which tensors and keys change, and in what type a changed tensor is written; "
             "and what "
             "recalibration and evaluation cost in tokens, time and memory. Time is a rough estimate for two "
             "ordinary "
             "cores.",
    .groups = groups,
    .examples = "  derope plan recipe.yaml --set recalibrate.tokens=1M\n",
    .run = run,
};
