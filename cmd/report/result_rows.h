/* Results as typed rows: what the page, the card and the table are made from. */
#ifndef DEROPE_CMD_REPORT_RESULT_ROWS_H
#define DEROPE_CMD_REPORT_RESULT_ROWS_H

#include <jansson.h>

#include "formats/buffer.h"

typedef struct Estimate {
    double value;     /* NAN: not there */
    double low, high; /* 95 % interval, NAN both: none */
} Estimate;

typedef struct ReportModel {
    const json_t *json; /* an object */
    const char *name;   /* distinct from the others' */
    double context;     /* 0: unknown */
} ReportModel;

/* A model with one method of reading further. */
typedef struct Series {
    size_t model;
    const char *method; /* as in results */
    const char *label;
    size_t dash; /* which method it is, counted by first appearance; 0: as it is */
} Series;

typedef struct PerplexityRow {
    size_t series;
    double length, nll, tokens, windows, softmax_scale; /* NAN: not there */
    Estimate perplexity;
    const json_t *positions; /* an array or NULL */
} PerplexityRow;

enum { METRIC_SCORE, METRIC_FIRST, METRICS };

typedef struct TaskRow {
    size_t series, task;
    double length, depth, trials, mean_rank, candidates; /* NAN: not there */
    Estimate metric[METRICS];
} TaskRow;

typedef struct ReportData {
    Arena arena;
    const json_t *results;
    ReportModel *models;
    Series *series;
    PerplexityRow *perplexity; /* by series, then length */
    TaskRow *rows;             /* in the order of results */
    const char **tasks;
    size_t n_models, n_series, n_perplexity, n_rows, n_tasks;
    double context; /* of every model that has a series; 0: they differ, or nobody says */
} ReportData;

void rows_read(const json_t *results, ReportData *d);
void rows_free(ReportData *d);

/* NAN if absent, of another type, or beyond what a chart can hold. */
double rows_number(const json_t *object, const char *key);
/* "" if absent. */
const char *rows_string(const json_t *object, const char *key);
bool rows_bounded(const Estimate *e);

/* Sorts, drops repetitions and NANs; returns how many are left. */
size_t rows_distinct(double *values, size_t n);
/* Distinct lengths of all perplexity rows, or of a task's rows; arena memory. */
size_t rows_perplexity_lengths(ReportData *d, double **out);
size_t rows_task_lengths(ReportData *d, size_t task, double **out);
size_t rows_task_depths(ReportData *d, size_t task, double **out);

/* The first row of a series at a length, or NULL. */
const PerplexityRow *rows_perplexity(const ReportData *d, size_t series, double length);
const TaskRow *rows_cell(const ReportData *d, size_t task, size_t series, double length, double depth);
/* A task at a length whatever the depth: the row without depth, else all depths pooled with Wilson's
 * interval. False if nothing was measured. `trials` may come out as NAN. */
bool rows_pooled(const ReportData *d, size_t task, size_t series, double length, int metric, Estimate *out,
                 double *trials);
bool rows_has_metric(const ReportData *d, size_t task, int metric);
/* Share of trials that guessing gets right; NAN if unknown or not one number. */
double rows_chance(const ReportData *d, size_t task);

/* Losses over tokens of a model's recalibration as x, y pairs: at most `max`, longer ones in means of
 * neighbours. Returns how many. */
size_t rows_losses(ReportData *d, const ReportModel *m, size_t max, double **xs, double **ys);
size_t rows_positions(ReportData *d, const PerplexityRow *row, size_t max, double **xs, double **ys);

/* "0-2" for runs of layers that are alike; `same` compares two of them. Calls `each` with first and last. */
typedef struct LayerRun {
    size_t first, last;
    const char *position; /* "" if unknown */
    double window;        /* NAN: none */
    const json_t *rope;   /* object or NULL */
} LayerRun;
size_t rows_layer_runs(ReportData *d, const ReportModel *m, LayerRun **out);
const char *rows_position_name(const char *position); /* in plain words */

/* Plain sentences that the numbers and their intervals support (summary.c). Returns how many of `max`. */
size_t rows_summary(ReportData *d, const char **out, size_t max);

#endif
