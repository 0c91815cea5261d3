/* Maps of a task: context length across, depth of the needle down, the share of trials as a shade and a
 * number. */
#ifndef DEROPE_CMD_REPORT_HEATMAP_H
#define DEROPE_CMD_REPORT_HEATMAP_H

#include "cmd/report/result_rows.h"

/* The map of one series. */
typedef struct Heatmap {
    size_t task, series;            /* indices into ReportData */
    int metric;                     /* METRIC_SCORE or METRIC_FIRST */
    const double *lengths, *depths; /* columns (n_lengths) and rows (n_depths), rising */
    size_t n_lengths, n_depths;
} Heatmap;

enum { HEATMAP_WIDTH = 228 }; /* pixels */

/* Height in pixels. */
double heatmap_height(const Heatmap *h);
/* Whether any cell of the map was measured. */
bool heatmap_any(ReportData *d, const Heatmap *h);
/* Draws the map into an open <svg>, with its upper left corner at x, y. */
void heatmap_draw(ReportData *d, const Heatmap *h, double x, double y, Buffer *out);
/* The map as an <svg> of its own; `id` must be unique on the page. */
void heatmap_svg(ReportData *d, const Heatmap *h, const char *title, const char *id, Buffer *out);
/* The map in words, for screen readers; arena memory. */
const char *heatmap_describe(ReportData *d, const Heatmap *h);

#endif
