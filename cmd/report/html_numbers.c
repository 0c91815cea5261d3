/* Charts and tables of numbers for the page (html_numbers.h), shared by its sections on perplexity, tasks
 * and recalibration. The page has limits (html.h): series, columns and rows beyond them are left out,
 * `left_out` is set, and the footer then points to the CSV, which has every number. */
#include "cmd/report/html_numbers.h"

#include <math.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"

/* Rows of the table of a curve, the last one apart; longer curves are listed at every k-th point. */
enum { MAX_CURVE_ROWS = 24 };

/* Series beyond the limit are in the CSV alone; the footer says so. */
size_t html_shown_series(Page *p) {
    if (p->d.n_series > PAGE_SERIES) p->left_out = true;
    return p->d.n_series < PAGE_SERIES ? p->d.n_series : PAGE_SERIES;
}

/* Like series, lengths beyond the limit are in the CSV alone. */
size_t html_shown_columns(Page *p, size_t n) {
    if (n > PAGE_COLUMNS) p->left_out = true;
    return n < PAGE_COLUMNS ? n : PAGE_COLUMNS;
}

/* Each chart is drawn twice, because text inside an SVG that is scaled down to a phone becomes unreadable.
 * The style sheet hides one of the two by the width of the screen. */
void html_figure(Page *p, LineChart *c, const char *caption) {
    Arena *a = &p->d.arena;
    /* A chart with more lines than that could not be read; the rest is in the CSV. */
    if (c->n_lines > PAGE_SERIES) c->n_lines = PAGE_SERIES, p->left_out = true;
    if (!html_room(p, ROOM_CHARTS)) return;
    /* The two drawings have ids of their own, because both are in the page at the same time. */
    text_put(p->out, "<figure>\n<div class=\"wide\">");
    line_chart_draw(a, c, CHART_WIDE, html_id(p), false, p->out);
    text_put(p->out, "</div>\n<div class=\"narrow\">");
    line_chart_draw(a, c, CHART_NARROW, html_id(p), false, p->out);
    text_put(p->out, "</div>\n");
    if (caption) html_element(p, "figcaption", "note", caption);
    text_put(p->out, "</figure>\n");
}

/* If all models share a training length, each length also says how many times that it is. */
void html_length_head(Page *p, const char *first, const double *lengths, size_t n) {
    Arena *a = &p->d.arena;
    buffer_printf(p->out, "<thead><tr><th scope=\"col\">%s</th>", first);
    for (size_t i = 0; i < n; i++) {
        buffer_printf(p->out, "<th scope=\"col\">%s", text_count(a, lengths[i]));
        if (p->d.context)
            buffer_printf(p->out, "<small>%s</small>", text_times(a, lengths[i] / p->d.context));
        text_put(p->out, "</th>");
    }
    text_put(p->out, "</tr></thead>\n<tbody>\n");
}

/* The interval stands below the value in small type, so that columns stay narrow. */
void html_value_cell(Page *p, const Estimate *e, bool strong, const char *(*show)(Arena *a, double v)) {
    Arena *a = &p->d.arena;
    if (!e || isnan(e->value)) {
        text_put(p->out, "<td>\xe2\x80\x93</td>");
        return;
    }
    /* `show` formats value and bounds alike. */
    buffer_printf(p->out, strong ? "<td><strong>%s</strong>" : "<td>%s", show(a, e->value));
    if (rows_bounded(e))
        buffer_printf(p->out, "<small>%s\xe2\x80\x93%s</small>", show(a, e->low), show(a, e->high));
    text_put(p->out, "</td>");
}

/* The dash keeps an unmeasured number apart from a zero. */
void html_number_cell(Page *p, double v, const char *(*show)(Arena *a, double v)) {
    buffer_printf(p->out, "<td>%s</td>", isnan(v) ? "\xe2\x80\x93" : show(&p->d.arena, v));
}

void html_curve_table(Page *p, const LineChart *c, const char *caption, const char *first) {
    /* Collect the x of all lines: curves of different models need not have the same points. */
    size_t room = 1, n = 0;
    for (size_t i = 0; i < c->n_lines; i++)
        room += c->lines[i].n;
    double *xs = arena_alloc(&p->d.arena, room * sizeof *xs);
    for (size_t i = 0; i < c->n_lines; i++)
        for (size_t j = 0; j < c->lines[i].n; j++)
            xs[n++] = c->lines[i].xs[j];
    n = lookup_distinct(xs, n);
    /* Long curves are listed at every k-th x, and always at the last. */
    size_t every = (n + MAX_CURVE_ROWS - 1) / MAX_CURVE_ROWS;
    html_table_open(p, caption);
    buffer_printf(p->out, "<thead><tr><th scope=\"col\">%s</th>", first);
    for (size_t i = 0; i < c->n_lines; i++) {
        text_put(p->out, "<th scope=\"col\">");
        text_xml(text_clip(&p->d.arena, c->lines[i].label, 40), p->out);
        text_put(p->out, "</th>");
    }
    text_put(p->out, "</tr></thead>\n<tbody>\n");
    for (size_t k = 0; k < n; k++) {
        if (k % every && k + 1 != n) continue;
        html_row_head(p, text_count(&p->d.arena, xs[k]));
        for (size_t i = 0; i < c->n_lines; i++) {
            const ChartLine *l = &c->lines[i];
            /* A line without a point at this x gets a dash. */
            double v = NAN;
            for (size_t j = 0; j < l->n; j++)
                if (l->xs[j] == xs[k]) v = l->ys[j];
            html_number_cell(p, v, text_value);
        }
        text_put(p->out, "</tr>\n");
    }
    html_table_close(p);
}
