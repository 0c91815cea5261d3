/* Writing results as CSV (report_csv.h), for spreadsheets and scripts: one line for each number, in the long
 * format ("tidy data"), with the columns that do not apply to it left empty. The table column says which
 * kind of row a line comes from. The page and its charts leave out what does not fit; this file has
 * everything that ReportData holds. */
#include "cmd/report/report_csv.h"

#include <math.h>

#include "cmd/report/report_text.h"
#include "cmd/report/result_lookup.h"
#include "formats/json.h"

/* The columns that say what was measured. A number that is NAN becomes an empty field. */
typedef struct Line {
    /* "perplexity", "position", "task" or "recalibration"; the label of the model; the context-extension
     * method; the task or the objective. */
    const char *table, *model, *method, *task;
    double softmax_scale;
    double length;   /* tokens */
    double context;  /* training length in tokens, for the column times_context; 0: unknown */
    double depth;    /* 0 to 1 */
    double position; /* tokens */
} Line;

/* Appends a number: an integer without a decimal point, other numbers with enough digits to recover the same
 * double. */
static void number(double v, Buffer *out) {
    if (isnan(v)) return;
    /* The JSON writer prints reals with enough digits to read the same value back. */
    json_t *n = v == floor(v) && fabs(v) < 1e15 ? json_integer((json_int_t)v) : json_real(v);
    json_print(n, 0, out);
    json_decref(n);
}

/* Appends a line, unless the value is missing. */
static void line(const Line *l, const char *metric, const Estimate *e, double n, Buffer *out) {
    if (isnan(e->value)) return;
    /* The order of these two lists is the order of the columns. */
    double times = l->context > 0 ? l->length / l->context : NAN;
    double before[] = {l->length, times, l->depth, l->position}, after[] = {e->value, e->low, e->high, n};
    text_put(out, l->table);
    buffer_byte(out, ',');
    text_csv(l->model, out);
    buffer_byte(out, ',');
    text_csv(l->method, out);
    buffer_byte(out, ',');
    number(l->softmax_scale, out);
    buffer_byte(out, ',');
    text_csv(l->task, out);
    for (size_t i = 0; i < 4; i++) {
        buffer_byte(out, ',');
        number(before[i], out);
    }
    buffer_printf(out, ",%s", metric);
    for (size_t i = 0; i < 4; i++) {
        buffer_byte(out, ',');
        number(after[i], out);
    }
    buffer_byte(out, '\n');
}

/* A value without a confidence interval. */
static Estimate only(double v) {
    return (Estimate){v, NAN, NAN};
}

/* Fills the columns that perplexity rows and task rows have in common. */
static Line line_of(const ReportData *d, const char *table, size_t series, double length) {
    const ReportSeries *s = &d->series[series];
    const ReportModel *m = &d->models[s->model];
    return (Line){.table = table,
                  .model = m->name,
                  .method = s->method,
                  .task = "",
                  .softmax_scale = NAN,
                  .length = length,
                  .context = m->context,
                  .depth = NAN,
                  .position = NAN};
}

/* Appends all perplexities and losses (table "perplexity"), then the loss by position (table "position"). */
static void perplexity_lines(ReportData *d, Buffer *out) {
    for (size_t i = 0; i < d->n_perplexity; i++) {
        const PerplexityRow *row = &d->perplexity[i];
        Line l = line_of(d, "perplexity", row->series, row->length);
        l.softmax_scale = row->softmax_scale;
        Estimate nll = only(row->nll);
        line(&l, "perplexity", &row->perplexity, row->tokens, out);
        line(&l, "nll", &nll, row->tokens, out);
    }
    for (size_t i = 0; i < d->n_perplexity; i++) {
        /* The curve of this row: one line for each of its points, none of them left out (SIZE_MAX). */
        const PerplexityRow *row = &d->perplexity[i];
        Line l = line_of(d, "position", row->series, row->length);
        l.softmax_scale = row->softmax_scale;
        double *xs, *ys;
        size_t n = lookup_positions(d, row, SIZE_MAX, &xs, &ys);
        for (size_t k = 0; k < n; k++) {
            Estimate nll = only(ys[k]);
            l.position = xs[k];
            line(&l, "nll", &nll, NAN, out);
        }
    }
}

/* Appends up to four lines for each task row. `line` skips metrics that the row does not have. */
static void task_lines(const ReportData *d, Buffer *out) {
    for (size_t i = 0; i < d->n_task_rows; i++) {
        const TaskRow *row = &d->task_rows[i];
        Line l = line_of(d, "task", row->series, row->length);
        l.task = d->tasks[row->task];
        l.depth = row->depth;
        /* The two shares have intervals, mean rank and number of candidates do not. */
        Estimate rank = only(row->mean_rank), candidates = only(row->candidates);
        line(&l, "score", &row->metric[METRIC_SCORE], row->trials, out);
        line(&l, "first", &row->metric[METRIC_FIRST], row->trials, out);
        line(&l, "mean_rank", &rank, row->trials, out);
        line(&l, "candidates", &candidates, row->trials, out);
    }
}

/* Appends the training loss of each model. In these lines the column `task` has the training objective, and
 * `n` the number of tokens that had been trained on when the loss was measured. */
static void recalibration_lines(ReportData *d, Buffer *out) {
    for (size_t i = 0; i < d->n_models; i++) {
        const ReportModel *m = &d->models[i];
        const char *objective = rows_string(json_object_get(m->json, "recalibration"), "objective");
        Line l = {"recalibration", m->name, "", objective, NAN, NAN, NAN, NAN, NAN};
        double *xs, *ys;
        size_t n = lookup_losses(d, m, SIZE_MAX, &xs, &ys);
        for (size_t k = 0; k < n; k++) {
            Estimate loss = only(ys[k]);
            line(&l, "loss", &loss, xs[k], out);
        }
    }
}

/* Unlike the HTML page, the CSV has no limit on the number of rows. */
void report_csv(const json_t *results, Buffer *out) {
    ReportData d;
    rows_read(results, &d);
    text_put(out,
             "table,model,method,softmax_scale,task,length,times_context,depth,position,metric,value,low,"
             "high,n\n");
    perplexity_lines(&d, out);
    task_lines(&d, out);
    recalibration_lines(&d, out);
    rows_free(&d);
}
