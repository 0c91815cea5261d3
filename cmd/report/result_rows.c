/* Reading results into rows (result_rows.h): models first, then the rows of both tables, which create the
 * series they belong to, and last an order in which the series of one model stand together. A series is a
 * model under one context-extension method. Results are a JSON file that may come from another version or
 * have been edited, so every member is checked here, and whatever is unusable becomes NAN or is left out;
 * all other files of the report rely on that. */
#include "cmd/report/result_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

/* The largest number accepted. Nothing that is measured comes near it, and sums of squares of such numbers
 * still fit a double, so that no chart has to deal with infinities. */
#define LARGEST 1e30

/* A member that is a number within the limit; NAN for anything else, which all users treat as "unknown". */
double rows_number(const json_t *object, const char *key) {
    double x;
    return json_get_f64(object, key, &x) && fabs(x) <= LARGEST ? x : NAN;
}

/* The number itself, for items of arrays; NAN if it is none or out of range. */
double rows_value(const json_t *number) {
    double x = json_is_number(number) ? json_number_value(number) : NAN;
    return fabs(x) <= LARGEST ? x : NAN;
}

const char *rows_string(const json_t *object, const char *key) {
    const char *s = json_get_string(object, key);
    return s ? s : "";
}

bool rows_bounded(const Estimate *e) {
    return !isnan(e->low);
}

/* An estimate from three members. Rounding may have left the value just outside its own interval; then the
 * interval is widened to the value. An interval that is further off is dropped. */
static Estimate read_estimate(const json_t *o, const char *value, const char *low, const char *high) {
    /* Comparisons with NAN are false, so an interval with a missing bound is dropped too. */
    Estimate e = {rows_number(o, value), rows_number(o, low), rows_number(o, high)};
    double slack = 1e-9 * fabs(e.value);
    if (!(e.low <= e.value + slack && e.value - slack <= e.high)) e.low = e.high = NAN;
    if (e.low > e.value) e.low = e.value;
    if (e.high < e.value) e.high = e.value;
    return e;
}

/* NULL if the member is missing or not an array; jansson reads NULL as an array without items. */
static const json_t *array_of(const json_t *object, const char *key) {
    const json_t *a = json_object_get(object, key);
    return json_is_array(a) ? a : NULL;
}

/* ---- models ---- */

/* A name that no earlier model has: legends and tables tell models apart by name alone. */
static const char *distinct_name(ReportData *d, const char *name, size_t index) {
    if (!*name) return arena_printf(&d->arena, "model %zu", index + 1);
    for (size_t i = 0; i < index; i++)
        if (!strcmp(d->models[i].name, name)) return arena_printf(&d->arena, "%s (%zu)", name, index + 1);
    return name;
}

/* Entries that are not objects keep their place, because rows refer to models by index. */
static void read_models(ReportData *d) {
    const json_t *list = array_of(d->results, "models");
    d->models = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->models);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        double context = rows_number(o, "context");
        d->models[i] = (ReportModel){.json = json_is_object(o) ? o : NULL,
                                     .name = distinct_name(d, rows_string(o, "name"), i),
                                     .context = context >= 1 ? context : 0};
        d->n_models++;
    }
}

/* ---- series ---- */

/* How people write the name of a context-extension method. */
static const char *method_name(const char *method) {
    static const char *const names[][2] = {
        {"pi", "PI"}, {"ntk", "NTK"}, {"yarn", "YaRN"}, {"dynamic-ntk", "dynamic NTK"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(method, names[i][0])) return names[i][1];
    return method;
}

/* Results may leave the method out; that means the unchanged model, like "none". */
static bool is_unchanged(const char *method) {
    return !*method || !strcmp(method, "none");
}

/* Finds the series of a row by model and method, and creates it for the first row that belongs to it. False
 * if the row names no model that exists. */
static bool find_series(ReportData *d, const json_t *row, size_t *out) {
    uint64_t model;
    if (!json_get_u64(row, "model", &model) || model >= d->n_models || !d->models[model].json) return false;
    const char *method = rows_string(row, "method");
    if (!*method) method = "none";
    for (size_t i = 0; i < d->n_series; i++)
        if (d->series[i].model == model && !strcmp(d->series[i].method, method)) {
            *out = i;
            return true;
        }
    /* No earlier row belongs to this series, so it is created with its label for legends. */
    const char *name = d->models[model].name;
    *out = d->n_series++;
    d->series[*out] = (ReportSeries){
        .model = model,
        .method = method,
        .label = is_unchanged(method) ? name : arena_printf(&d->arena, "%s + %s", name, method_name(method))};
    return true;
}

/* Every row must have a length of at least one token. */
static bool read_length(const json_t *row, double *length) {
    *length = rows_number(row, "length");
    return *length >= 1;
}

/* ---- perplexity ---- */

/* A row needs a perplexity above 0, a length and a model; everything else may be missing. */
static void read_perplexity(ReportData *d) {
    const json_t *list = array_of(d->results, "perplexity");
    d->perplexity = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->perplexity);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        PerplexityRow row = {.nll = rows_number(o, "nll"),
                             .tokens = rows_number(o, "tokens"),
                             .windows = rows_number(o, "windows"),
                             .softmax_scale = rows_number(o, "softmax_scale"),
                             .perplexity = read_estimate(o, "perplexity", "low", "high"),
                             .positions = array_of(o, "positions")};
        if (!(row.perplexity.value > 0) || !read_length(o, &row.length) || !find_series(d, o, &row.series))
            continue;
        /* Charts of perplexity may be logarithmic, so an interval must stay above 0. */
        if (!(row.perplexity.low > 0)) row.perplexity.low = row.perplexity.high = NAN;
        d->perplexity[d->n_perplexity++] = row;
    }
}

