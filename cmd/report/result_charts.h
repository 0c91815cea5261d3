/* The data of the line charts of a report. Each function converts rows of results to a LineChart, and returns
 * false if there is no data for the chart. The memory belongs to the arena of `d`. */
#ifndef DEROPE_CMD_REPORT_RESULT_CHARTS_H
#define DEROPE_CMD_REPORT_RESULT_CHARTS_H

#include "cmd/report/line_chart.h"
#include "cmd/report/result_rows.h"

enum { CHART_POINTS = 128 }; /* the largest number of points of a line; longer curves are averaged */

/* Perplexity by context length, with one line per series (a model under a context-extension method). */
bool chart_perplexity(ReportData *d, LineChart *c);
/* Loss by position in the window, at the longest length that has positions; sets *length (tokens) to it. */
bool chart_positions(ReportData *d, LineChart *c, double *length);
/* The fraction of successful trials of a task by context length, over all depths. `metric` is
 * METRIC_SCORE or METRIC_FIRST. */
bool chart_task(ReportData *d, size_t task, int metric, LineChart *c);
/* Training loss by number of tokens, with one line for each recalibration that used this objective. */
bool chart_recalibration(ReportData *d, const char *objective, LineChart *c);

#endif
