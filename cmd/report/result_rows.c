#include "cmd/report/result_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/report/report_text.h"
#include "formats/json.h"

/* Beyond this nothing measured lies, and sums of squares still fit a double. */
#define LARGEST 1e30

double rows_number(const json_t *object, const char *key) {
    double x;
    return json_get_f64(object, key, &x) && fabs(x) <= LARGEST ? x : NAN;
}

const char *rows_string(const json_t *object, const char *key) {
    const char *s = json_get_string(object, key);
    return s ? s : "";
}

bool rows_bounded(const Estimate *e) {
    return !isnan(e->low);
}

static Estimate read_estimate(const json_t *o, const char *value, const char *low, const char *high) {
    Estimate e = {rows_number(o, value), rows_number(o, low), rows_number(o, high)};
    double slack = 1e-9 * fabs(e.value); /* rounding may leave the value just outside */
    if (!(e.low <= e.value + slack && e.value - slack <= e.high)) e.low = e.high = NAN;
    if (e.low > e.value) e.low = e.value;
    if (e.high < e.value) e.high = e.value;
    return e;
}

static const json_t *array_of(const json_t *object, const char *key) {
    const json_t *a = json_object_get(object, key);
    return json_is_array(a) ? a : NULL;
}

static const char *distinct_name(ReportData *d, const char *name, size_t index) {
    if (!*name) return arena_printf(&d->arena, "model %zu", index + 1);
    for (size_t i = 0; i < index; i++)
        if (!strcmp(d->models[i].name, name)) return arena_printf(&d->arena, "%s (%zu)", name, index + 1);
    return name;
}

/* `model` counts every entry of results, also those that are not objects. */
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

static const char *method_name(const char *method) {
    static const char *const names[][2] = {
        {"pi", "PI"}, {"ntk", "NTK"}, {"yarn", "YaRN"}, {"dynamic-ntk", "dynamic NTK"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(method, names[i][0])) return names[i][1];
    return method;
}

static bool plain_method(const char *method) {
    return !*method || !strcmp(method, "none");
}

/* The row's series, made if new; false if its model does not exist. */
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
    const char *name = d->models[model].name;
    *out = d->n_series++;
    d->series[*out] = (Series){
        .model = model,
        .method = method,
        .label = plain_method(method) ? name : arena_printf(&d->arena, "%s + %s", name, method_name(method))};
    return true;
}

static bool read_length(const json_t *row, double *length) {
    *length = rows_number(row, "length");
    return *length >= 1;
}

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
        if (!(row.perplexity.low > 0)) row.perplexity.low = row.perplexity.high = NAN;
        d->perplexity[d->n_perplexity++] = row;
    }
}

static size_t find_task(ReportData *d, const char *name) {
    if (!*name) name = "task";
    for (size_t i = 0; i < d->n_tasks; i++)
        if (!strcmp(d->tasks[i], name)) return i;
    d->tasks[d->n_tasks] = name;
    return d->n_tasks++;
}

/* Shares lie between 0 and 1. */
static Estimate read_share(const json_t *o, const char *value, const char *low, const char *high) {
    Estimate e = read_estimate(o, value, low, high);
    if (!(e.value >= 0 && e.value <= 1)) e.value = e.low = e.high = NAN;
    if (!(e.low >= 0 && e.high <= 1)) e.low = e.high = NAN;
    return e;
}

static void read_tasks(ReportData *d) {
    const json_t *list = array_of(d->results, "tasks");
    d->rows = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->rows);
    d->tasks = arena_alloc(&d->arena, (json_array_size(list) + 1) * sizeof *d->tasks);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        TaskRow row = {.depth = rows_number(o, "depth"),
                       .trials = rows_number(o, "trials"),
                       .mean_rank = rows_number(o, "mean_rank"),
                       .candidates = rows_number(o, "candidates"),
                       .metric = {read_share(o, "score", "low", "high"),
                                  read_share(o, "first", "first_low", "first_high")}};
        if (!(row.depth >= 0 && row.depth <= 1)) row.depth = NAN;
        if (!(row.trials >= 1)) row.trials = NAN;
        if (isnan(row.metric[0].value) && isnan(row.metric[1].value)) continue;
        if (!read_length(o, &row.length) || !find_series(d, o, &row.series)) continue;
        row.task = find_task(d, rows_string(o, "task"));
        d->rows[d->n_rows++] = row;
    }
}

static int by_model(const void *a, const void *b) {
    const Series *x = *(Series *const *)a, *y = *(Series *const *)b;
    if (x->model != y->model) return x->model < y->model ? -1 : 1;
    return x < y ? -1 : x > y; /* as they came */
}

