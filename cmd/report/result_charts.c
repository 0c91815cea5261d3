/* From rows to line charts (result_charts.h): each function fills a LineChart with the points of one kind of
 * measurement, and line_chart.c draws it. The page (html_*.c) and the standalone pictures (report_picture.c)
 * use the same charts. A series has the same colour, marker and dash pattern in all of them. */
#include "cmd/report/result_charts.h"

#include <math.h>
#include <string.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"

/* An empty line in the style of a series, with room for that many points. */
static ChartLine line_for(ReportData *d, size_t series, size_t room) {
    /* One allocation serves all four arrays of the line. */
    double *p = arena_alloc(&d->arena, 4 * (room + 1) * sizeof *p);
    return (ChartLine){.label = d->series[series].label,
                       .style = series,
                       .dash = d->series[series].dash,
                       .xs = p,
                       .ys = p + room,
                       .low = p + 2 * room,
                       .high = p + 3 * room};
}

/* The interval is NAN if the estimate has none; the chart then draws no band there. */
static void add_point(ChartLine *l, double x, const Estimate *e) {
    l->xs[l->n] = x;
    l->ys[l->n] = e->value;
    l->low[l->n] = e->low;
    l->high[l->n++] = e->high;
}

/* Room for that many lines; how many have points is counted in LineChart.n_lines. */
static ChartLine *lines_for(ReportData *d, size_t n) {
    return arena_alloc(&d->arena, (n + 1) * sizeof(ChartLine));
}

/* x has a tick at every measured length, so that a reader can find each column of the table. */
bool chart_perplexity(ReportData *d, LineChart *c) {
    double *lengths;
    size_t n = lookup_perplexity_lengths(d, &lengths);
    *c = (LineChart){.title = "Perplexity by context length",
                     .x_label = "context length in tokens",
                     .y_label = "perplexity",
                     .lines = lines_for(d, d->n_series),
                     .x_log = true,
                     .x_ticks = lengths,
                     .n_x_ticks = n,
                     .context = d->context,
                     .times = d->context > 0,
                     .chance = NAN};
    for (size_t s = 0; s < d->n_series; s++) {
        ChartLine l = line_for(d, s, n);
        for (size_t i = 0; i < n; i++) {
            /* Lengths at which this series was not measured have no point; the line connects its
             * neighbours. */
            const PerplexityRow *row = lookup_perplexity(d, s, lengths[i]);
            if (row) add_point(&l, lengths[i], &row->perplexity);
        }
        if (l.n) c->lines[c->n_lines++] = l;
    }
    return c->n_lines > 0;
}

/* Only the longest windows are shown: their curves contain the shorter ones, up to the different text. */
bool chart_positions(ReportData *d, LineChart *c, double *length) {
    *length = 0;
    for (size_t i = 0; i < d->n_perplexity; i++)
        if (json_array_size(d->perplexity[i].positions)) *length = fmax(*length, d->perplexity[i].length);
    *c = (LineChart){.title = arena_printf(&d->arena, "Loss by position in windows of %s tokens",
                                           text_count(&d->arena, *length)),
                     .x_label = "position in the window",
                     .y_label = "loss in nats per token",
                     .lines = lines_for(d, d->n_series),
                     .x_log = true,
                     .context = d->context,
                     .chance = NAN};
    /* One line for each series measured at that length, thinned to CHART_POINTS points. */
    for (size_t s = 0; s < d->n_series && *length; s++) {
        /* The curves have no intervals, so `low` and `high` stay NULL. */
        const PerplexityRow *row = lookup_perplexity(d, s, *length);
        if (!row) continue;
        ChartLine l = {.label = d->series[s].label, .style = s, .dash = d->series[s].dash};
        l.n = lookup_positions(d, row, CHART_POINTS, &l.xs, &l.ys);
        if (l.n) c->lines[c->n_lines++] = l;
    }
    /* If there are few points, each gets a tick. Windows of powers of two then have round ticks. */
    double *ends = arena_alloc(&d->arena, (c->n_lines * CHART_POINTS + 1) * sizeof *ends);
    size_t n = 0;
    for (size_t i = 0; i < c->n_lines; i++)
        for (size_t j = 0; j < c->lines[i].n; j++)
            ends[n++] = c->lines[i].xs[j];
    n = lookup_distinct(ends, n);
    if (n && n <= 16) c->x_ticks = ends, c->n_x_ticks = n;
    return c->n_lines > 0;
}

/* Scores are shares, so the axis always runs from 0 to 100 %, which keeps charts comparable. */
bool chart_task(ReportData *d, size_t task, int metric, LineChart *c) {
    double *lengths;
    size_t n = lookup_task_lengths(d, task, &lengths);
    *c = (LineChart){.title =
                         arena_printf(&d->arena, "%s: %s by context length", d->tasks[task],
                                      metric == METRIC_SCORE ? "exact answers" : "right answer ranked first"),
                     .x_label = "context length in tokens",
                     .y_label = "share of trials",
                     .lines = lines_for(d, d->n_series),
                     .x_log = true,
                     .shares = true,
                     .x_ticks = lengths,
                     .n_x_ticks = n,
                     .context = d->context,
                     .times = d->context > 0,
                     .chance = metric == METRIC_FIRST ? lookup_chance(d, task) : NAN};
    for (size_t s = 0; s < d->n_series; s++) {
        ChartLine l = line_for(d, s, n);
        for (size_t i = 0; i < n; i++) {
            Estimate e;
            double trials;
            /* The mean over all depths, with Wilson's interval of their trials together. */
            if (lookup_pooled(d, task, s, lengths[i], metric, &e, &trials)) add_point(&l, lengths[i], &e);
        }
        if (l.n) c->lines[c->n_lines++] = l;
    }
    return c->n_lines > 0;
}

/* A recalibrated model has the colour of its series in the other charts. */
bool chart_recalibration(ReportData *d, const char *objective, LineChart *c) {
    *c = (LineChart){.title = *objective ? arena_printf(&d->arena, "Recalibration loss, %s", objective)
                                         : "Recalibration loss",
                     .x_label = "tokens seen",
                     .y_label = "loss",
                     .lines = lines_for(d, d->n_models),
                     .chance = NAN};
    for (size_t i = 0; i < d->n_models; i++) {
        const json_t *r = json_object_get(d->models[i].json, "recalibration");
        /* One line for each model that was trained with this objective. */
        if (!json_is_object(r) || strcmp(rows_string(r, "objective"), objective) != 0) continue;
        ChartLine l = {.label = d->models[i].name, .style = i};
        for (size_t s = d->n_series; s-- > 0;) /* the colour that the model has above */
            if (d->series[s].model == i) l.style = s;
        l.n = lookup_losses(d, &d->models[i], CHART_POINTS, &l.xs, &l.ys);
        if (l.n) c->lines[c->n_lines++] = l;
    }
    return c->n_lines > 0;
}
