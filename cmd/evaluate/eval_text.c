/* The results of an evaluation as plain text on standard output: what `derope eval` prints when it is done.
 * The rows come from eval_results.c; the table over several recipes is eval_table.c. */
#include "cmd/evaluate/eval_text.h"

#include <stdio.h>

#include "formats/json.h"

/* A line for each model, method and length, with the 95 % interval where there is one. */
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
        bool has = json_get_f64(row, "low", &low) && json_get_f64(row, "high", &high);
        json_get_f64(row, "perplexity", &x);
        printf("%-28.28s %-12s %8lld %12.4f", json_get_string(json_array_get(models, (size_t)model), "name"),
               json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
               x);
        if (has) printf("   %.4f - %.4f", low, high);
        putchar('\n');
    }
}

/* A line for each model, method, length and task, with the shares found at all depths side by side: rows that
 * differ in nothing but the depth follow each other. */
static void print_tasks(const json_t *results) {
    size_t i;
    const json_t *row, *models = json_object_get(results, "models"), *before = NULL;
    json_array_foreach(json_object_get(results, "tasks"), i, row) {
        static const char *const same[] = {"model", "method", "task", "length"};
        /* A row continues the printed line if it differs from the row before in the depth alone. */
        bool goes_on = before != NULL;
        for (int k = 0; k < 4; k++)
            goes_on = goes_on && json_equal(json_object_get(row, same[k]), json_object_get(before, same[k]));
        json_int_t model = json_integer_value(json_object_get(row, "model"));
        if (!before) printf("%-28s %-12s %8s %-18s share found, by depth\n", "tasks", "method", "length", "");
        if (before && !goes_on) putchar('\n');
        if (!goes_on)
            printf(
                "%-28.28s %-12s %8lld %-18s", json_get_string(json_array_get(models, (size_t)model), "name"),
                json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
                json_get_string(row, "task"));
        double score = 0;
        json_get_f64(row, "score", &score);
        printf(" %5.2f", score);
        before = row;
    }
    if (before) putchar('\n');
}

void eval_text_print(const json_t *results) {
    print_perplexity(results);
    print_tasks(results);
}
