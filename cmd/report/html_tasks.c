/* The sections on tasks of the page (html_tasks.h), one for each task. A task may have two metrics, exact
 * answers and the rank of the right candidate; each has a chart over length, a heatmap of length by depth
 * for each series, and closed tables of the numbers. Pictures are left out once the page has grown to its
 * limit, tables before that. */
#include "cmd/report/html_tasks.h"

#include <math.h>

#include "cmd/report/heatmap.h"
#include "cmd/report/html_numbers.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_charts.h"
#include "cmd/report/result_lookup.h"
#include "cmd/report/svg.h"

enum { MAX_TASKS = 12 };

/* ---- metrics ---- */

/* The heading of a metric, also used in captions. */
static const char *metric_name(int metric) {
    return metric == METRIC_SCORE ? "Exact answers" : "Right answer ranked first";
}

/* A sentence that says what the metric counts, and what guessing would reach. */
static const char *metric_means(Page *p, size_t task, int metric) {
    if (metric == METRIC_SCORE)
        return "Share of answers that the model gives exactly when it continues the text greedily.";
    double chance = lookup_chance(&p->d, task);
    if (isnan(chance))
        return "Share of questions whose right answer is more likely than every other candidate.";
    return arena_printf(&p->d.arena,
                        "Share of questions whose right answer is the most likely of %s candidates; guessing "
                        "reaches %s\xc2\xa0%%.",
                        text_count(&p->d.arena, 1 / chance), text_share(&p->d.arena, chance));
}

/* ---- tables ---- */

