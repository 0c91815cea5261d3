/* Charts and tables of numbers, as the sections of the page use them: each section shows a chart, and its
 * numbers as a table. */
#ifndef DEROPE_CMD_REPORT_HTML_NUMBERS_H
#define DEROPE_CMD_REPORT_HTML_NUMBERS_H

#include "cmd/report/html.h"
#include "cmd/report/line_chart.h"

enum { PAGE_COLUMNS = 32 }; /* of a table of lengths, at most */

/* How many series, and how many of `n` columns, tables show; remembers if that is not all. */
size_t html_shown_series(Page *p);
size_t html_shown_columns(Page *p, size_t n);

/* A line chart in two widths, of which the style sheet shows the one that fits. `caption` NULL: none. */
void html_figure(Page *p, LineChart *c, const char *caption);
/* The head of a table whose columns are context lengths (tokens). `first` heads the column of row headings.
 */
void html_length_head(Page *p, const char *first, const double *lengths, size_t n);
/* A cell with a value and its interval below; a dash if `e` is NULL or has no value. `strong`: in bold. */
void html_value_cell(Page *p, const Estimate *e, bool strong, const char *(*show)(Arena *a, double v));
/* A cell with a number; a dash for NAN. */
void html_number_cell(Page *p, double v, const char *(*show)(Arena *a, double v));
/* A chart's lines as a table: a row for each x, a column for each line. Long curves are listed at evenly
 * spaced points. */
void html_curve_table(Page *p, const LineChart *c, const char *caption, const char *first);

#endif
