/* derope plan: what run would do, without doing any of it. */
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/output.h"
#include "cmd/run.h"
#include "formats/json.h"
#include "recal/memory.h"
#include "surgery/carrier.h"
#include "surgery/recipe.h"

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

static json_t *plan_tensors(const Checkpoint *out, bool trained) {
    size_t counts[TENSOR_NEW + 1] = {0};
    json_t *changes = json_array(), *summary = json_object();
    for (size_t i = 0; i < out->n_tensors; i++) {
        TensorStatus s = tensor_status(&out->tensors[i]);
        if (trained && s != TENSOR_NEW) s = TENSOR_CHANGED;
        counts[s]++;
        if (!trained && s != TENSOR_UNTOUCHED)
            json_array_append_new(changes, json_pack("{s:s, s:s, s:s}", "name", out->tensors[i].name, "dtype",
                                                     dtype_info(out->tensors[i].dtype)->name, "status",
                                                     tensor_status_name(s)));
    }
    for (int s = 0; s <= TENSOR_NEW; s++)
        json_object_set_new(summary, tensor_status_name((TensorStatus)s),
                            json_integer((json_int_t)counts[s]));
    return json_pack("{s:o, s:o}", "count", summary, "not_untouched", changes);
}

/* Keys of two configurations that differ, "key: before -> after". */
static json_t *plan_config(const Model *m, const Checkpoint *out) {
    Error ignored = {0};
    json_t *list = json_array(), *after = checkpoint_json(out, "config.json", &ignored), *value;
    const char *key;
    json_object_foreach(after, key, value) {
        const json_t *before = json_object_get(m->config, key);
        if (!before || !json_equal((json_t *)before, value))
            json_array_append_new(
                list, json_pack("{s:s, s:O?, s:O}", "key", key, "before", before, "after", value));
    }
    json_object_foreach(m->config, key, value) {
        if (after && !json_object_get(after, key))
            json_array_append_new(list, json_pack("{s:s, s:O, s:n}", "key", key, "before", value, "after"));
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

static json_t *plan_output(Checkpoint *source, const json_t *recipe, const json_t *o, Error *e) {
    ExportOptions x = {.format = format_of_path(json_get_string(o, "path")),
                       .carrier = json_get_string(o, "carrier")};
    const char *dtype = json_get_string(o, "dtype");
    if (dtype && !dtype_from_name(dtype, &x.dtype)) {
        error_set(e, ERR_RECIPE, "outputs: dtype '%.40s' is not one derope writes", dtype);
        return NULL;
    }
    x.has_dtype = dtype != NULL;
    Model *m = model_open(source, e);
    bool ok = m && passes_apply(json_object_get(recipe, "surgery"), m, e);
    json_t *explain = NULL;
    const Carrier *carrier = ok ? carrier_pick(m, x.format, x.carrier, &explain, e) : NULL;
    Checkpoint *out = carrier ? model_export(m, &x, NULL, e) : NULL;
    json_t *plan = NULL;
    if (out) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < out->n_tensors; i++)
            bytes += tensor_bytes(&out->tensors[i]);
        plan = json_pack(
            "{s:s, s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:O}", "path", json_get_string(o, "path"), "format",
            x.format == FORMAT_GGUF ? "gguf" : "hf", "carrier", carrier->name, "runtimes", carrier->runtimes,
            "carriers", json_incref(explain), "bytes", (json_int_t)bytes, "tensors",
            plan_tensors(out, json_object_get(recipe, "recalibrate") != NULL), "keys",
            x.format == FORMAT_GGUF ? plan_meta(m, out) : plan_config(m, out), "notices", m->notices);
    }
    json_decref(explain);
    checkpoint_close(out);
    model_close(m);
    return plan;
}

/* ---- cost ---- */

static json_t *plan_recalibration(const Model *m, const json_t *section, Error *e) {
    const char *data[MAX_RECIPE_PATHS];
    RecalRequest r;
    if (!recal_from_recipe(section, data, MAX_RECIPE_PATHS, &r, e)) return NULL;
    for (size_t i = 0; i < r.n_data; i++)
        if (access(data[i], R_OK) != 0) {
            error_errno(e, "%s", data[i]);
            e->code = ERR_INPUT;
            return NULL;
        }
    uint64_t weights = net_weight_bytes(m), memory = weights + train_bytes(&m->spec, weights, &r.train);
    double per_token =
        6.0 * (double)weights / sizeof(float) * (r.train.objective->needs_teacher ? 4.0 / 3 : 1);
    return json_pack("{s:s, s:I, s:i, s:f, s:I, s:I}", "objective", r.train.objective->name, "tokens",
                     (json_int_t)r.train.tokens, "context", (int)r.train.context, "seconds_estimated",
                     per_token * (double)r.train.tokens / flops_per_second, "memory_bytes",
                     (json_int_t)memory, "memory_available", (json_int_t)memory_available());
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

static void print_output(const json_t *o) {
    printf("output %s (%s, %.1f MB)\n", json_get_string(o, "path"), json_get_string(o, "format"),
           json_number_value(json_object_get(o, "bytes")) / 1e6);
    printf("  carrier %s: %s\n", json_get_string(o, "carrier"), json_get_string(o, "runtimes"));
    const json_t *carriers_list = json_object_get(o, "carriers");
    for (size_t i = 0; i < json_array_size(carriers_list); i++) {
        const json_t *c = json_array_get(carriers_list, i);
        const char *why = json_get_string(c, "why");
        if (why && *why) printf("    not %s: %s\n", json_get_string(c, "carrier"), why);
    }
    const char *status;
    json_t *n;
    printf("  tensors:");
    json_object_foreach(json_object_get(json_object_get(o, "tensors"), "count"), status,
                        n) if (json_integer_value(n)) printf(" %lld %s", json_integer_value(n), status);
    printf("\n");
    const json_t *keys = json_object_get(o, "keys"), *notices = json_object_get(o, "notices");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);
        const char *change = json_get_string(k, "change");
        printf("  key %s%s%s\n", json_get_string(k, "key"), change ? ": " : "", change ? change : "");
    }
    for (size_t i = 0; i < json_array_size(notices); i++)
        printf("  note: %s\n", json_string_value(json_array_get(notices, i)));
}

