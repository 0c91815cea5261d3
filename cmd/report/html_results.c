/* The sections of measurements: a chart each, and its numbers as a table. */
#include <math.h>
#include <string.h>

#include "cmd/report/html.h"
#include "cmd/report/report_text.h"
#include "cmd/report/svg.h"

enum { MAX_COLUMNS = 32, MAX_CURVE_ROWS = 24, MAX_TASKS = 12 };

/* The chart twice: the page shows the one that fits. */
static void figure(Page *p, LineChart *c, const char *caption) {
    Arena *a = &p->d.arena;
    if (c->n_lines > PAGE_SERIES) c->n_lines = PAGE_SERIES, p->left_out = true;
    if (!html_room(p, ROOM_CHARTS)) return;
    put(p->out, "<figure>\n<div class=\"wide\">");
    chart_lines(a, c, CHART_WIDE, arena_printf(a, "p%d", p->ids++), false, p->out);
    put(p->out, "</div>\n<div class=\"narrow\">");
    chart_lines(a, c, CHART_NARROW, arena_printf(a, "p%d", p->ids++), false, p->out);
    put(p->out, "</div>\n");
    if (caption) html_element(p, "figcaption", "note", caption);
    put(p->out, "</figure>\n");
}

/* A value with its interval under it. */
static void value_cell(Page *p, const Estimate *e, bool strong, const char *(*show)(Arena *a, double v)) {
    Arena *a = &p->d.arena;
    if (!e || isnan(e->value)) {
        put(p->out, "<td>\xe2\x80\x93</td>");
        return;
    }
    buffer_printf(p->out, strong ? "<td><strong>%s</strong>" : "<td>%s", show(a, e->value));
    if (rows_bounded(e))
        buffer_printf(p->out, "<small>%s\xe2\x80\x93%s</small>", show(a, e->low), show(a, e->high));
    put(p->out, "</td>");
}

static void row_head(Page *p, const char *label) {
    put(p->out, "<tr><th scope=\"row\">");
    text_xml(text_clip(&p->d.arena, label, 80), p->out);
    put(p->out, "</th>");
}

static void length_head(Page *p, const char *first, const double *lengths, size_t n) {
    Arena *a = &p->d.arena;
    buffer_printf(p->out, "<thead><tr><th scope=\"col\">%s</th>", first);
    for (size_t i = 0; i < n; i++) {
        buffer_printf(p->out, "<th scope=\"col\">%s", text_count(a, lengths[i]));
        if (p->d.context)
            buffer_printf(p->out, "<small>%s</small>", text_times(a, lengths[i] / p->d.context));
        put(p->out, "</th>");
    }
    put(p->out, "</tr></thead>\n<tbody>\n");
}

static size_t shown_series(Page *p) {
    if (p->d.n_series > PAGE_SERIES) p->left_out = true;
    return p->d.n_series < PAGE_SERIES ? p->d.n_series : PAGE_SERIES;
}

static size_t shown_columns(Page *p, size_t n) {
    if (n > MAX_COLUMNS) p->left_out = true;
    return n < MAX_COLUMNS ? n : MAX_COLUMNS;
}

static bool series_has_perplexity(const ReportData *d, size_t series) {
    for (size_t i = 0; i < d->n_perplexity; i++)
        if (d->perplexity[i].series == series) return true;
    return false;
}

