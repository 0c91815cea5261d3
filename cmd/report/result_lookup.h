/* Looking things up in the rows of an evaluation: which lengths and depths there are, the row at one of them,
 * and what follows from several rows together. Arrays that these functions return live in the data's arena.
 */
#ifndef DEROPE_CMD_REPORT_RESULT_LOOKUP_H
#define DEROPE_CMD_REPORT_RESULT_LOOKUP_H

#include "cmd/report/result_rows.h"

/* Sorts `values` (n), drops repetitions and NANs, and returns how many are left. */
size_t lookup_distinct(double *values, size_t n);

/* The distinct lengths (tokens) of all perplexity rows, rising; returns how many. */
size_t lookup_perplexity_lengths(ReportData *d, double **out);
/* The distinct lengths (tokens), and depths (0 to 1), of a task's rows, rising; return how many. */
size_t lookup_task_lengths(ReportData *d, size_t task, double **out);
size_t lookup_task_depths(ReportData *d, size_t task, double **out);

/* The first perplexity row of a series at a length, or NULL. */
const PerplexityRow *lookup_perplexity(const ReportData *d, size_t series, double length);
/* The first row of a task, for a series, length and depth (NAN: the row without depth), or NULL. */
const TaskRow *lookup_task_row(const ReportData *d, size_t task, size_t series, double length, double depth);

/* A task's score at a length over all depths: the row without depth if there is one, otherwise the trials of
 * all depths pooled, with Wilson's interval. If some row does not say how many trials it had, the mean over
 * the depths without an interval, and *trials is NAN. False if nothing was measured. */
bool lookup_pooled(const ReportData *d, size_t task, size_t series, double length, int metric, Estimate *out,
                   double *trials);
/* Whether any row of the task has that metric. */
bool lookup_has_metric(const ReportData *d, size_t task, int metric);
/* The share of questions that guessing answers right: 1 / candidates. NAN if that is unknown or differs
 * between the task's rows. */
double lookup_chance(const ReportData *d, size_t task);

/* Loss of a model's recalibration (y) over tokens seen (x), and loss in nats (y) by position in the window
 * (x) of a perplexity row. At most `max` points: longer curves become means over neighbours. Return how many.
 */
size_t lookup_losses(ReportData *d, const ReportModel *m, size_t max, double **xs, double **ys);
size_t lookup_positions(ReportData *d, const PerplexityRow *row, size_t max, double **xs, double **ys);

/* Neighbouring layers that are alike. */
typedef struct LayerRun {
    size_t first, last;   /* counted from 0; both inside */
    const char *position; /* how position enters: "rope", "partial", "nope"; "" if unknown */
    double window;        /* tokens that a layer attends to; NAN: all */
    const json_t *rope;   /* parameters of the rotation; NULL: none */
} LayerRun;

/* The layers of a model as runs of equal ones; returns how many. */
size_t lookup_layer_runs(ReportData *d, const ReportModel *m, LayerRun **out);
/* LayerRun.position in plain words; unknown ones as they are. */
const char *lookup_position_name(const char *position);

#endif