static void print_plan(const json_t *plan) {
    const json_t *layers = json_object_get(plan, "layers"), *recal = json_object_get(plan, "recalibration");
    const json_t *outputs = json_object_get(plan, "outputs");
    printf("source %s\n", json_get_string(plan, "source"));
    print_layers(layers);
    if (!json_array_size(layers)) printf("  no layer changes\n");
    if (recal)
        printf("recalibrate: %lld tokens, %s, about %.0f s on two cores, %.2f GB of memory (%.1f GB "
               "available)\n",
               json_integer_value(json_object_get(recal, "tokens")), json_get_string(recal, "objective"),
               json_number_value(json_object_get(recal, "seconds_estimated")),
               json_number_value(json_object_get(recal, "memory_bytes")) / 1e9,
               json_number_value(json_object_get(recal, "memory_available")) / 1e9);
    for (size_t i = 0; i < json_array_size(outputs); i++)
        print_output(json_array_get(outputs, i));
}

static json_t *build_plan(const json_t *recipe, Error *e) {
    const json_t *section = json_object_get(recipe, "recalibrate"),
                 *outputs = json_object_get(recipe, "outputs");
    bool scratch = json_is_true(json_object_get(section, "from_scratch"));
    Checkpoint *source = checkpoint_open_config(json_get_string(recipe, "source"), scratch, e);
    Model *m = source ? (scratch ? model_open_config(source, e) : model_open(source, e)) : NULL;
    bool ok = m && passes_apply(json_object_get(recipe, "surgery"), m, e);
    json_t *plan =
        ok ? json_pack("{s:O, s:o}", "source", json_object_get(recipe, "source"), "layers", plan_layers(m))
           : NULL;
    if (ok && section) {
        json_t *recal = plan_recalibration(m, section, e);
        ok = recal != NULL;
        if (ok) json_object_set_new(plan, "recalibration", recal);
    }
    json_t *list = json_array();
    for (size_t i = 0; ok && !scratch && i < json_array_size(outputs); i++) {
        json_t *o = plan_output(source, recipe, json_array_get(outputs, i), e);
        ok = o != NULL;
        if (ok) json_array_append_new(list, o);
    }
    if (plan)
        json_object_set_new(plan, "outputs", list);
    else
        json_decref(list);
    model_close(m);
    checkpoint_close(source);
    if (ok) return plan;
    json_decref(plan);
    return NULL;
}

static bool run(int argc, char **argv, Error *e) {
    static const struct option options[] = {
        {"set", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {0}};
    const char *recipe_path = NULL, *sets[64];
    size_t n_sets = 0;
    bool json = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:", options, NULL)) != -1 || optind < argc) {
        if (option == -1) {
            if (recipe_path) return cmd_usage(e, "one recipe, not '%s' as well", argv[optind]);
            recipe_path = argv[optind++];
        } else if (option == 's') {
            if (n_sets == 64) return cmd_usage(e, "more than 64 --set");
            sets[n_sets++] = optarg;
        } else if (option == 'j') {
            json = true;
        } else {
            return cmd_bad_option(e, option, argv);
        }
    }
    if (!recipe_path) return cmd_usage(e, "a recipe is needed (derope plan --help)");
    json_t *recipe = recipe_load(recipe_path, sets, n_sets, e), *plan = recipe ? build_plan(recipe, e) : NULL;
    if (plan && json) cmd_print_json(plan);
    if (plan && !json) print_plan(plan);
    bool ok = plan != NULL;
    json_decref(plan);
    json_decref(recipe);
    return ok;
}

const Verb verb_plan = {
    .name = "plan",
    .summary = "what a recipe would do: layers, tensors, keys, carriers, cost",
    .help = "usage: derope plan RECIPE [--set key=value] [--json]\n\n"
            "Touches nothing. Says which layers change, for each output the stock architecture that carries "
            "it and why not the\n"
            "others, which tensors and keys change, and what recalibration costs in tokens, time and memory. "
            "Time is a rough\n"
            "estimate for two ordinary cores.\n",
    .run = run,
};
