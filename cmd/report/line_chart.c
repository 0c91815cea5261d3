/* Drawing a line chart as SVG (line_chart.h): frame_of lays it out, and the other functions draw one part
 * each with the primitives of svg.c. Charts are made by result_charts.c. There are no font metrics here, so
 * widths of labels are estimated from their number of columns. */
#include "cmd/report/line_chart.h"

#include <math.h>
#include <stdlib.h>

#include "cmd/report/report_text.h"
#include "cmd/report/scale.h"
#include "cmd/report/svg.h"

enum {
    LABEL_COLUMNS = 26, /* longer labels are clipped */
    LINE_HEIGHT = 16,   /* of labels, in pixels */
    MAX_DIRECT = 14,    /* lines that can have their labels beside their ends */
    MAX_TICKS = 24
};
#define COLUMN 6.6 /* width of a character at 12 px, on the generous side; there are no font metrics here */

/* The layout of a chart, in pixels. */
typedef struct Frame {
    const LineChart *c;
    Scale x, y;
    double left, right, top, bottom; /* the area of the lines */
    double width, height;            /* the whole */
    bool direct;                     /* labels stand beside the ends of the lines */
} Frame;

/* ---- layout ---- */

/* Width in pixels of a label, after clipping. */
static double label_width(Arena *a, const char *label) {
    return COLUMN * (double)text_width(text_clip(a, label, LABEL_COLUMNS));
}

/* The range of all points and intervals. */
static void range_of(const LineChart *c, double *x0, double *x1, double *y0, double *y1) {
    *x0 = *y0 = INFINITY;
    *x1 = *y1 = -INFINITY;
    for (size_t i = 0; i < c->n_lines; i++) {
        const ChartLine *l = &c->lines[i];
        for (size_t j = 0; j < l->n; j++) {
            *x0 = fmin(*x0, l->xs[j]), *x1 = fmax(*x1, l->xs[j]);
            *y0 = fmin(*y0, l->ys[j]), *y1 = fmax(*y1, l->ys[j]);
            if (l->low) *y0 = fmin(*y0, l->low[j]), *y1 = fmax(*y1, l->high[j]);
        }
    }
    if (c->shares) *y0 = 0, *y1 = 1;
}

/* A linear axis would flatten most lines against the bottom if one of them is many times higher. */
static bool wants_log(const LineChart *c, double low, double high) {
    return !c->shares && low > 0 && high / low > 6;
}

/* Places the legend's entries in rows of at most `width` pixels and returns its height. Draws it only if
 * `out` is not NULL: the layout needs the height first. */
static double legend(Arena *a, const LineChart *c, double x, double y, double width, Buffer *out) {
    double at = 0, row = 0;
    for (size_t i = 0; i < c->n_lines; i++) {
        const ChartLine *l = &c->lines[i];
        double w = 32 + label_width(a, l->label) + 14;
        if (at && at + w > width) at = 0, row++;
        if (out) {
            svg_sample(out, x + at, y + row * LINE_HEIGHT, l->style, l->dash);
            svg_text(out, x + at + 32, y + row * LINE_HEIGHT + 4, "start", NULL,
                     text_clip(a, l->label, LABEL_COLUMNS));
        }
        at += w;
    }
    return (row + 1) * LINE_HEIGHT;
}

/* Leaves room on the right for labels beside the lines, or below for a legend; the rest is the area of the
 * lines. */
static Frame frame_of(Arena *a, const LineChart *c, int width) {
    double x0, x1, y0, y1, labels = 0;
    Frame f = {.c = c, .width = width, .direct = width >= 600 && c->n_lines <= MAX_DIRECT};
    range_of(c, &x0, &x1, &y0, &y1);
    for (size_t i = 0; i < c->n_lines; i++)
        labels = fmax(labels, label_width(a, c->lines[i].label));
    /* On the left there must be room for "100 %" and for the numbers of a logarithmic axis. */
    f.left = 50;
    f.right = width - (f.direct ? labels + 28 : 12);
    f.top = 46;
    f.bottom = f.top + (width >= 600 ? 270 : 190);
    f.height = f.bottom + (c->times ? 54 : 40);
    /* The legend below makes the chart taller by its own height. */
    if (!f.direct) f.height += 12 + legend(a, c, 0, 0, width - 8, NULL);
    f.x = scale_fit(x0, x1, f.left + 8, f.right - 6, c->x_log && x0 > 0, false);
    f.y = scale_fit(y0, y1, f.bottom, f.top, wants_log(c, y0, y1), true);
    return f;
}

/* ---- axes ---- */

