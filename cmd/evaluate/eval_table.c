/* The table that `derope run` prints at its end and has in its JSON: what each recipe measured, side by side.
 * The results of an evaluation (eval_results.h) have a row for each depth of a task; here they are pooled
 * over depths, and there is one row for a model under a context-extension method. */
#include "cmd/evaluate/eval_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "recal/evaluate/context_extension.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/evaluate/wilson_interval.h"

/* Whether a row of results belongs to that model under that method. */
static bool is_of_series(const json_t *row, size_t model, const char *method) {
    const char *its = json_get_string(row, "method");
    return its && strcmp(its, method) == 0 &&
           json_integer_value(json_object_get(row, "model")) == (json_int_t)model;
}

/* The perplexities of a series as cells of the table. */
static json_t *perplexity_cells(const json_t *results, size_t model, const char *method) {
    /* Only these members go into the table; the curve by position and the settings stay in the results. */
    static const char *const kept[] = {"perplexity", "low", "high", "tokens"};
    size_t i;
    json_t *row, *list = json_array();
    json_array_foreach(json_object_get(results, "perplexity"), i, row) {
        if (!is_of_series(row, model, method)) continue;
        json_t *cell = json_pack("{s:O}", "context", json_object_get(row, "length"));
        for (size_t k = 0; k < sizeof kept / sizeof *kept; k++)
            if (json_object_get(row, kept[k])) json_object_set(cell, kept[k], json_object_get(row, kept[k]));
        json_array_append_new(list, cell);
    }
    return list;
}

/* A task at one length over all depths; NULL if there were no trials. Scores are weighted by their trials. */
static json_t *pooled_cell(const json_t *results, size_t model, const char *method, const char *task,
                           json_int_t length) {
    double found = 0, first = 0, trials = 0, ranked = 0, low, high, x;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(results, "tasks"), i, row) {
        const char *its = json_get_string(row, "task");
        if (!is_of_series(row, model, method) || strcmp(its, task) != 0 ||
            json_integer_value(json_object_get(row, "length")) != length)
            continue;
        /* A share times its trials is a number of successes, so rows of different size are weighted
         * rightly. */
        double n = json_number_value(json_object_get(row, "trials"));
        trials += n;
        if (json_get_f64(row, "score", &x)) found += x * n;
        if (!json_get_f64(row, "first", &x)) continue;
        first += x * n;
        ranked += n;
    }
    if (trials == 0) return NULL;
    /* The interval is that of the pooled share. "first" is present only for tasks that rank candidates. */
    wilson_interval(found / trials, trials, &low, &high);
    json_t *cell = json_pack("{s:I, s:f, s:f, s:f, s:I}", "context", length, "score", found / trials, "low",
                             low, "high", high, "trials", (json_int_t)trials);
    if (ranked > 0) json_object_set_new(cell, "first", json_real(first / ranked));
    return cell;
}

/* The tasks of a series by name. Rows of one task and length follow each other in results, so a length is new
 * whenever it differs from the last one that was added. */
static json_t *task_cells(const json_t *results, size_t model, const char *method) {
    json_t *by_name = json_object(), *row;
    size_t i;
    json_array_foreach(json_object_get(results, "tasks"), i, row) {
        const char *task = json_get_string(row, "task");
        json_int_t length = json_integer_value(json_object_get(row, "length"));
        json_t *list = json_object_get(by_name, task);
        const json_t *last = json_array_get(list, json_array_size(list) - 1);
        if (!is_of_series(row, model, method)) continue;
        if (last && json_integer_value(json_object_get(last, "context")) == length) continue;
        if (!list) json_object_set_new(by_name, task, list = json_array());
        json_array_append_new(list, pooled_cell(results, model, method, task, length));
    }
    return by_name;
}