static int by_series_and_length(const void *a, const void *b) {
    const PerplexityRow *x = a, *y = b;
    if (x->series != y->series) return x->series < y->series ? -1 : 1;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return 0;
}

/* Series of one model stand together. */
static void order_series(ReportData *d) {
    size_t n = d->n_series;
    Series **order = arena_alloc(&d->arena, (n + 1) * sizeof *order);
    Series *sorted = arena_alloc(&d->arena, (n + 1) * sizeof *sorted);
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
    for (size_t i = 0; i < d->n_rows; i++)
        d->rows[i].series = place[d->rows[i].series];
    d->series = sorted;
    if (d->n_perplexity) qsort(d->perplexity, d->n_perplexity, sizeof *d->perplexity, by_series_and_length);
}

static void number_methods(ReportData *d) {
    size_t next = 1;
    for (size_t i = 0; i < d->n_series; i++) {
        if (plain_method(d->series[i].method)) continue;
        size_t j = 0;
        while (j < i && strcmp(d->series[j].method, d->series[i].method) != 0)
            j++;
        d->series[i].dash = j < i ? d->series[j].dash : next++;
    }
}

void rows_read(const json_t *results, ReportData *d) {
    *d = (ReportData){.results = results};
    size_t most =
        json_array_size(array_of(results, "perplexity")) + json_array_size(array_of(results, "tasks"));
    read_models(d);
    d->series = arena_alloc(&d->arena, (most + 1) * sizeof *d->series);
    read_perplexity(d);
    read_tasks(d);
    order_series(d);
    number_methods(d);
    for (size_t i = 0; i < d->n_series; i++) {
        double context = d->models[d->series[i].model].context;
        d->context = i == 0 || context == d->context ? context : 0;
        if (!d->context) break;
    }
}

void rows_free(ReportData *d) {
    arena_free(&d->arena);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

size_t rows_distinct(double *values, size_t n) {
    size_t m = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i])) values[m++] = values[i];
    if (m) qsort(values, m, sizeof *values, by_value);
    for (size_t i = 0; i < m; i++)
        if (!k || values[k - 1] != values[i]) values[k++] = values[i];
    return k;
}

