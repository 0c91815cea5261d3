/* The results of an evaluation as plain text on standard output: what `derope eval` prints when it is done.
 * The rows come from eval_results.c; the table over several recipes is eval_table.c. */
#include "cmd/evaluate/eval_text.h"

#include <stdio.h>

#include "formats/json.h"

/* Prints one line for each combination of model, context-extension method and context length, with the 95 %
 * confidence interval if there is one. */
static void print_perplexity(const json_t *results) {
    size_t i;
    const json_t *row, *models = json_object_get(results, "models");
    /* The head of the table is left out together with the table. */
    if (json_array_size(json_object_get(results, "perplexity")))
        printf("%-28s %-12s %8s %12s   95 %% interval\n", "perplexity", "method", "length", "");
    json_array_foreach(json_object_get(results, "perplexity"), i, row) {
        double low = 0, high = 0, x = 0;
        json_int_t model = json_integer_value(json_object_get(row, "model"));
        /* A perplexity from a single window has no interval. */
        bool has_interval = json_get_f64(row, "low", &low) && json_get_f64(row, "high", &high);
        json_get_f64(row, "perplexity", &x);
        printf("%-28.28s %-12s %8lld %12.4f", json_get_string(json_array_get(models, (size_t)model), "name"),
               json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
               x);
        if (has_interval) printf("   %.4f - %.4f", low, high);
        putchar('\n');
    }
}

/* Prints one line for each combination of model, method, length and task, with the scores of all depths side
 * by side. The results have one row per depth, and rows that differ only in the depth follow each other, so a
 * new line starts whenever one of the other columns changes. */
static void print_tasks(const json_t *results) {
    size_t i;
    const json_t *row, *models = json_object_get(results, "models"), *previous = NULL;
    json_array_foreach(json_object_get(results, "tasks"), i, row) {
        static const char *const same[] = {"model", "method", "task", "length"};
        /* A row continues the printed line if it differs from the row before in the depth alone. */
        bool same_line = previous != NULL;
        for (int k = 0; k < 4; k++)
            same_line =
                same_line && json_equal(json_object_get(row, same[k]), json_object_get(previous, same[k]));
        json_int_t model = json_integer_value(json_object_get(row, "model"));
        if (!previous)
            printf("%-28s %-12s %8s %-18s share found, by depth\n", "tasks", "method", "length", "");
        if (previous && !same_line) putchar('\n');
        if (!same_line)
            printf(
                "%-28.28s %-12s %8lld %-18s", json_get_string(json_array_get(models, (size_t)model), "name"),
                json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
                json_get_string(row, "task"));
        double score = 0;
        json_get_f64(row, "score", &score);
        printf(" %5.2f", score);
        previous = row;
    }
    if (previous) putchar('\n');
}

void eval_text_print(const json_t *results) {
    print_perplexity(results);
    print_tasks(results);
}