/* A method that this model was not measured under gives no row. */
void eval_table_add(json_t *table, const json_t *results, size_t model, const char *recipe, bool skipped) {
    /* One row for each method: perplexities as a list, tasks by name. "NAME under METHOD" labels all but the
     * unchanged model. */
    const char *name = json_get_string(json_array_get(json_object_get(results, "models"), model), "name");
    for (const ContextExtension *const *m = context_extensions; *m; m++) {
        json_t *cells = perplexity_cells(results, model, (*m)->name),
               *asked = task_cells(results, model, (*m)->name);
        if (json_array_size(cells) || json_object_size(asked))
            json_array_append_new(table, json_pack("{s:o, s:s++, s:b, s:O, s:O}", "recipe", json_text(recipe),
                                                   "model", name, m == context_extensions ? "" : " under ",
                                                   m == context_extensions ? "" : (*m)->name, "skipped",
                                                   skipped, "perplexity", cells, "tasks", asked));
        json_decref(cells);
        json_decref(asked);
    }
}

/* ---- printing ---- */

/* The file name without its ending. */
void eval_table_recipe_name(const char *path, char out[64]) {
    const char *slash = strrchr(path, '/');
    snprintf(out, 64, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot) *dot = 0;
}

/* With several recipes, "recipe: after ..." for the models that a recipe made. The source is the same for all
 * and keeps its name. */
static void print_label(const json_t *row, bool several) {
    const char *model = json_get_string(row, "model");
    char label[160], name[64] = "";
    bool named = several && strncmp(model, "after", 5) == 0;
    if (named) eval_table_recipe_name(json_get_string(row, "recipe"), name);
    snprintf(label, sizeof label, "%s%s%s", name, named ? ": " : "", model);
    printf("%-44s", label);
}

/* The cells of a task, or of perplexity (`task` NULL). */
static const json_t *cells_of(const json_t *row, const char *task) {
    return task ? json_object_get(json_object_get(row, "tasks"), task) : json_object_get(row, "perplexity");
}

/* The cell at a length; NULL if it was not measured. */
static const json_t *cell_at(const json_t *cells, uint64_t context) {
    uint64_t its;
    for (size_t i = 0; i < json_array_size(cells); i++)
        if (json_get_u64(json_array_get(cells, i), "context", &its) && its == context)
            return json_array_get(cells, i);
    return NULL;
}

/* For qsort: rising. */
static int by_length(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The lengths of all rows, rising and distinct: recipes need not measure at the same ones. The caller frees
 * them. */
static uint64_t *all_lengths(const json_t *table, const char *task, size_t *n) {
    /* The lengths of all rows are collected, sorted, and repetitions removed in place. */
    uint64_t *out = NULL;
    *n = 0;
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *cells = cells_of(json_array_get(table, i), task);
        out = xrealloc(out, (*n + json_array_size(cells) + 1) * sizeof *out);
        for (size_t j = 0; j < json_array_size(cells); j++)
            *n += json_get_u64(json_array_get(cells, j), "context", &out[*n]);
    }
    if (*n) qsort(out, *n, sizeof *out, by_length);
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (!kept || out[kept - 1] != out[i]) out[kept++] = out[i];
    *n = kept;
    return out;
}

/* One block of the table; nothing if no row has cells for it. A dash stands for what was not measured. */
static void print_rows(const json_t *table, bool several, const char *title, const char *task) {
    const char *value = task ? "score" : "perplexity";
    size_t n;
    uint64_t *lengths = all_lengths(table, task, &n);
    char text[160];
    /* The head names the block and has a column for each length. */
    snprintf(text, sizeof text, "%s at a context of", title);
    if (n) printf("\n%-44s", text);
    for (size_t j = 0; j < n; j++)
        printf(" %9llu", (unsigned long long)lengths[j]);
    if (n) printf("\n");
    for (size_t i = 0; i < json_array_size(table); i++) {
        const json_t *row = json_array_get(table, i), *cells = cells_of(row, task);
        if (!json_array_size(cells)) continue;
        print_label(row, several);
        for (size_t j = 0; j < n; j++) {
            const json_t *cell = cell_at(cells, lengths[j]);
            if (cell)
                printf(" %9.3f", json_number_value(json_object_get(cell, value)));
            else
                printf(" %9s", "-");
        }
        printf("\n");
    }
    free(lengths);
}

/* The tasks follow in the order of the table of tasks, whatever the order of the recipes. */
void eval_table_print(const json_t *table, bool several) {
    print_rows(table, several, "perplexity", NULL);
    for (const EvalTask *const *t = eval_tasks; *t; t++) {
        char title[96];
        snprintf(title, sizeof title, "%s: share found", (*t)->name);
        print_rows(table, several, title, (*t)->name);
    }
}
