/* Look-ups over the rows (result_lookup.h): which lengths and depths occur, the row of a cell, several rows
 * pooled, curves, and runs of equal layers. Everything that writes a report (page, card, CSV, charts,
 * summary) asks here, so all agree on what a number is. They search linearly, because an evaluation has some
 * hundreds of rows. Arrays live in the arena of ReportData. */
#include "cmd/report/result_lookup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recal/evaluate/wilson_interval.h"

/* ---- lengths and depths ---- */

/* For qsort; NANs are dropped before. */
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Three steps in place: drop NANs, sort, drop repetitions. */
size_t lookup_distinct(double *values, size_t n) {
    size_t m = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i])) values[m++] = values[i];
    if (m) qsort(values, m, sizeof *values, by_value);
    for (size_t i = 0; i < m; i++)
        if (!k || values[k - 1] != values[i]) values[k++] = values[i];
    return k;
}

/* All lengths at which some series has a perplexity, rising and distinct, in the arena. */
size_t lookup_perplexity_lengths(ReportData *d, double **out) {
    *out = arena_alloc(&d->arena, (d->n_perplexity + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_perplexity; i++)
        (*out)[i] = d->perplexity[i].length;
    return lookup_distinct(*out, d->n_perplexity);
}

/* Rows of other tasks count as NAN, which lookup_distinct drops. */
size_t lookup_task_lengths(ReportData *d, size_t task, double **out) {
    *out = arena_alloc(&d->arena, (d->n_task_rows + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_task_rows; i++)
        (*out)[i] = d->task_rows[i].task == task ? d->task_rows[i].length : NAN;
    return lookup_distinct(*out, d->n_task_rows);
}

/* Rows without a depth are NAN already. */
size_t lookup_task_depths(ReportData *d, size_t task, double **out) {
    *out = arena_alloc(&d->arena, (d->n_task_rows + 1) * sizeof **out);
    for (size_t i = 0; i < d->n_task_rows; i++)
        (*out)[i] = d->task_rows[i].task == task ? d->task_rows[i].depth : NAN;
    return lookup_distinct(*out, d->n_task_rows);
}

/* ---- rows ---- */

/* The first row of the series at the length; NULL if it was not measured. */
const PerplexityRow *lookup_perplexity(const ReportData *d, size_t series, double length) {
    for (size_t i = 0; i < d->n_perplexity; i++)
        if (d->perplexity[i].series == series && d->perplexity[i].length == length) return &d->perplexity[i];
    return NULL;
}

/* A depth of NAN asks for the row that has none; NAN is never equal to itself, so that case is spelled
 * out. */
const TaskRow *lookup_task_row(const ReportData *d, size_t task, size_t series, double length, double depth) {
    for (size_t i = 0; i < d->n_task_rows; i++) {
        const TaskRow *r = &d->task_rows[i];
        if (r->task == task && r->series == series && r->length == length &&
            (r->depth == depth || (isnan(r->depth) && isnan(depth))))
            return r;
    }
    return NULL;
}

/* ---- several rows together ---- */

/* `right` of `trials` as a share with its interval. Rounding must not leave the share outside the
 * interval. */
static Estimate wilson_estimate(double right, double trials) {
    Estimate e = {.value = fmin(1, right / trials)};
    wilson_interval(e.value, trials, &e.low, &e.high);
    e.low = fmin(e.value, e.low);
    e.high = fmax(e.value, e.high);
    return e;
}

/* See result_lookup.h. A row without depth already covers all depths and ends the search. */
bool lookup_pooled(const ReportData *d, size_t task, size_t series, double length, int metric, Estimate *out,
                   double *trials) {
    /* Sum right answers and trials over the depths; keep the sum of shares for rows that do not say their
     * trials. */
    double right = 0, n = 0, sum = 0;
    size_t rows = 0;
    bool counted = true;
    for (size_t i = 0; i < d->n_task_rows; i++) {
        const TaskRow *r = &d->task_rows[i];
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
    /* A single row keeps its own interval. */
    if (rows < 2) return rows == 1;
    *trials = counted ? n : NAN;
    *out = counted ? wilson_estimate(right, n) : (Estimate){sum / (double)rows, NAN, NAN};
    return true;
}

/* Whether some row of the task has the metric; tasks without candidates have no ranking. */
bool lookup_has_metric(const ReportData *d, size_t task, int metric) {
    for (size_t i = 0; i < d->n_task_rows; i++)
        if (d->task_rows[i].task == task && !isnan(d->task_rows[i].metric[metric].value)) return true;
    return false;
}

/* Guessing among k candidates is right in 1 of k cases. */
double lookup_chance(const ReportData *d, size_t task) {
    /* NAN as soon as the number of candidates is unknown in some row or differs between rows. */
    double candidates = NAN;
    for (size_t i = 0; i < d->n_task_rows; i++) {
        if (d->task_rows[i].task != task) continue;
        if (!(d->task_rows[i].candidates >= 1)) return NAN;
        if (!isnan(candidates) && candidates != d->task_rows[i].candidates) return NAN;
        candidates = d->task_rows[i].candidates;
    }
    return 1 / candidates;
}

/* ---- curves ---- */

/* Replaces groups of neighbouring points by their mean, at the last x of each, so that at most `max` are
 * left. */
static size_t thin(double *xs, double *ys, size_t n, size_t max) {
    if (n <= max) return n;
    /* Writing in place is safe: a group's result goes to a place at or before its first point. */
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

/* The points of a curve whose x rises: [x, y] pairs (losses) or {"to": x, "nll": y} objects (positions). */
static size_t read_pairs(ReportData *d, const json_t *list, bool objects, size_t max, double **xs,
                         double **ys) {
    size_t n = 0, size = json_array_size(list);
    *xs = arena_alloc(&d->arena, (size + 1) * sizeof **xs);
    *ys = arena_alloc(&d->arena, (size + 1) * sizeof **ys);
    for (size_t i = 0; i < size; i++) {
        const json_t *o = json_array_get(list, i);
        double x = objects ? rows_number(o, "to") : rows_value(json_array_get(o, 0));
        double y = objects ? rows_number(o, "nll") : rows_value(json_array_get(o, 1));
        /* Points out of order are dropped, because a line that goes back would be drawn over itself. */
        if (isnan(x) || isnan(y) || x < 0 || (n && x <= (*xs)[n - 1])) continue;
        (*xs)[n] = x;
        (*ys)[n++] = y;
    }
    return thin(*xs, *ys, n, max);
}

/* The training losses of a model over tokens seen, as its manifest has them. */
size_t lookup_losses(ReportData *d, const ReportModel *m, size_t max, double **xs, double **ys) {
    const json_t *losses = json_object_get(json_object_get(m->json, "recalibration"), "losses");
    return read_pairs(d, losses, false, max, xs, ys);
}

/* The loss by position of one perplexity row. */
size_t lookup_positions(ReportData *d, const PerplexityRow *row, size_t max, double **xs, double **ys) {
    return read_pairs(d, row->positions, true, max, xs, ys);
}

/* ---- layers ---- */

/* Everything that the tables show of a layer is compared. */
static bool same_layer(const LayerRun *a, const LayerRun *b) {
    bool windows = a->window == b->window || (isnan(a->window) && isnan(b->window));
    bool ropes = a->rope && b->rope ? json_equal(a->rope, b->rope) : a->rope == b->rope;
    return windows && ropes && !strcmp(a->position, b->position);
}

/* Extends the last run, or begins a new one. */
size_t lookup_layer_runs(ReportData *d, const ReportModel *m, LayerRun **out) {
    const json_t *layers = json_object_get(m->json, "layers");
    size_t n = 0;
    *out = arena_alloc(&d->arena, (json_array_size(layers) + 1) * sizeof **out);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *o = json_array_get(layers, i), *rope = json_object_get(o, "rope");
        LayerRun run = {.first = i,
                        .last = i,
                        .position = rows_string(o, "position"),
                        .window = rows_number(o, "window"),
                        .rope = json_is_object(rope) ? rope : NULL};
        /* A missing window, which is NAN already, means attention to all tokens; so does a value that makes
         * no sense. */
        if (!(run.window >= 1)) run.window = NAN;
        if (n && same_layer(&(*out)[n - 1], &run))
            (*out)[n - 1].last = i;
        else
            (*out)[n++] = run;
    }
    return n;
}

/* The name that readers see for a layer's position encoding; unknown ones are shown as they are. */
const char *lookup_position_name(const char *position) {
    if (!strcmp(position, "rope")) return "RoPE";
    if (!strcmp(position, "partial")) return "RoPE on part of each head";
    if (!strcmp(position, "nope")) return "none";
    return position;
}