/* A row for each series, a column for each length, over all depths. */
static void task_length_table(Page *p, size_t task, int metric, const double *lengths, size_t n) {
    Arena *a = &p->d.arena;
    size_t n_series = html_shown_series(p);
    html_table_open(p, arena_printf(a, "%s, %s by context length in %%; below it the 95\xc2\xa0%% interval",
                                    text_clip(a, p->d.tasks[task], 60),
                                    metric == METRIC_SCORE ? "exact answers" : "right answer ranked first"));
    html_length_head(p, "Tokens", lengths, n);
    for (size_t s = 0; s < n_series; s++) {
        html_row_head(p, p->d.series[s].label);
        for (size_t i = 0; i < n; i++) {
            Estimate e;
            double trials;
            /* Depths are pooled; false means that this series was not measured here. */
            bool any = lookup_pooled(&p->d, task, s, lengths[i], metric, &e, &trials);
            html_value_cell(p, any ? &e : NULL, false, text_share);
        }
        text_put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

/* One series: a row for each depth, a column for each length. */
static void depth_table(Page *p, const Heatmap *h) {
    Arena *a = &p->d.arena;
    html_table_open(p,
                    arena_printf(a, "%s: %s in %% by depth and context length",
                                 text_clip(a, p->d.series[h->series].label, 60),
                                 h->metric == METRIC_SCORE ? "exact answers" : "right answer ranked first"));
    html_length_head(p, "Depth", h->lengths, h->n_lengths);
    for (size_t j = 0; j < h->n_depths; j++) {
        html_row_head(p, arena_printf(a, "%s\xc2\xa0%%", text_share(a, h->depths[j])));
        for (size_t i = 0; i < h->n_lengths; i++) {
            /* One cell is one row of the results; NULL where this depth was not measured at this length. */
            const TaskRow *r = lookup_task_row(&p->d, h->task, h->series, h->lengths[i], h->depths[j]);
            html_value_cell(p, r ? &r->metric[h->metric] : NULL, false, text_share);
        }
        text_put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

/* ---- maps ---- */

/* Draws a map for each series that has one, as long as there is room. `shown` (PAGE_SERIES) is filled with
 * the series of the maps that were drawn; returns how many. */
static size_t maps(Page *p, Heatmap *h, size_t *shown) {
    size_t n = 0, drawn = 0;
    /* Which series have a map at all: a task without depth has none. */
    bool any = h->n_lengths && h->n_depths;
    for (size_t s = 0; s < html_shown_series(p) && any; s++) {
        h->series = s;
        if (heatmap_any(&p->d, h)) shown[n++] = s;
    }
    if (!n || !html_room(p, ROOM_MAPS)) return 0;
    text_put(p->out, "<p class=\"note\">Context length across (");
    text_put(p->out, "1k is 1024 tokens), depth of the answer in it down, share of trials in %.</p>\n");
    /* One key to the shades serves all maps. */
    svg_open(p->out, 260, 16, html_id(p), "Shades", "From 0 to 100 percent.", false);
    svg_shades(p->out, 0, 0);
    svg_close(p->out);
    text_put(p->out, "<div class=\"maps\">\n");
    for (; drawn < n && html_room(p, ROOM_MAPS); drawn++) {
        size_t i = drawn;
        h->series = shown[i];
        const char *label = p->d.series[shown[i]].label;
        text_put(p->out, "<figure>");
        html_element(p, "figcaption", NULL, text_clip(&p->d.arena, label, 60));
        heatmap_svg(&p->d, h, arena_printf(&p->d.arena, "%s, %s", label, metric_name(h->metric)), html_id(p),
                    p->out);
        text_put(p->out, "</figure>\n");
    }
    text_put(p->out, "</div>\n");
    return drawn;
}

/* ---- sections ---- */

/* Everything about one metric of a task: its meaning, the chart over all depths, the maps, and closed tables
 * of the numbers. */
static void metric(Page *p, size_t task, int which) {
    LineChart c;
    double *lengths, *depths;
    Arena *a = &p->d.arena;
    if (!lookup_has_metric(&p->d, task, which) || !chart_task(&p->d, task, which, &c)) return;
    size_t n = html_shown_columns(p, lookup_task_lengths(&p->d, task, &lengths));
    size_t n_depths = lookup_task_depths(&p->d, task, &depths);
    size_t *shown = arena_alloc(a, (PAGE_SERIES + 1) * sizeof *shown);
    /* First what the metric means, then the chart over all depths. */
    html_element(p, "h3", NULL, metric_name(which));
    html_element(p, "p", "note", metric_means(p, task, which));
    html_figure(p, &c,
                n_depths > 1 ? "Higher is better. All depths together; bands are 95\xc2\xa0% intervals."
                             : "Higher is better. Bands are 95\xc2\xa0% intervals.");
    /* Then the maps; the series is set for each map as it is drawn. */
    Heatmap h = {task, 0, which, lengths, depths, n, n_depths < PAGE_COLUMNS ? n_depths : PAGE_COLUMNS};
    size_t n_maps = maps(p, &h, shown);
    if (!html_room(p, ROOM_MAPS)) return;
    /* Last the numbers, those of maps only for series whose map was drawn. */
    html_details_open(p, arena_printf(a, "%s in numbers", metric_name(which)));
    task_length_table(p, task, which, lengths, n);
    for (size_t i = 0; i < n_maps && html_room(p, ROOM_TABLES); i++) {
        h.series = shown[i];
        depth_table(p, &h);
    }
    html_details_close(p);
}

/* How many trials each number rests on; NULL if that is unknown or differs. */
static const char *trials_each(Page *p, size_t task) {
    double trials = NAN;
    for (size_t i = 0; i < p->d.n_task_rows; i++) {
        if (p->d.task_rows[i].task != task) continue;
        if (isnan(p->d.task_rows[i].trials) || (!isnan(trials) && trials != p->d.task_rows[i].trials))
            return NULL;
        trials = p->d.task_rows[i].trials;
    }
    return arena_printf(&p->d.arena, "%s trials for each model, method, length and depth.",
                        text_count(&p->d.arena, trials));
}

/* Tasks beyond the limit are in the CSV alone. */
void html_tasks(Page *p) {
    for (size_t t = 0; t < p->d.n_tasks && t < MAX_TASKS; t++) {
        /* The number of trials is given once for the section where it is the same for all rows. */
        const char *each = trials_each(p, t);
        html_section(p, arena_printf(&p->d.arena, "Task: %s", text_clip(&p->d.arena, p->d.tasks[t], 60)));
        if (each) html_element(p, "p", "note", each);
        for (int m = 0; m < METRICS; m++)
            metric(p, t, m);
        text_put(p->out, "</section>\n");
    }
    if (p->d.n_tasks > MAX_TASKS) p->left_out = true;
}
