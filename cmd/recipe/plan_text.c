/* Prints the plan that recipe_plan built (its JSON is documented in recipe_plan.h) for people; `derope plan
 * --json` prints the JSON itself. A model has hundreds of tensors and some dozens of layers, most of which
 * change in the same way. The text is therefore grouped: layers that change in the same way, and tensors of
 * one name in several layers, share a line. */
#include "cmd/recipe/plan_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/dtype.h"
#include "formats/json.h"

/* Prints an array of ascending numbers; consecutive ones as a range: "0-4,11". */
static void print_numbers(const json_t *numbers) {
    for (size_t a = 0, b; a < json_array_size(numbers); a = b) {
        json_int_t first = json_integer_value(json_array_get(numbers, a)), last = first;
        for (b = a + 1;
             b < json_array_size(numbers) && json_integer_value(json_array_get(numbers, b)) == last + 1; b++)
            last++;
        printf(last > first ? "%s%lld-%lld" : "%s%lld", a ? "," : "", (long long)first, (long long)last);
    }
}

/* The description of a change, without the number of the layer: "rope -> nope, window 0 -> 0". */
static void change_text(const json_t *layer, char text[160]) {
    snprintf(text, 160, "%s -> %s, window %lld -> %lld", json_get_string(layer, "position_before"),
             json_get_string(layer, "position"), json_integer_value(json_object_get(layer, "window_before")),
             json_integer_value(json_object_get(layer, "window")));
}

/* Prints one line for the layers that change in the same way, wherever they are: "layers 5,11,17: rope ->
 * nope, window 0 -> 0". Base and scaling belong to the change but are not printed, so two lines may read
 * alike. */
static void print_layers(const json_t *layers) {
    json_t *groups = json_object(), *row, *numbers;
    const char *key;
    size_t i;
    /* The key of a group is the whole change as JSON; the first member of a group is its text. */
    json_array_foreach(layers, i, row) {
        json_t *change = json_copy(row);
        json_object_del(change, "layer");
        Buffer whole = {0};
        json_print(change, 0, &whole);
        if (!json_object_get(groups, buffer_string(&whole)))
            json_object_set_new(groups, buffer_string(&whole),
                                json_pack("{s:O, s:[]}", "change", row, "layers"));
        json_array_append(json_object_get(json_object_get(groups, buffer_string(&whole)), "layers"),
                          json_object_get(row, "layer"));
        buffer_free(&whole);
        json_decref(change);
    }
    json_object_foreach(groups, key, row) {
        char text[160];
        numbers = json_object_get(row, "layers");
        change_text(json_object_get(row, "change"), text);
        printf("  layer%s ", json_array_size(numbers) > 1 ? "s" : "");
        print_numbers(numbers);
        printf(": %s\n", text);
    }
    json_decref(groups);
}

/* Splits "model.layers.17.mlp.up_proj.weight" into the pattern "model.layers.*.mlp.up_proj.weight" and the
 * number 17, so that tensors that differ only in their layer share a pattern. Returns -1 for a name without a
 * number between dots; the pattern is then the name. */
static int split_layer(const char *name, char pattern[128]) {
    const char *p = name;
    /* The layer is the first number that follows a dot. */
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

/* Writes what happens to a tensor's dtype: "q4_k -> scaled -> q4_k", "bf16 -> f32", or "iq2_xs -> scaled ->
 * q8_0: iq2_xs cannot be encoded". A plain (not quantized) dtype that stays is written alone, "f32". */
static void type_path(const json_t *row, char out[128]) {
    const char *before = json_get_string(row, "dtype_before"), *now = json_get_string(row, "dtype"),
               *change = json_get_string(row, "change"), *why = json_get_string(row, "why");
    DType type;
    /* A tensor that is new, or whose plain dtype stays, has one dtype to show. */
    bool plain = !before || (strcmp(before, now) == 0 && dtype_from_name(now, &type) &&
                             dtype_info(type)->block_elems == 1);
    if (plain || (!change && strcmp(before, now) == 0))
        snprintf(out, 128, "%s", now);
    else
        snprintf(out, 128, "%s -> %s%s%s%s%s", before, change ? change : "", change ? " -> " : "", now,
                 why ? ": " : "", why ? why : "");
}

/* Prints the tensors that are not copied untouched. Those that differ in nothing but their layer share a
 * line: "changed: model.layers.*.mlp.up_proj.weight (q4_k -> scaled -> q4_k), * = 0-11,13". */
static void print_tensors(const json_t *tensors) {
    /* Collect the groups in an object whose keys are the lines and whose values are the layer numbers.
     * jansson keeps the order of insertion, so lines come in the order of the tensors. */
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
        printf("    %s%s", label, json_array_size(layers) ? ", * = " : "");
        print_numbers(layers);
        printf("\n");
    }
    json_decref(groups);
}

