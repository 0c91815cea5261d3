/* Drawing a line chart: axes, lines with bands of their intervals, and their labels. What a chart shows is
 * decided in result_charts.h. */
#ifndef DEROPE_CMD_REPORT_LINE_CHART_H
#define DEROPE_CMD_REPORT_LINE_CHART_H

#include <stdbool.h>

#include "formats/buffer.h"

typedef struct ChartLine {
    const char *label;
    size_t style;       /* colour and marker (svg.h) */
    size_t dash;        /* dash pattern; 0: solid */
    size_t n;           /* points */
    double *xs, *ys;    /* (n), in the units of the data; xs rise */
    double *low, *high; /* (n) intervals, NAN where a point has none; both NULL: no point has one */
} ChartLine;

typedef struct LineChart {
    const char *title, *x_label, *y_label;
    ChartLine *lines; /* (n_lines) */
    size_t n_lines;
    bool x_log;            /* x on a logarithmic scale; y is logarithmic where the values call for it */
    bool shares;           /* y runs from 0 to 1 and is labelled in percent */
    const double *x_ticks; /* (n_x_ticks) where x has ticks */
    size_t n_x_ticks;      /* 0: at round values */
    double context;        /* a vertical mark at the training length, in tokens; 0: none */
    bool times;            /* ticks also say how many times `context` they are */
    double chance;         /* a horizontal mark at what guessing reaches; NAN: none */
} LineChart;

/* A wide chart (of 600 pixels or more) has each label beside the end of its line; a narrow one, for phones,
 * has a legend below. Text has the same size in both, so a chart is drawn anew for each width rather than
 * scaled. */
enum { CHART_WIDE = 720, CHART_NARROW = 340 };

/* Draws the chart as an <svg> of `width` pixels. `id` must be unique on the page. `standalone`: a file of its
 * own, with a heading and a background. */
void line_chart_draw(Arena *a, const LineChart *c, int width, const char *id, bool standalone, Buffer *out);

#endif
