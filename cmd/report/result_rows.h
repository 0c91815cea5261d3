/* The results of an evaluation as typed rows. Page, card, CSV and pictures are made from these rows, never
 * from the JSON itself, so this is the one place that decides what in a file of results can be used.
 *
 * Results may come from a file that somebody edited: any part may be absent, of the wrong type or out of
 * range. A row that cannot be used is left out; a number that cannot be used becomes NAN. The strings are not
 * trusted either: report_text.h escapes them for each format. Look-ups over the rows are in result_lookup.h.
 */
#ifndef DEROPE_CMD_REPORT_RESULT_ROWS_H
#define DEROPE_CMD_REPORT_RESULT_ROWS_H

#include <jansson.h>

#include "formats/buffer.h"

typedef struct Estimate {
    double value;     /* NAN: not measured */
    double low, high; /* 95 % interval around `value`; both NAN: there is no interval */
} Estimate;

typedef struct ReportModel {
    const json_t *json; /* its entry in "models"; NULL if that entry is not an object */
    const char *name;   /* made distinct from the names before it; model N if it has none */
    double context;     /* trained context in tokens; 0: unknown */
} ReportModel;

/* A model under one context-extension method: a line of a chart, a row of a table. */
typedef struct ReportSeries {
    size_t model;       /* index into ReportData.models */
    const char *method; /* as results name it; "none": the unchanged model */
    const char *label;  /* for people: "model" or "model + YaRN" */
    size_t dash;        /* number of the method in order of appearance; 0: the unchanged model */
} ReportSeries;

typedef struct PerplexityRow {
    size_t series;           /* index into ReportData.series */
    double length;           /* in tokens */
    double nll;              /* mean loss in nats per token, or NAN */
    double tokens, windows;  /* how many were scored, or NAN */
    double softmax_scale;    /* factor on the softmax scale of every layer, or NAN */
    Estimate perplexity;     /* above 0 */
    const json_t *positions; /* loss by position, [{"to", "nll"}]; NULL: not measured */
} PerplexityRow;

/* The two ways in which a task is scored, as indices into TaskRow.metric. */
enum {
    METRIC_SCORE, /* share of answers that the greedy continuation contains */
    METRIC_FIRST, /* share of questions whose right candidate was the likeliest */
    METRICS
};

typedef struct TaskRow {
    size_t series;            /* index into ReportData.series */
    size_t task;              /* index into ReportData.tasks */
    double length;            /* in tokens */
    double depth;             /* of the needle, 0 to 1; NAN: the task has no depth */
    double trials;            /* questions asked, or NAN */
    double mean_rank;         /* of the right candidate, 1 being the likeliest, or NAN */
    double candidates;        /* to choose from, or NAN */
    Estimate metric[METRICS]; /* shares, 0 to 1 */
} TaskRow;

typedef struct ReportData {
    Arena arena;               /* owns everything below, and what look-ups and labels allocate */
    const json_t *results;     /* borrowed */
    ReportModel *models;       /* (n_models), in the order of results */
    ReportSeries *series;      /* (n_series), series of one model beside each other */
    PerplexityRow *perplexity; /* (n_perplexity), ordered by series and then by length */
    TaskRow *task_rows;        /* (n_task_rows), in the order of results */
    const char **tasks;        /* (n_tasks) names, in order of appearance */
    size_t n_models, n_series, n_perplexity, n_task_rows, n_tasks;
    double context; /* the trained context that all models with a series share; 0: they differ, or it is
                       unknown */
} ReportData;

/* Reads `results` (borrowed until rows_free; may be NULL or of any type). */
void rows_read(const json_t *results, ReportData *d);
void rows_free(ReportData *d);

/* The number under `key`; NAN if it is absent, not a number, or too large to draw. */
double rows_number(const json_t *object, const char *key);
/* A number by itself; NAN if it is not a number or too large to draw. */
double rows_value(const json_t *number);
/* The string under `key`; "" if it is absent or not a string. */
const char *rows_string(const json_t *object, const char *key);
/* Whether the estimate has an interval. */
bool rows_bounded(const Estimate *e);

#endif
