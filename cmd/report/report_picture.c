/* Pictures that stand alone as SVG files (report_picture.h), which a model card (report_card.c) refers to:
 * perplexity by length, and heatmaps or lines of one task. They have a background and both palettes, because
 * they are shown on pages whose colours they do not know. Charts are those of the page (result_charts.c,
 * heatmap.c). */
#include "cmd/report/report_picture.h"

#include <math.h>
#include <string.h>

#include "cmd/report/heatmap.h"
#include "cmd/report/line_chart.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_charts.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

enum { GAP = 24, ACROSS = 3, MAX_MAPS = 24 }; /* pixels between maps; maps in a row; maps in all */

/* The maps of all series, ACROSS in a row. */
static void needle_picture(ReportData *d, size_t task, Buffer *out) {
    /* Greedy answers if any were scored, otherwise the ranking of candidates. */
    double *lengths, *depths;
    Heatmap h = {.task = task, .metric = METRIC_SCORE};
    if (!lookup_has_metric(d, task, METRIC_SCORE)) h.metric = METRIC_FIRST;
    h.n_lengths = lookup_task_lengths(d, task, &lengths);
    h.n_depths = lookup_task_depths(d, task, &depths);
    h.lengths = lengths, h.depths = depths;
    /* Step 1: the series that have a map. */
    size_t *shown = arena_alloc(&d->arena, (d->n_series + 1) * sizeof *shown), n = 0;
    for (size_t s = 0; s < d->n_series && n < MAX_MAPS && h.n_depths; s++) {
        h.series = s;
        if (heatmap_any(d, &h)) shown[n++] = s;
    }
    if (!n) return;
    /* Step 2: the size of the picture. Each map has its name above it, and the title needs at least 460
     * pixels. */
    size_t across = n < ACROSS ? n : ACROSS, down = (n + across - 1) / across;
    double each = heatmap_height(&h) + 34, pad = 20, head = 52;
    double width = fmax(2 * pad + (double)across * (HEATMAP_WIDTH + GAP) - GAP, 460);
    const char *title =
        arena_printf(&d->arena, "%s: share of trials %s, in %%", text_clip(&d->arena, d->tasks[task], 40),
                     h.metric == METRIC_SCORE ? "answered exactly" : "with the right answer ranked first");
    /* Step 3: the picture. The description for screen readers takes its ranges from the first map; they are
     * the same for all. */
    h.series = shown[0];
    svg_open(out, width, pad + head + each * (double)down + pad, "needle", title,
             arena_printf(&d->arena, "%zu maps, one per model and method. %s", n, heatmap_describe(d, &h)),
             true);
    svg_text(out, pad, pad + 12, "start", "head", title);
    svg_text(out, pad, pad + 30, "start", "small", "context length across, depth of the answer in it down");
    for (size_t i = 0; i < n; i++) {
        double x = pad + (double)(i % across) * (HEATMAP_WIDTH + GAP),
               y = pad + head + (double)(i / across) * each;
        h.series = shown[i];
        svg_text(out, x, y + 14, "start", "head", text_clip(&d->arena, d->series[shown[i]].label, 32));
        heatmap_draw(d, &h, x, y + 24, out);
    }
    svg_close(out);
}

/* A model card shows one task in pictures; the others are in its tables. */
size_t report_picture_task(ReportData *d) {
    /* The plain needle task is the one that readers know; otherwise it is the first task with depths. */
    double *depths;
    for (size_t t = 0; t < d->n_tasks; t++)
        if (!strcmp(d->tasks[t], "needle") && lookup_task_depths(d, t, &depths)) return t;
    for (size_t t = 0; t < d->n_tasks; t++)
        if (lookup_task_depths(d, t, &depths)) return t;
    return d->n_tasks;
}

/* The maps' scores as lines over length, without the depths. */
static void needle_lines(ReportData *d, size_t task, Buffer *out) {
    LineChart c;
    if (chart_task(d, task, METRIC_SCORE, &c))
        line_chart_draw(&d->arena, &c, CHART_WIDE, "needle-by-length", true, out);
}

/* Appending nothing tells the caller that there is no such picture, so that no empty file is written. */
void report_picture(const json_t *results, const char *which, Buffer *out) {
    ReportData d;
    LineChart c;
    rows_read(results, &d);
    size_t task = report_picture_task(&d);
    if (!strcmp(which, "perplexity") && chart_perplexity(&d, &c))
        line_chart_draw(&d.arena, &c, CHART_WIDE, "perplexity", true, out);
    if (!strcmp(which, "needle") && task < d.n_tasks) needle_picture(&d, task, out);
    if (!strcmp(which, "needle-by-length") && task < d.n_tasks) needle_lines(&d, task, out);
    rows_free(&d);
}