/* A grid line and a label at about five ticks; the name of the axis stands above it. */
static void y_axis(Arena *a, const Frame *f, Buffer *out) {
    double ticks[MAX_TICKS];
    size_t n = scale_ticks(&f->y, 5, ticks, MAX_TICKS);
    const char *name = f->c->y_label;
    svg_text(out, 0, 14, "start", "soft", f->y.log ? arena_printf(a, "%s, log scale", name) : name);
    for (size_t i = 0; i < n; i++) {
        double y = scale_at(&f->y, ticks[i]);
        svg_line(out, f->left, y, f->right, y, "grid");
        const char *label = f->c->shares ? arena_printf(a, "%s\xc2\xa0%%", text_share(a, ticks[i]))
                                         : scale_label(a, ticks, n, i);
        svg_text(out, f->left - 8, y + 4, "end", "soft", label);
    }
}

/* Labels of ticks are left out where they would touch; the tick itself is always drawn. */
static void x_axis(Arena *a, const Frame *f, Buffer *out) {
    const LineChart *c = f->c;
    double own[MAX_TICKS], last = -INFINITY;
    const double *ticks = c->n_x_ticks ? c->x_ticks : own;
    size_t n = c->n_x_ticks ? c->n_x_ticks : scale_ticks(&f->x, f->width >= 600 ? 8 : 4, own, MAX_TICKS);
    svg_line(out, f->left, f->bottom, f->right, f->bottom, "base");
    for (size_t i = 0; i < n; i++) {
        double x = scale_at(&f->x, ticks[i]);
        const char *label = c->n_x_ticks ? text_count(a, ticks[i]) : scale_label(a, ticks, n, i);
        double half = COLUMN * (double)text_width(label) / 2;
        svg_line(out, x, f->bottom, x, f->bottom + 4, "base");
        if (x - half < last + 6) continue; /* the label would touch the one before it */
        last = x + half;
        double at = fmin(x, f->width - half); /* the last label must not stick out */
        svg_text(out, at, f->bottom + 18, "middle", NULL, label);
        if (c->times)
            svg_text(out, fmin(x, f->width - 20), f->bottom + 32, "middle", "small",
                     text_times(a, ticks[i] / c->context));
    }
    svg_text(out, (f->left + f->right) / 2, f->bottom + (c->times ? 48 : 34), "middle", "soft", c->x_label);
}

/* The marks at the training length and at what guessing reaches. */
static void references(Arena *a, const Frame *f, Buffer *out) {
    const LineChart *c = f->c;
    if (c->context > 0 && c->context >= f->x.low && c->context <= f->x.high) {
        double x = scale_at(&f->x, c->context);
        svg_line(out, x, f->top - 8, x, f->bottom, "mark");
        svg_text(out, x, f->top - 12, x > (f->left + f->right) / 2 ? "end" : "start", "small",
                 "training length");
    }
    if (!isnan(c->chance) && c->shares) {
        double y = scale_at(&f->y, c->chance);
        svg_line(out, f->left, y, f->right, y, "mark");
        svg_text(out, f->left + 4, y - 4, "start", "small",
                 arena_printf(a, "guessing: %s\xc2\xa0%%", text_share(a, c->chance)));
    }
}

/* ---- lines ---- */

/* The bands of a line's intervals: one for each run of neighbouring points that all have an interval. `xs`
 * are pixels; `low` and `high` (n) are filled with those of the intervals. */
static void bands(const Frame *f, const ChartLine *l, const double *xs, double *low, double *high,
                  Buffer *out) {
    for (size_t i = 0; l->low && i < l->n;) {
        size_t j = i;
        for (; j < l->n && !isnan(l->low[j]); j++) {
            low[j] = scale_at(&f->y, l->low[j]);
            high[j] = scale_at(&f->y, l->high[j]);
            if (l->n == 1) svg_line(out, xs[j], low[j], xs[j], high[j], "line");
        }
        svg_band(out, xs + i, low + i, high + i, j - i);
        i = j + 1;
    }
}

/* One line in the colour of its series: band below, line above it, markers on top. */
static void draw_line(Arena *a, const Frame *f, const ChartLine *l, Buffer *out) {
    double *xs = arena_alloc(a, 4 * (l->n + 1) * sizeof *xs), *ys = xs + l->n, *low = ys + l->n;
    for (size_t i = 0; i < l->n; i++) {
        xs[i] = scale_at(&f->x, l->xs[i]);
        ys[i] = scale_at(&f->y, l->ys[i]);
    }
    buffer_printf(out, "<g class=\"c%zu\">\n", l->style % SVG_COLORS);
    bands(f, l, xs, low, low + l->n, out);
    svg_polyline(out, xs, ys, l->n, l->dash);
    /* A line of many points has markers at about six of them, shifted by style so that the markers of
     * neighbouring lines do not hide each other. */
    size_t every = l->n > 16 ? l->n / 6 : 1, phase = l->n > 16 ? every / 2 + l->style % 3 : 0;
    for (size_t i = 0; i < l->n; i++)
        if (i % every == phase % every || i + 1 == l->n) svg_marker(out, xs[i], ys[i], l->style);
    text_put(out, "</g>\n");
}

