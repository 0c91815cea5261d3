/* Whole charts, from data to SVG. Each comes in any width, since text must not shrink on a phone. */
#ifndef DEROPE_CMD_REPORT_CHARTS_H
#define DEROPE_CMD_REPORT_CHARTS_H

#include "cmd/report/result_rows.h"

typedef struct ChartLine {
    const char *label;
    size_t style, dash; /* style: colour and marker */
    size_t n;
    double *xs, *ys, *low, *high; /* low, high: NULL, or NAN where there is no interval */
} ChartLine;

typedef struct LineChart {
    const char *title, *x_label, *y_label;
    ChartLine *lines;
    size_t n_lines;
    bool x_log, shares; /* shares: y runs from 0 to 1 and is written in percent */
    const double *x_ticks;
    size_t n_x_ticks; /* 0: round ones */
    double context;   /* drawn at x; 0: not */
    bool times;       /* ticks also say how many times the context they are */
    double chance;    /* a level to compare with, or NAN */
} LineChart;

/* A wide chart names its lines where they end, a narrow one below. */
enum { CHART_WIDE = 720, CHART_NARROW = 340, CHART_POINTS = 128 /* of a line, at most */ };
void chart_lines(Arena *a, const LineChart *c, int width, const char *id, bool standalone, Buffer *out);

/* What the charts of a report show; false if there is nothing to show. */
bool chart_perplexity(ReportData *d, LineChart *c);
bool chart_positions(ReportData *d, LineChart *c, double *length); /* the longest length that has any */
bool chart_task(ReportData *d, size_t task, int metric, LineChart *c);
bool chart_recalibration(ReportData *d, const char *objective, LineChart *c);

/* Length by depth of one series. */
typedef struct Heatmap {
    size_t task, series;
    int metric;
    const double *lengths, *depths;
    size_t n_lengths, n_depths;
} Heatmap;

enum { HEATMAP_WIDTH = 228 };
double heatmap_height(const Heatmap *h);
bool heatmap_any(ReportData *d, const Heatmap *h);
/* Inside an open svg, its corner at x, y. */
void heatmap_draw(ReportData *d, const Heatmap *h, double x, double y, Buffer *out);
void heatmap_svg(ReportData *d, const Heatmap *h, const char *title, const char *id, Buffer *out);

/* The task of the picture of maps: that called needle, else the first with depths; n_tasks: there is none. */
size_t chart_needle_task(ReportData *d);

/* A square per layer: filled where position enters by rotation, empty where it does not. */
void chart_layers(ReportData *d, const ReportModel *m, int width, const char *id, Buffer *out);

#endif
