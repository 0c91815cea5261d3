/* The sections on perplexity of the page (html_perplexity.h): perplexity by context length, and loss by
 * position in the longest windows. Each has a chart (result_charts.c) and closed tables of the numbers
 * (html_numbers.c). A section is left out if results have no rows for it. */
#include "cmd/report/html_perplexity.h"

#include <math.h>

#include "cmd/report/html_numbers.h"
#include "cmd/report/report_text.h"
#include "cmd/report/result_charts.h"
#include "cmd/report/result_lookup.h"

/* Whether the perplexity of a series was measured. A series that was only measured by tasks has no row in
 * these tables. */
static bool series_has_perplexity(const ReportData *d, size_t series) {
    for (size_t i = 0; i < d->n_perplexity; i++)
        if (d->perplexity[i].series == series) return true;
    return false;
}

/* Writes a table with a row for each series and a column for each length. The lowest value of each column is
 * bold; it is the lowest of all series, including series that the table has no room for. */
static void perplexity_table(Page *p, const double *lengths, size_t n) {
    /* First find the lowest value of each column, which the table shows in bold. */
    double lowest[PAGE_COLUMNS];
    size_t n_series = html_shown_series(p);
    for (size_t i = 0; i < n; i++) {
        lowest[i] = INFINITY;
        for (size_t s = 0; s < p->d.n_series; s++) {
            const PerplexityRow *row = lookup_perplexity(&p->d, s, lengths[i]);
            if (row) lowest[i] = fmin(lowest[i], row->perplexity.value);
        }
    }
    html_table_open(
        p, "Perplexity by context length, the lowest of each in bold; below it the 95\xc2\xa0% interval");
    html_length_head(p, "Tokens", lengths, n);
    /* Then the table; a dash stands where a series was not measured at a length. */
    for (size_t s = 0; s < n_series; s++) {
        if (!series_has_perplexity(&p->d, s)) continue;
        html_row_head(p, p->d.series[s].label);
        for (size_t i = 0; i < n; i++) {
            const PerplexityRow *row = lookup_perplexity(&p->d, s, lengths[i]);
            html_value_cell(p, row ? &row->perplexity : NULL, row && row->perplexity.value == lowest[i],
                            text_value);
        }
        text_put(p->out, "</tr>\n");
    }
    html_table_close(p);
}

/* Writes a table with a row for each measurement and the number of tokens and windows that it was computed
 * from. */
static void perplexity_rows(Page *p) {
    /* The loss in nats is the logarithm of the perplexity; tokens and windows say how much text it was
     * measured on. */
    html_table_open(p, "Tokens and windows behind each number");
    text_put(p->out,
             "<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Length</th><th scope=\"col\">Loss</th>"
             "<th scope=\"col\">Tokens</th><th scope=\"col\">Windows</th><th scope=\"col\">Softmax "
             "scale</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < p->d.n_perplexity && i < PAGE_ROWS; i++) {
        const PerplexityRow *row = &p->d.perplexity[i];
        html_row_head(p, p->d.series[row->series].label);
        html_number_cell(p, row->length, text_count);
        html_number_cell(p, row->nll, text_value);
        html_number_cell(p, row->tokens, text_count);
        html_number_cell(p, row->windows, text_count);
        html_number_cell(p, row->softmax_scale, text_value);
        text_put(p->out, "</tr>\n");
    }
    html_table_close(p);
    if (p->d.n_perplexity > PAGE_ROWS) p->left_out = true;
}

/* Writes the chart, then the tables in a closed <details> element. */
void html_perplexity(Page *p) {
    LineChart c;
    double *lengths;
    if (!chart_perplexity(&p->d, &c)) return;
    html_section(p, "Perplexity by length");
    /* The caption speaks of bands only if the chart has any. */
    bool bounded = false;
    for (size_t i = 0; i < p->d.n_perplexity; i++)
        bounded = bounded || rows_bounded(&p->d.perplexity[i].perplexity);
    html_figure(p, &c, bounded ? "Lower is better. Bands are 95\xc2\xa0% intervals." : "Lower is better.");
    size_t n = html_shown_columns(p, lookup_perplexity_lengths(&p->d, &lengths));
    html_details_open(p, "Perplexity in numbers");
    perplexity_table(p, lengths, n);
    if (html_room(p, ROOM_TABLES)) perplexity_rows(p);
    html_details_close(p);
    text_put(p->out, "</section>\n");
}

/* Perplexity is an average over whole windows. The loss by position shows at which position in a window the
 * predictions of a model get worse. */
void html_positions(Page *p) {
    LineChart c;
    double length;
    if (!chart_positions(&p->d, &c, &length)) return;
    html_section(p, "Loss by position");
    html_element(
        p, "p", NULL,
        arena_printf(
            &p->d.arena,
            "In windows of %s tokens, the longest measured. The loss of a model that uses what it has "
            "read falls with position; that of a model that cannot read so far rises beyond its "
            "training length.",
            text_count(&p->d.arena, length)));
    html_figure(p, &c, "Lower is better. Each point is the mean loss of the tokens since the point before.");
    if (html_room(p, ROOM_TABLES)) {
        html_details_open(p, "Loss by position in numbers");
        html_curve_table(p, &c, c.title, "Up to position");
        html_details_close(p);
    }
    text_put(p->out, "</section>\n");
}