/* ---- tasks ---- */

/* Tasks are few, so a linear search by name will do. */
static size_t find_task(ReportData *d, const char *name) {
    if (!*name) name = "task";
    for (size_t i = 0; i < d->n_tasks; i++)
        if (!strcmp(d->tasks[i], name)) return i;
    d->tasks[d->n_tasks] = name;
    return d->n_tasks++;
}

/* An estimate that must be a share: a value outside 0 to 1 is dropped, and so is an interval. */
static Estimate read_share(const json_t *o, const char *value, const char *low, const char *high) {
    Estimate e = read_estimate(o, value, low, high);
    if (!(e.value >= 0 && e.value <= 1)) e.value = e.low = e.high = NAN;
    if (!(e.low >= 0 && e.high <= 1)) e.low = e.high = NAN;
    return e;
}

/* A row needs one of the two metrics, a length and a model. Depths and trials out of range become unknown. */
static void read_tasks(ReportData *d) {
    const json_t *list = array_of(d->results, "tasks");
    d->task_rows = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->task_rows);
    d->tasks = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->tasks);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        TaskRow row = {.depth = rows_number(o, "depth"),
                       .trials = rows_number(o, "trials"),
                       .mean_rank = rows_number(o, "mean_rank"),
                       .candidates = rows_number(o, "candidates"),
                       .metric = {read_share(o, "score", "low", "high"),
                                  read_share(o, "first", "first_low", "first_high")}};
        /* Details that are out of range become unknown; the row stays. */
        if (!(row.depth >= 0 && row.depth <= 1)) row.depth = NAN;
        if (!(row.trials >= 1)) row.trials = NAN;
        /* Without a metric, a length or a model the row says nothing and is left out. */
        if (isnan(row.metric[0].value) && isnan(row.metric[1].value)) continue;
        if (!read_length(o, &row.length) || !find_series(d, o, &row.series)) continue;
        row.task = find_task(d, rows_string(o, "task"));
        d->task_rows[d->n_task_rows++] = row;
    }
}

/* ---- order ---- */

/* For qsort over pointers to series: by the index of the model. */
static int by_model(const void *a, const void *b) {
    const ReportSeries *x = *(ReportSeries *const *)a, *y = *(ReportSeries *const *)b;
    if (x->model != y->model) return x->model < y->model ? -1 : 1;
    return x < y ? -1 : x > y; /* series of one model keep their order: they lie in one array */
}

/* Rows of equal series and length may come in any order: look-ups take the first. */
static int by_series_and_length(const void *a, const void *b) {
    const PerplexityRow *x = a, *y = b;
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return 0;
}

/* Sorts the series by model, and renumbers them in the rows. Colours and markers follow this order, so a
 * model and its methods get neighbouring ones. */
static void order_series(ReportData *d) {
    /* Sort pointers, then copy: `place` maps an old index to the new one for the rows. */
    size_t n = d->n_series;
    ReportSeries **order = arena_alloc(&d->arena, (n + 1) * sizeof *order);
    ReportSeries *sorted = arena_alloc(&d->arena, (n + 1) * sizeof *sorted);
    size_t *place = arena_alloc(&d->arena, (n + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++)
        order[i] = &d->series[i];
    if (n) qsort(order, n, sizeof *order, by_model);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = *order[i];
        place[order[i] - d->series] = i;
    }
    for (size_t i = 0; i < d->n_perplexity; i++)
        d->perplexity[i].series = place[d->perplexity[i].series];
    for (size_t i = 0; i < d->n_task_rows; i++)
        d->task_rows[i].series = place[d->task_rows[i].series];
    d->series = sorted;
    if (d->n_perplexity) qsort(d->perplexity, d->n_perplexity, sizeof *d->perplexity, by_series_and_length);
}

/* Gives each method a number in order of appearance, so that it has the same dash pattern for every model. */
static void number_methods(ReportData *d) {
    size_t next = 1;
    for (size_t i = 0; i < d->n_series; i++) {
        if (is_unchanged(d->series[i].method)) continue;
        size_t j = 0;
        while (j < i && strcmp(d->series[j].method, d->series[i].method) != 0)
            j++;
        d->series[i].dash = j < i ? d->series[j].dash : next++;
    }
}

/* Arrays are allocated for the case that every row can be used. */
void rows_read(const json_t *results, ReportData *d) {
    *d = (ReportData){.results = results};
    /* Each row creates one series at most. */
    size_t most =
        json_array_size(array_of(results, "perplexity")) + json_array_size(array_of(results, "tasks"));
    read_models(d);
    d->series = arena_alloc(&d->arena, (most + 1) * sizeof *d->series);
    read_perplexity(d);
    read_tasks(d);
    order_series(d);
    number_methods(d);
    /* The shared context, as long as all models agree. */
    for (size_t i = 0; i < d->n_series; i++) {
        double context = d->models[d->series[i].model].context;
        d->context = i == 0 || context == d->context ? context : 0;
        if (!d->context) break;
    }
}

void rows_free(ReportData *d) {
    arena_free(&d->arena);
}