size_t rows_perplexity_lengths(ReportData *d, double **out) {
    *out = arena_alloc(&d->arena, (d->n_perplexity + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_perplexity; i++)
        (*out)[i] = d->perplexity[i].length;
    return rows_distinct(*out, d->n_perplexity);
}

size_t rows_task_lengths(ReportData *d, size_t task, double **out) {
    *out = arena_alloc(&d->arena, (d->n_rows + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_rows; i++)
        (*out)[i] = d->rows[i].task == task ? d->rows[i].length : NAN;
    return rows_distinct(*out, d->n_rows);
}

size_t rows_task_depths(ReportData *d, size_t task, double **out) {
    *out = arena_alloc(&d->arena, (d->n_rows + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_rows; i++)
        (*out)[i] = d->rows[i].task == task ? d->rows[i].depth : NAN;
    return rows_distinct(*out, d->n_rows);
}

const PerplexityRow *rows_perplexity(const ReportData *d, size_t series, double length) {
    for (size_t i = 0; i < d->n_perplexity; i++)
        if (d->perplexity[i].series == series && d->perplexity[i].length == length) return &d->perplexity[i];
    return NULL;
}

const TaskRow *rows_cell(const ReportData *d, size_t task, size_t series, double length, double depth) {
    for (size_t i = 0; i < d->n_rows; i++) {
        const TaskRow *r = &d->rows[i];
        if (r->task == task && r->series == series && r->length == length &&
            (r->depth == depth || (isnan(r->depth) && isnan(depth))))
            return r;
    }
    return NULL;
}

static void wilson(double right, double n, Estimate *e) {
    const double z = 1.959964;
    double p = fmin(1, right / n), middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *e = (Estimate){p, fmin(p, fmax(0, middle - half)), fmax(p, fmin(1, middle + half))};
}

bool rows_pooled(const ReportData *d, size_t task, size_t series, double length, int metric, Estimate *out,
                 double *trials) {
    double right = 0, n = 0, sum = 0;
    size_t rows = 0;
    bool counted = true;
    for (size_t i = 0; i < d->n_rows; i++) {
        const TaskRow *r = &d->rows[i];
        const Estimate *e = &r->metric[metric];
        if (r->task != task || r->series != series || r->length != length || isnan(e->value)) continue;
        if (isnan(r->depth) || !rows++) {
            *out = *e;
            *trials = r->trials;
            if (isnan(r->depth)) return true;
        }
        counted = counted && !isnan(r->trials);
        right += e->value * r->trials;
        n += r->trials;
        sum += e->value;
    }
    if (rows < 2) return rows == 1;
    *trials = counted ? n : NAN;
    if (counted)
        wilson(right, n, out);
    else
        *out = (Estimate){sum / (double)rows, NAN, NAN};
    return true;
}

bool rows_has_metric(const ReportData *d, size_t task, int metric) {
    for (size_t i = 0; i < d->n_rows; i++)
        if (d->rows[i].task == task && !isnan(d->rows[i].metric[metric].value)) return true;
    return false;
}

double rows_chance(const ReportData *d, size_t task) {
    double candidates = NAN;
    for (size_t i = 0; i < d->n_rows; i++) {
        if (d->rows[i].task != task) continue;
        if (!(d->rows[i].candidates >= 1)) return NAN;
        if (!isnan(candidates) && candidates != d->rows[i].candidates) return NAN;
        candidates = d->rows[i].candidates;
    }
    return 1 / candidates;
}

/* Means of groups of neighbours, so that no more than `max` are left. */
static size_t thin(double *xs, double *ys, size_t n, size_t max) {
    if (n <= max) return n;
    size_t group = (n + max - 1) / max, m = 0;
    for (size_t i = 0; i < n; i += group, m++) {
        size_t k = n - i < group ? n - i : group;
        double sum = 0;
        for (size_t j = 0; j < k; j++)
            sum += ys[i + j];
        xs[m] = xs[i + k - 1];
        ys[m] = sum / (double)k;
    }
    return m;
}

static double usable(const json_t *v) {
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    return fabs(x) <= LARGEST ? x : NAN;
}

static size_t read_pairs(ReportData *d, const json_t *list, bool objects, size_t max, double **xs,
                         double **ys) {
    size_t n = 0, size = json_array_size(list);
    *xs = arena_alloc(&d->arena, (size + 1) * sizeof **xs);
    *ys = arena_alloc(&d->arena, (size + 1) * sizeof **ys);
    for (size_t i = 0; i < size; i++) {
        const json_t *o = json_array_get(list, i);
        double x = objects ? rows_number(o, "to") : usable(json_array_get(o, 0));
        double y = objects ? rows_number(o, "nll") : usable(json_array_get(o, 1));
        if (isnan(x) || isnan(y) || x < 0 || (n && x <= (*xs)[n - 1])) continue;
        (*xs)[n] = x;
        (*ys)[n++] = y;
    }
    return thin(*xs, *ys, n, max);
}

size_t rows_losses(ReportData *d, const ReportModel *m, size_t max, double **xs, double **ys) {
    const json_t *losses = array_of(json_object_get(m->json, "recalibration"), "losses");
    return read_pairs(d, losses, false, max, xs, ys);
}

size_t rows_positions(ReportData *d, const PerplexityRow *row, size_t max, double **xs, double **ys) {
    return read_pairs(d, row->positions, true, max, xs, ys);
}

static bool same_layer(const LayerRun *a, const LayerRun *b) {
    bool windows = a->window == b->window || (isnan(a->window) && isnan(b->window));
    bool ropes = a->rope && b->rope ? json_equal(a->rope, b->rope) : a->rope == b->rope;
    return windows && ropes && !strcmp(a->position, b->position);
}

size_t rows_layer_runs(ReportData *d, const ReportModel *m, LayerRun **out) {
    const json_t *layers = array_of(m->json, "layers");
    size_t n = 0;
    *out = arena_alloc(&d->arena, (json_array_size(layers) + 1) * sizeof **out);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *o = json_array_get(layers, i), *rope = json_object_get(o, "rope");
        LayerRun run = {.first = i,
                        .last = i,
                        .position = rows_string(o, "position"),
                        .window = rows_number(o, "window"),
                        .rope = json_is_object(rope) ? rope : NULL};
        if (!(run.window >= 1)) run.window = NAN;
        if (n && same_layer(&(*out)[n - 1], &run))
            (*out)[n - 1].last = i;
        else
            (*out)[n++] = run;
    }
    return n;
}

const char *rows_position_name(const char *position) {
    if (!strcmp(position, "rope")) return "RoPE";
    if (!strcmp(position, "partial")) return "RoPE on part of each head";
    if (!strcmp(position, "nope")) return "none";
    return position;
}
