/* Renders the report of results that lie in a file, without measuring anything.
 *   tool_report RESULTS.json html|csv|perplexity|needle|needle-by-length      prints it
 *   tool_report RESULTS.json card [FRONT.json]
 *   tool_report RESULTS.json PICTURE SERIES=LABEL...     draws these series alone, under these labels; a
 * series is the index of a model, or INDEX/METHOD for one under a method */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/report/report_card.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_html.h"
#include "cmd/report/report_picture.h"
#include "formats/json.h"

static json_t *load(const char *path) {
    json_error_t e;
    json_t *v = json_load_file(path, 0, &e);
    if (!v) {
        fprintf(stderr, "%s:%d: %s\n", path, e.line, e.text);
        exit(1);
    }
    return v;
}

/* Whether a row belongs to the series that `choice` ("2=label", "0/yarn=label") names. */
static bool is_chosen(const json_t *row, const char *choice) {
    char series[80];
    snprintf(series, sizeof series, "%lld", (long long)json_integer_value(json_object_get(row, "model")));
    const char *method = json_string_value(json_object_get(row, "method"));
    if (method && strcmp(method, "none") != 0) {
        size_t n = strlen(series);
        snprintf(series + n, sizeof series - n, "/%s", method);
    }
    size_t n = strlen(series);
    return strncmp(choice, series, n) == 0 && choice[n] == '=';
}

/* The rows of one table that belong to the i-th choice, as rows of the i-th model. */
static void take_rows(const json_t *results, const char *table, size_t i, const char *choice, json_t *out) {
    size_t k;
    json_t *row;
    json_array_foreach(json_object_get(results, table), k, row) {
        if (!is_chosen(row, choice)) continue;
        json_t *copy = json_copy(row);
        json_object_set_new(copy, "model", json_integer((json_int_t)i));
        json_object_set_new(copy, "method", json_string("none"));
        json_array_append_new(json_object_get(out, table), copy);
    }
}

/* Results with a model for each choice, which has the rows of one series. New reference. */
static json_t *choose(const json_t *results, char **choices, size_t n) {
    json_t *out = json_pack("{s:[], s:[], s:[]}", "models", "perplexity", "tasks");
    for (size_t i = 0; i < n; i++) {
        const char *label = strchr(choices[i], '=');
        size_t from = strtoul(choices[i], NULL, 10);
        json_t *model = json_copy(json_array_get(json_object_get(results, "models"), from));
        if (!model || !label) {
            fprintf(stderr, "no model, or no label: %s\n", choices[i]);
            exit(2);
        }
        json_object_set_new(model, "name", json_string(label + 1));
        json_array_append_new(json_object_get(out, "models"), model);
        take_rows(results, "perplexity", i, choices[i], out);
        take_rows(results, "tasks", i, choices[i], out);
    }
    return out;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    bool is_card = !strcmp(argv[2], "card");
    json_t *results = load(argv[1]), *front = is_card && argc > 3 ? load(argv[3]) : NULL;
    Buffer out = {0};
    if (!is_card && argc > 3) {
        json_t *chosen = choose(results, argv + 3, (size_t)argc - 3);
        json_decref(results);
        results = chosen;
    }
    if (!strcmp(argv[2], "html"))
        report_html(results, &out);
    else if (!strcmp(argv[2], "csv"))
        report_csv(results, &out);
    else if (is_card)
        report_card(results, front, &out);
    else
        report_picture(results, argv[2], &out);
    fwrite(out.data, 1, out.size, stdout);
    buffer_free(&out);
    json_decref(results);
    json_decref(front);
    return 0;
}
