/* Drawing maps of length by depth (heatmap.h): one map shows one task, metric and series, with a column for
 * each context length, a row for each depth of the needle, and a shade for the share of trials that were
 * answered. html_tasks.c puts maps on the page and report_picture.c into a standalone picture; the cells
 * themselves are svg_cell of svg.c. */
#include "cmd/report/heatmap.h"

#include <math.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

enum { LEFT = 40, BOTTOM = 36 }; /* pixels for the labels of depths and of lengths */

/* Rows get lower as they get more, so that a map with many depths is not taller than the screen. */
static double cell_height(const Heatmap *h) {
    return h->n_depths > 12 ? 14 : h->n_depths > 6 ? 20 : 24;
}

/* The labels of lengths stand below the cells. */
double heatmap_height(const Heatmap *h) {
    return cell_height(h) * (double)h->n_depths + BOTTOM;
}

/* The row behind a cell, NULL if that combination was not measured. */
static const TaskRow *cell(const ReportData *d, const Heatmap *h, size_t length, size_t depth) {
    return lookup_task_row(d, h->task, h->series, h->lengths[length], h->depths[depth]);
}

/* A series that was not measured with this task gets no map. */
bool heatmap_any(ReportData *d, const Heatmap *h) {
    for (size_t i = 0; i < h->n_lengths; i++)
        for (size_t j = 0; j < h->n_depths; j++) {
            const TaskRow *r = cell(d, h, i, j);
            if (r && !isnan(r->metric[h->metric].value)) return true;
        }
    return false;
}

/* Lengths as 1k for 1024: columns are too narrow for all digits. */
static const char *short_length(Arena *a, double length) {
    if (length >= 1024 && fmod(length, 1024) == 0) return arena_printf(a, "%.0fk", length / 1024);
    return length >= 10000 ? arena_printf(a, "%.3gk", length / 1000) : arena_printf(a, "%.0f", length);
}

/* The labels below the columns. A label that would touch the one before it is left out; the last must not
 * stick out of the picture. */
static void draw_lengths(ReportData *d, const Heatmap *h, double x, double under, double w, Buffer *out) {
    Arena *a = &d->arena;
    double last = -INFINITY; /* right end of the label before */
    for (size_t i = 0; i < h->n_lengths; i++) {
        const char *label = short_length(a, h->lengths[i]);
        const char *times = d->context ? text_times(a, h->lengths[i] / d->context) : "";
        double half = 3.6 * fmax((double)text_width(label), (double)text_width(times));
        double middle = fmin(x + LEFT + w * ((double)i + 0.5), x + HEATMAP_WIDTH - half);
        if (middle - half < last + 3) continue; /* it would touch the label before */
        last = middle + half;
        svg_text(out, middle, under + 14, "middle", "small", label);
        if (*times) svg_text(out, middle, under + 28, "middle", "small", times);
    }
}

/* Columns share the width, so the more lengths there are, the narrower they get; numbers are written only in
 * cells that have room for them. */
void heatmap_draw(ReportData *d, const Heatmap *h, double x, double y, Buffer *out) {
    Arena *a = &d->arena;
    double w = (HEATMAP_WIDTH - LEFT) / (double)h->n_lengths, high = cell_height(h);
    size_t skip = h->n_depths > 12 ? 2 : 1; /* low rows: every other one has a label */
    for (size_t j = 0; j < h->n_depths; j++) {
        double top = y + high * (double)j;
        if (j % skip == 0)
            svg_text(out, x + LEFT - 6, top + high / 2 + 4, "end", "small",
                     arena_printf(a, "%s\xc2\xa0%%", text_share(a, h->depths[j])));
        for (size_t i = 0; i < h->n_lengths; i++) {
            const TaskRow *r = cell(d, h, i, j);
            double v = r ? r->metric[h->metric].value : NAN;
            svg_cell(out, x + LEFT + w * (double)i + 0.5, top + 0.5, w - 1, high - 1, v,
                     w >= 22 && high >= 14 && !isnan(v) ? text_share(a, v) : NULL);
        }
    }
    draw_lengths(d, h, x, y + high * (double)h->n_depths, w, out);
}

/* Names the ranges only; the tables beside the maps have all numbers. */
const char *heatmap_describe(ReportData *d, const Heatmap *h) {
    return arena_printf(
        &d->arena,
        "Heatmap of %s for %s: %zu context lengths from %.0f to %.0f tokens across, %zu depths "
        "from %.0f\xc2\xa0%% to %.0f\xc2\xa0%% of the context down; each cell is a share of trials in "
        "percent.",
        text_clip(&d->arena, d->tasks[h->task], 60), text_clip(&d->arena, d->series[h->series].label, 60),
        h->n_lengths, h->lengths[0], h->lengths[h->n_lengths - 1], h->n_depths, 100 * h->depths[0],
        100 * h->depths[h->n_depths - 1]);
}

/* No background: the map stands on the page. */
void heatmap_svg(ReportData *d, const Heatmap *h, const char *title, const char *id, Buffer *out) {
    svg_open(out, HEATMAP_WIDTH, heatmap_height(h), id, title, heatmap_describe(d, h), false);
    heatmap_draw(d, h, 0, 0, out);
    svg_close(out);
}