/* Prints one changed key: "key rope_theta: 5000 -> absent" for config.json, whose values are short, and "key
 * NAME: changed" for a GGUF, whose rows have no values. Values are cut after 60 bytes. */
static void print_key(const json_t *k) {
    const char *change = json_get_string(k, "change");
    printf("  key %s: ", json_get_string(k, "key"));
    if (change) {
        printf("%s\n", change);
        return;
    }
    /* Both values in compact JSON, "absent" for a side that lacks the key. */
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

/* Prints one output: its carrier and why preferred ones were rejected, the number of tensors by status,
 * changed tensors and keys, and the notices that a run would print. */
static void print_output(const json_t *o) {
    printf("output %s (%s, %.1f MB)\n", json_get_string(o, "path"), json_get_string(o, "format"),
           json_number_value(json_object_get(o, "bytes")) / 1e6);
    printf("  carrier %s: %s\n", json_get_string(o, "carrier"), json_get_string(o, "runtimes"));
    const char *status;
    size_t i;
    json_t *c, *n, *k, *notice;
    /* Carriers that cannot express the model, each with the reason. */
    json_array_foreach(json_object_get(o, "carriers"), i, c) {
        const char *why = json_get_string(c, "why");
        if (why && *why) printf("    not %s: %s\n", json_get_string(c, "carrier"), why);
    }
    /* Tensors: the counts by status on one line, then those that change. */
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

/* Prints the cost of recalibration in one line: tokens, objective, estimated seconds, and memory in GB of 1e9
 * bytes. */
static void print_recalibration(const json_t *r) {
    printf("recalibrate: %lld tokens, %s, about %.0f s on two cores, %.2f GB of memory (%.1f GB available)\n",
           (long long)json_integer_value(json_object_get(r, "tokens")), json_get_string(r, "objective"),
           json_number_value(json_object_get(r, "seconds_estimated")),
           json_number_value(json_object_get(r, "memory_bytes")) / 1e9,
           json_number_value(json_object_get(r, "memory_available")) / 1e9);
}

/* Prints context lengths in tokens: " at 256, 1024". */
static void print_lengths(const json_t *lengths) {
    size_t i;
    json_t *length;
    printf(" at ");
    json_array_foreach(lengths, i, length)
        printf("%s%lld", i ? ", " : "", (long long)json_integer_value(length));
}

/* Prints suites with their lengths: "perplexity at 256, 1024; needle, copy at 512". If the recipe gives tasks
 * lengths of their own (task_context), perplexity is followed by its own; otherwise all suites share the
 * lengths at the end. */
static void print_suites(const json_t *v) {
    const json_t *context = json_object_get(v, "context"), *own = json_object_get(v, "task_context");
    size_t i;
    json_t *suite;
    bool apart = false;
    json_array_foreach(json_object_get(v, "suite"), i, suite) {
        /* Perplexity comes first in the list, and its lengths follow it only if tasks have others. */
        bool text = strcmp(json_string_value(suite), "perplexity") == 0;
        printf("%s%s", i && !apart ? ", " : "; ", json_string_value(suite));
        apart = text && own;
        if (apart) print_lengths(context);
    }
    if (!apart) print_lengths(own ? own : context);
}

/* Prints what is measured and its cost in one line: models, suites with lengths, tokens, seconds and
 * memory. */
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

void plan_print(const json_t *plan) {
    const json_t *layers = json_object_get(plan, "layers"), *recal = json_object_get(plan, "recalibration"),
                 *evaluation = json_object_get(plan, "evaluation");
    printf("source %s\n", json_get_string(plan, "source"));
    print_layers(layers);
    if (!json_array_size(layers)) printf("  no layer changes\n");
    if (recal) print_recalibration(recal);
    if (evaluation) print_evaluation(evaluation);
    /* The outputs come last, as they are the longest part. */
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(plan, "outputs"), i, o) print_output(o);
}
