/* What the line charts of a report show: each function turns rows of results into a LineChart. All return
 * false if there is nothing to show. Memory is the data's arena. */
#ifndef DEROPE_CMD_REPORT_RESULT_CHARTS_H
#define DEROPE_CMD_REPORT_RESULT_CHARTS_H

#include "cmd/report/line_chart.h"
#include "cmd/report/result_rows.h"

enum { CHART_POINTS = 128 }; /* of a line, at most; longer curves are averaged */

/* Perplexity by context length, a line for each series. */
bool chart_perplexity(ReportData *d, LineChart *c);
/* Loss by position in the window, at the longest length that has positions; sets *length (tokens) to it. */
bool chart_positions(ReportData *d, LineChart *c, double *length);
/* A task's share of trials by context length, over all depths. */
bool chart_task(ReportData *d, size_t task, int metric, LineChart *c);
/* Loss by tokens seen of all recalibrations with that objective. */
bool chart_recalibration(ReportData *d, const char *objective, LineChart *c);

#endif
