/* Maps of length by depth, and strips of layers. */
#include <math.h>
#include <string.h>

#include "cmd/report/charts.h"
#include "cmd/report/report.h"
#include "cmd/report/report_text.h"
#include "cmd/report/svg.h"

enum { LEFT = 40, BOTTOM = 36, GAP = 24, ACROSS = 3 };

static double cell_height(const Heatmap *h) {
    return h->n_depths > 12 ? 14 : h->n_depths > 6 ? 20 : 24;
}

double heatmap_height(const Heatmap *h) {
    return cell_height(h) * (double)h->n_depths + BOTTOM;
}

static const TaskRow *cell(const ReportData *d, const Heatmap *h, size_t length, size_t depth) {
    return rows_cell(d, h->task, h->series, h->lengths[length], h->depths[depth]);
}

bool heatmap_any(ReportData *d, const Heatmap *h) {
    for (size_t i = 0; i < h->n_lengths; i++)
        for (size_t j = 0; j < h->n_depths; j++) {
            const TaskRow *r = cell(d, h, i, j);
            if (r && !isnan(r->metric[h->metric].value)) return true;
        }
    return false;
}

/* 1024 as 1k: columns are narrow. */
static const char *short_length(Arena *a, double length) {
    if (length >= 1024 && fmod(length, 1024) == 0) return arena_printf(a, "%.0fk", length / 1024);
    return length >= 10000 ? arena_printf(a, "%.3gk", length / 1000) : arena_printf(a, "%.0f", length);
}

void heatmap_draw(ReportData *d, const Heatmap *h, double x, double y, Buffer *out) {
    Arena *a = &d->arena;
    double w = (HEATMAP_WIDTH - LEFT) / (double)h->n_lengths, high = cell_height(h), last = -INFINITY;
    size_t skip = h->n_depths > 12 ? 2 : 1;
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
    double under = y + high * (double)h->n_depths;
    for (size_t i = 0; i < h->n_lengths; i++) {
        const char *label = short_length(a, h->lengths[i]);
        const char *times = d->context ? text_times(a, h->lengths[i] / d->context) : "";
        double half = 3.6 * fmax((double)text_width(label), (double)text_width(times));
        double middle = fmin(x + LEFT + w * ((double)i + 0.5), x + HEATMAP_WIDTH - half);
        if (middle - half < last + 3) continue;
        last = middle + half;
        svg_text(out, middle, under + 14, "middle", "small", label);
        if (*times) svg_text(out, middle, under + 28, "middle", "small", times);
    }
}

static const char *describe(ReportData *d, const Heatmap *h) {
    return arena_printf(
        &d->arena,
        "Heatmap of %s for %s: %zu context lengths from %.0f to %.0f tokens across, %zu depths "
        "from %.0f\xc2\xa0%% to %.0f\xc2\xa0%% of the context down; each cell is a share of trials in "
        "percent.",
        text_clip(&d->arena, d->tasks[h->task], 60), text_clip(&d->arena, d->series[h->series].label, 60),
        h->n_lengths, h->lengths[0], h->lengths[h->n_lengths - 1], h->n_depths, 100 * h->depths[0],
        100 * h->depths[h->n_depths - 1]);
}

void heatmap_svg(ReportData *d, const Heatmap *h, const char *title, const char *id, Buffer *out) {
    svg_open(out, HEATMAP_WIDTH, heatmap_height(h), id, title, describe(d, h), false);
    heatmap_draw(d, h, 0, 0, out);
    svg_close(out);
}

void chart_layers(ReportData *d, const ReportModel *m, int width, const char *id, Buffer *out) {
    LayerRun *runs;
    size_t n_runs = rows_layer_runs(d, m, &runs), n = n_runs ? runs[n_runs - 1].last + 1 : 0;
    if (!n || n > 160) return;
    double w = fmin(20, (width - 2) / (double)n);
    svg_open(out, width, 22, id, arena_printf(&d->arena, "Layers of %s", text_clip(&d->arena, m->name, 80)),
             "A square per layer from the first to the last: filled where position enters by rotation, half "
             "filled where it does in part of each head, empty where it does not. The table says the same.",
             false);
    for (size_t i = 0; i < n_runs; i++)
        for (size_t k = runs[i].first; k <= runs[i].last; k++) {
            bool rope = !strcmp(runs[i].position, "rope"), part = !strcmp(runs[i].position, "partial");
            double x = 1 + w * (double)k, side = fmax(1, w - 3);
            buffer_printf(out, "<rect x=\"%.4g\" y=\"2\" width=\"%.4g\" height=\"17\" class=\"%s\"/>", x,
                          side, rope ? "full" : "bare");
            if (part)
                buffer_printf(out, "<rect x=\"%.4g\" y=\"11\" width=\"%.4g\" height=\"8\" class=\"full\"/>",
                              x, side);
        }
    put(out, "\n");
    svg_close(out);
}

/* Every series that has a map, in rows of three. */
static void needle_picture(ReportData *d, size_t task, Buffer *out) {
    double *lengths, *depths;
    Heatmap h = {.task = task, .metric = METRIC_SCORE};
    if (!rows_has_metric(d, task, METRIC_SCORE)) h.metric = METRIC_FIRST;
    h.n_lengths = rows_task_lengths(d, task, &lengths);
    h.n_depths = rows_task_depths(d, task, &depths);
    h.lengths = lengths, h.depths = depths;
    size_t *shown = arena_alloc(&d->arena, (d->n_series + 1) * sizeof *shown), n = 0;
    for (size_t s = 0; s < d->n_series && n < 24 && h.n_depths; s++) {
        h.series = s;
        if (heatmap_any(d, &h)) shown[n++] = s;
    }
    if (!n) return;
    size_t across = n < ACROSS ? n : ACROSS, down = (n + across - 1) / across;
    double each = heatmap_height(&h) + 34, pad = 20, head = 52;
    double width = fmax(2 * pad + (double)across * (HEATMAP_WIDTH + GAP) - GAP, 460);
    const char *title =
        arena_printf(&d->arena, "%s: share of trials %s, in %%", text_clip(&d->arena, d->tasks[task], 40),
                     h.metric == METRIC_SCORE ? "answered exactly" : "with the right answer likeliest");
    h.series = shown[0];
    svg_open(out, width, pad + head + each * (double)down + pad, "needle", title,
             arena_printf(&d->arena, "%zu maps, one per model and method. %s", n, describe(d, &h)), true);
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

size_t chart_needle_task(ReportData *d) {
    double *depths;
    for (size_t t = 0; t < d->n_tasks; t++)
        if (!strcmp(d->tasks[t], "needle") && rows_task_depths(d, t, &depths)) return t;
    for (size_t t = 0; t < d->n_tasks; t++)
        if (rows_task_depths(d, t, &depths)) return t;
    return d->n_tasks;
}

void report_picture(const json_t *results, const char *which, Buffer *out) {
    ReportData d;
    LineChart c;
    rows_read(results, &d);
    if (!strcmp(which, "perplexity") && chart_perplexity(&d, &c))
        chart_lines(&d.arena, &c, CHART_WIDE, "perplexity", true, out);
    size_t task = chart_needle_task(&d);
    if (!strcmp(which, "needle") && task < d.n_tasks) needle_picture(&d, task, out);
    rows_free(&d);
}
