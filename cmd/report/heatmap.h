/* Heat maps of long-context tasks, as SVG. The columns are context lengths, the rows are depths of the needle
 * in the context, and each cell shows the fraction of trials that succeeded as a shade and as a number. */
#ifndef DEROPE_CMD_REPORT_HEATMAP_H
#define DEROPE_CMD_REPORT_HEATMAP_H

#include "cmd/report/result_rows.h"

/* The map of one series. */
typedef struct Heatmap {
    size_t task, series;            /* indices into ReportData */
    int metric;                     /* METRIC_SCORE or METRIC_FIRST */
    const double *lengths, *depths; /* tokens (n_lengths columns) and 0 to 1 (n_depths rows), ascending */
    size_t n_lengths, n_depths;
} Heatmap;

enum { HEATMAP_WIDTH = 228 }; /* pixels */

/* The height in pixels of what heatmap_draw draws. */
double heatmap_height(const Heatmap *h);
/* Whether any cell of the map was measured. */
bool heatmap_any(ReportData *d, const Heatmap *h);
/* Draws the map into an open <svg>, with its upper left corner at x, y. */
void heatmap_draw(ReportData *d, const Heatmap *h, double x, double y, Buffer *out);
/* Writes the map as a complete <svg> element; `id` must be unique on the page. */
void heatmap_svg(ReportData *d, const Heatmap *h, const char *title, const char *id, Buffer *out);
/* Describes the map in words, for screen readers. The text belongs to the arena of `d`. */
const char *heatmap_describe(ReportData *d, const Heatmap *h);

#endif