static void perplexity_table(Page *p, const double *lengths, size_t n) {
    double lowest[MAX_COLUMNS];
    size_t n_series = shown_series(p);
    for (size_t i = 0; i < n; i++) {
        lowest[i] = INFINITY;
        for (size_t s = 0; s < p->d.n_series; s++) {
            const PerplexityRow *row = rows_perplexity(&p->d, s, lengths[i]);
            if (row) lowest[i] = fmin(lowest[i], row->perplexity.value);
        }
    }
    html_table_open(
        p, "Perplexity by context length, the lowest of each in bold; below it the 95\xc2\xa0% interval");
    length_head(p, "Tokens", lengths, n);
    for (size_t s = 0; s < n_series; s++) {
        if (!series_has_perplexity(&p->d, s)) continue;
        row_head(p, p->d.series[s].label);
        for (size_t i = 0; i < n; i++) {
            const PerplexityRow *row = rows_perplexity(&p->d, s, lengths[i]);
            value_cell(p, row ? &row->perplexity : NULL, row && row->perplexity.value == lowest[i],
                       text_value);
        }
        put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

static void number_cell(Page *p, double v, const char *(*show)(Arena *a, double v)) {
    buffer_printf(p->out, "<td>%s</td>", isnan(v) ? "\xe2\x80\x93" : show(&p->d.arena, v));
}

static void perplexity_rows(Page *p) {
    html_table_open(p, "What each number rests on");
    put(p->out,
        "<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Length</th><th scope=\"col\">Loss</th>"
        "<th scope=\"col\">Tokens</th><th scope=\"col\">Windows</th><th scope=\"col\">Softmax "
        "scale</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < p->d.n_perplexity && i < PAGE_ROWS; i++) {
        const PerplexityRow *row = &p->d.perplexity[i];
        row_head(p, p->d.series[row->series].label);
        number_cell(p, row->length, text_count);
        number_cell(p, row->nll, text_value);
        number_cell(p, row->tokens, text_count);
        number_cell(p, row->windows, text_count);
        number_cell(p, row->softmax_scale, text_value);
        put(p->out, "</tr>\n");
    }
    html_table_close(p);
    if (p->d.n_perplexity > PAGE_ROWS) p->left_out = true;
}

void html_perplexity(Page *p) {
    LineChart c;
    double *lengths;
    if (!chart_perplexity(&p->d, &c)) return;
    html_section(p, "Perplexity by length");
    bool bounded = false;
    for (size_t i = 0; i < p->d.n_perplexity; i++)
        bounded = bounded || rows_bounded(&p->d.perplexity[i].perplexity);
    figure(p, &c, bounded ? "Lower is better. Bands are 95\xc2\xa0% intervals." : "Lower is better.");
    size_t n = shown_columns(p, rows_perplexity_lengths(&p->d, &lengths));
    html_numbers_open(p, "Perplexity in numbers");
    perplexity_table(p, lengths, n);
    if (html_room(p, ROOM_TABLES)) perplexity_rows(p);
    html_numbers_close(p);
    put(p->out, "</section>\n");
}

/* Points down, lines across; long ones at some of their points only. */
static void curve_table(Page *p, const LineChart *c, const char *caption, const char *first) {
    size_t room = 1, n = 0;
    for (size_t i = 0; i < c->n_lines; i++)
        room += c->lines[i].n;
    double *xs = arena_alloc(&p->d.arena, room * sizeof *xs);
    for (size_t i = 0; i < c->n_lines; i++)
        for (size_t j = 0; j < c->lines[i].n; j++)
            xs[n++] = c->lines[i].xs[j];
    n = rows_distinct(xs, n);
    size_t every = (n + MAX_CURVE_ROWS - 1) / MAX_CURVE_ROWS;
    html_table_open(p, caption);
    buffer_printf(p->out, "<thead><tr><th scope=\"col\">%s</th>", first);
    for (size_t i = 0; i < c->n_lines; i++) {
        put(p->out, "<th scope=\"col\">");
        text_xml(text_clip(&p->d.arena, c->lines[i].label, 40), p->out);
        put(p->out, "</th>");
    }
    put(p->out, "</tr></thead>\n<tbody>\n");
    for (size_t k = 0; k < n; k++) {
        if (k % every && k + 1 != n) continue;
        row_head(p, text_count(&p->d.arena, xs[k]));
        for (size_t i = 0; i < c->n_lines; i++) {
            const ChartLine *l = &c->lines[i];
            double v = NAN;
            for (size_t j = 0; j < l->n; j++)
                if (l->xs[j] == xs[k]) v = l->ys[j];
            number_cell(p, v, text_value);
        }
        put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

void html_positions(Page *p) {
    LineChart c;
    double length;
    if (!chart_positions(&p->d, &c, &length)) return;
    html_section(p, "Loss by position");
    html_element(
        p, "p", NULL,
        arena_printf(&p->d.arena,
                     "In windows of %s tokens, the longest measured. A model that uses what it has read "
                     "gets better with position; one that cannot read so far gets worse past its training "
                     "length.",
                     text_count(&p->d.arena, length)));
    figure(p, &c, "Lower is better. Each point is the mean loss of the tokens since the point before.");
    if (html_room(p, ROOM_TABLES)) {
        html_numbers_open(p, "Loss by position in numbers");
        curve_table(p, &c, c.title, "Up to position");
        html_numbers_close(p);
    }
    put(p->out, "</section>\n");
}

/* ---- tasks ---- */

static const char *metric_name(int metric) {
    return metric == METRIC_SCORE ? "Exact answers" : "Right answer the likeliest";
}

static const char *metric_means(Page *p, size_t task, int metric) {
    if (metric == METRIC_SCORE) return "Share of trials whose greedy answer is right in every token.";
    double chance = rows_chance(&p->d, task);
    if (isnan(chance))
        return "Share of trials in which the right answer is likelier than every other candidate.";
    return arena_printf(
        &p->d.arena,
        "Share of trials in which the right answer is the likeliest of %s candidates; guessing "
        "reaches %s\xc2\xa0%%.",
        text_count(&p->d.arena, 1 / chance), text_share(&p->d.arena, chance));
}

static void task_length_table(Page *p, size_t task, int metric, const double *lengths, size_t n) {
    Arena *a = &p->d.arena;
    size_t n_series = shown_series(p);
    html_table_open(p, arena_printf(a, "%s, %s by context length in %%; below it the 95\xc2\xa0%% interval",
                                    text_clip(a, p->d.tasks[task], 60),
                                    metric == METRIC_SCORE ? "exact answers" : "right answer the likeliest"));
    length_head(p, "Tokens", lengths, n);
    for (size_t s = 0; s < n_series; s++) {
        row_head(p, p->d.series[s].label);
        for (size_t i = 0; i < n; i++) {
            Estimate e;
            double trials;
            bool any = rows_pooled(&p->d, task, s, lengths[i], metric, &e, &trials);
            value_cell(p, any ? &e : NULL, false, text_share);
        }
        put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

static void depth_table(Page *p, const Heatmap *h) {
    Arena *a = &p->d.arena;
    html_table_open(p,
                    arena_printf(a, "%s: %s in %% by depth and context length",
                                 text_clip(a, p->d.series[h->series].label, 60),
                                 h->metric == METRIC_SCORE ? "exact answers" : "right answer the likeliest"));
    length_head(p, "Depth", h->lengths, h->n_lengths);
    for (size_t j = 0; j < h->n_depths; j++) {
        row_head(p, arena_printf(a, "%s\xc2\xa0%%", text_share(a, h->depths[j])));
        for (size_t i = 0; i < h->n_lengths; i++) {
            const TaskRow *r = rows_cell(&p->d, h->task, h->series, h->lengths[i], h->depths[j]);
            value_cell(p, r ? &r->metric[h->metric] : NULL, false, text_share);
        }
        put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

/* The maps of one metric that there is room for; `shown` lists their series. */
static size_t maps(Page *p, Heatmap *h, size_t *shown) {
    size_t n = 0, drawn = 0;
    bool any = h->n_lengths && h->n_depths;
    for (size_t s = 0; s < shown_series(p) && any; s++) {
        h->series = s;
        if (heatmap_any(&p->d, h)) shown[n++] = s;
    }
    if (!n || !html_room(p, ROOM_MAPS)) return 0;
    put(p->out, "<p class=\"note\">Context length across (");
    put(p->out, "1k is 1024 tokens), depth of the answer in it down, share of trials in %.</p>\n");
    svg_open(p->out, 260, 16, arena_printf(&p->d.arena, "p%d", p->ids++), "Shades", "From 0 to 100 percent.",
             false);
    svg_shades(p->out, 0, 0);
    svg_close(p->out);
    put(p->out, "<div class=\"maps\">\n");
    for (; drawn < n && html_room(p, ROOM_MAPS); drawn++) {
        size_t i = drawn;
        h->series = shown[i];
        const char *label = p->d.series[shown[i]].label;
        put(p->out, "<figure>");
        html_element(p, "figcaption", NULL, text_clip(&p->d.arena, label, 60));
        heatmap_svg(&p->d, h, arena_printf(&p->d.arena, "%s, %s", label, metric_name(h->metric)),
                    arena_printf(&p->d.arena, "p%d", p->ids++), p->out);
        put(p->out, "</figure>\n");
    }
    put(p->out, "</div>\n");
    return drawn;
}

static void metric(Page *p, size_t task, int which) {
    LineChart c;
    double *lengths, *depths;
    Arena *a = &p->d.arena;
    if (!rows_has_metric(&p->d, task, which) || !chart_task(&p->d, task, which, &c)) return;
    size_t n = shown_columns(p, rows_task_lengths(&p->d, task, &lengths));
    size_t n_depths = rows_task_depths(&p->d, task, &depths);
    size_t *shown = arena_alloc(a, (PAGE_SERIES + 1) * sizeof *shown);
    html_element(p, "h3", NULL, metric_name(which));
    html_element(p, "p", "note", metric_means(p, task, which));
    figure(p, &c,
           n_depths > 1 ? "Higher is better. All depths together; bands are 95\xc2\xa0% intervals."
                        : "Higher is better. Bands are 95\xc2\xa0% intervals.");
    Heatmap h = {task, 0, which, lengths, depths, n, n_depths < MAX_COLUMNS ? n_depths : MAX_COLUMNS};
    size_t n_maps = maps(p, &h, shown);
    if (!html_room(p, ROOM_MAPS)) return;
    html_numbers_open(p, arena_printf(a, "%s in numbers", metric_name(which)));
    task_length_table(p, task, which, lengths, n);
    for (size_t i = 0; i < n_maps && html_room(p, ROOM_TABLES); i++) {
        h.series = shown[i];
        depth_table(p, &h);
    }
    html_numbers_close(p);
}

/* "20 trials each" where they all are. */
static const char *trials_each(Page *p, size_t task) {
    double trials = NAN;
    for (size_t i = 0; i < p->d.n_rows; i++) {
        if (p->d.rows[i].task != task) continue;
        if (isnan(p->d.rows[i].trials) || (!isnan(trials) && trials != p->d.rows[i].trials)) return NULL;
        trials = p->d.rows[i].trials;
    }
    return arena_printf(&p->d.arena, "%s trials for each model, method, length and depth.",
                        text_count(&p->d.arena, trials));
}

void html_tasks(Page *p) {
    for (size_t t = 0; t < p->d.n_tasks && t < MAX_TASKS; t++) {
        const char *each = trials_each(p, t);
        html_section(p, arena_printf(&p->d.arena, "Task: %s", text_clip(&p->d.arena, p->d.tasks[t], 60)));
        if (each) html_element(p, "p", "note", each);
        for (int m = 0; m < METRICS; m++)
            metric(p, t, m);
        put(p->out, "</section>\n");
    }
    if (p->d.n_tasks > MAX_TASKS) p->left_out = true;
}

/* ---- recalibration ---- */

static void recalibration_table(Page *p) {
    bool any = false;
    Arena *a = &p->d.arena;
    for (size_t i = 0; i < p->d.n_models && i < PAGE_SERIES; i++) {
        const json_t *r = json_object_get(p->d.models[i].json, "recalibration");
        if (!json_is_object(r)) continue;
        if (!any) {
            html_table_open(p, "Recalibrations");
            put(p->out, "<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Objective</th><th "
                        "scope=\"col\">Tokens seen</th><th scope=\"col\">Time</th></tr></thead>\n<tbody>\n");
        }
        any = true;
        double tokens = rows_number(r, "tokens_seen"), seconds = rows_number(r, "seconds");
        row_head(p, p->d.models[i].name);
        put(p->out, "<td>");
        text_xml(text_clip(a, rows_string(r, "objective"), 40), p->out);
        put(p->out, "</td>");
        number_cell(p, tokens, text_count);
        number_cell(p, seconds >= 0 ? seconds : NAN, text_seconds);
        put(p->out, "</tr>\n");
    }
    if (any) html_table_close(p);
}

/* Objectives are different quantities, so each has a chart. False if it was drawn for an earlier model. */
static bool new_objective(const Page *p, size_t model, const char **objective) {
    const json_t *r = json_object_get(p->d.models[model].json, "recalibration");
    if (!json_is_object(r)) return false;
    *objective = rows_string(r, "objective");
    for (size_t i = 0; i < model; i++) {
        const json_t *other = json_object_get(p->d.models[i].json, "recalibration");
        if (json_is_object(other) && !strcmp(rows_string(other, "objective"), *objective)) return false;
    }
    return true;
}

void html_recalibration(Page *p) {
    bool begun = false;
    for (size_t i = 0; i < p->d.n_models && i < PAGE_SERIES; i++) {
        const char *objective;
        LineChart c;
        if (!new_objective(p, i, &objective)) continue;
        if (!begun) html_section(p, "Recalibration");
        begun = true;
        if (!chart_recalibration(&p->d, objective, &c)) continue;
        bool thinned = false;
        for (size_t k = 0; k < p->d.n_models; k++) {
            const json_t *o = json_object_get(p->d.models[k].json, "recalibration");
            thinned = thinned || json_array_size(json_object_get(o, "losses")) > CHART_POINTS;
        }
        html_element(p, "h3", NULL, text_clip(&p->d.arena, c.title, 80));
        figure(p, &c,
               thinned ? "Losses of training batches; neighbours are averaged to fit."
                       : "Losses of training batches.");
        if (!html_room(p, ROOM_MAPS)) continue;
        html_numbers_open(p, "Losses in numbers");
        for (size_t k = 0; k < c.n_lines; k++) {
            LineChart one = c;
            one.lines = &c.lines[k];
            one.n_lines = 1;
            curve_table(p, &one, "Loss by tokens seen", "Tokens");
        }
        html_numbers_close(p);
    }
    if (!begun) return;
    recalibration_table(p);
    put(p->out, "</section>\n");
}