/* ---- labels beside the ends of lines ---- */

/* A label beside the end of its line, in pixels. */
typedef struct Label {
    const ChartLine *line;
    double x, wanted; /* the end of the line */
    double y;         /* where the label goes */
} Label;

/* For qsort: from top to bottom. */
static int by_height(const void *a, const void *b) {
    const Label *p = a, *q = b;
    return p->wanted < q->wanted ? -1 : p->wanted > q->wanted;
}

/* Puts each label at the height of its line's end. Labels that would overlap are pushed down first, from the
 * top; those that then stand below the chart are pushed up, from the bottom. A thin line leads to a label
 * that moved. */
static void end_labels(Arena *a, const Frame *f, Buffer *out) {
    /* Step 1: a label for each line with points, at the height of its last point. */
    Label *labels = arena_alloc(a, (f->c->n_lines + 1) * sizeof *labels);
    size_t n = 0;
    for (size_t i = 0; i < f->c->n_lines; i++) {
        const ChartLine *l = &f->c->lines[i];
        if (!l->n) continue;
        double x = scale_at(&f->x, l->xs[l->n - 1]), y = scale_at(&f->y, l->ys[l->n - 1]);
        labels[n++] = (Label){.line = l, .x = x, .wanted = y, .y = y};
    }
    /* Step 2: from the top, push labels down until none overlaps the one above it. */
    if (n) qsort(labels, n, sizeof *labels, by_height);
    for (size_t i = 1; i < n; i++)
        labels[i].y = fmax(labels[i].y, labels[i - 1].y + LINE_HEIGHT);
    /* Step 3: from the bottom, push those up that left the chart. */
    double floor = f->bottom - 4;
    for (size_t i = n; i-- > 0; floor -= LINE_HEIGHT)
        labels[i].y = fmin(labels[i].y, floor);
    for (size_t i = 0; i < n; i++) {
        /* Step 4: draw them. A label that moved, or whose line ends early, gets a thin line to its end. */
        const Label *b = &labels[i];
        if (fabs(b->y - b->wanted) > 3 || b->x < f->right - 12)
            svg_line(out, b->x + 6, b->wanted, f->right + 10, b->y, "lead");
        svg_text(out, f->right + 14, b->y + 4, "start", NULL, text_clip(a, b->line->label, LABEL_COLUMNS));
    }
}

/* ---- the whole ---- */

/* The chart in words, for screen readers: what the lines are, and where they begin and end. */
static const char *describe(Arena *a, const LineChart *c) {
    Buffer b = {0};
    buffer_printf(&b, "Line chart: %s over %s.", c->y_label, c->x_label);
    for (size_t i = 0; i < c->n_lines && i < 12; i++) {
        const ChartLine *l = &c->lines[i];
        if (!l->n) continue;
        buffer_printf(&b, " %s: from %s at %s to %s at %s.", text_clip(a, l->label, 60),
                      text_value(a, l->ys[0]), text_count(a, l->xs[0]), text_value(a, l->ys[l->n - 1]),
                      text_count(a, l->xs[l->n - 1]));
    }
    const char *s = arena_strdup(a, buffer_string(&b));
    buffer_free(&b);
    return s;
}

/* From back to front: axes, marks, lines with their bands, labels. */
void line_chart_draw(Arena *a, const LineChart *c, int width, const char *id, bool standalone, Buffer *out) {
    Frame f = frame_of(a, c, width);
    double pad = standalone ? 20 : 0, head = standalone ? 26 : 0;
    svg_open(out, width + 2 * pad, f.height + head + 2 * pad, id, c->title, describe(a, c), standalone);
    if (standalone) {
        /* A standalone picture has a margin and its title above the chart; on the page the heading says the
         * same. */
        svg_text(out, pad, pad + 12, "start", "head", c->title);
        buffer_printf(out, "<g transform=\"translate(%.0f %.0f)\">\n", pad, pad + head);
    }
    y_axis(a, &f, out);
    x_axis(a, &f, out);
    references(a, &f, out);
    for (size_t i = 0; i < c->n_lines; i++)
        draw_line(a, &f, &c->lines[i], out);
    if (f.direct)
        end_labels(a, &f, out);
    else
        legend(a, c, 4, f.bottom + (c->times ? 54 : 40) + 14, width - 8, out);
    if (standalone) text_put(out, "</g>\n");
    svg_close(out);
}
