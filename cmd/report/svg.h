/* Primitives of pictures: scales, ticks, marks, and the colours that page and pictures share.
 * Colours are CSS variables, so that light, dark and paper are one drawing; a mark inherits `color` from a
 * class (c0.. for series, h0.. for shares). */
#ifndef DEROPE_CMD_REPORT_SVG_H
#define DEROPE_CMD_REPORT_SVG_H

#include "formats/buffer.h"

enum { SVG_COLORS = 8, SVG_MARKERS = 7, SVG_DASHES = 5, SVG_SHADES = 11 };

/* The palettes as `--name:value` lists, and the rules of what svg_* draws. */
extern const char svg_light[], svg_dark[], svg_rules[];

/* An <svg role="img"> with title and description for who cannot see it; `id` makes theirs unique.
 * `standalone`: a file of its own, with its colours and a background. */
void svg_open(Buffer *out, double width, double height, const char *id, const char *title, const char *desc,
              bool standalone);
void svg_close(Buffer *out);

/* From data to pixels. */
typedef struct Scale {
    double low, high; /* data; above 0 if log */
    double from, to;  /* pixels of low and high */
    bool log;
} Scale;

/* Widens low..high a little where they are equal, and to whole ticks if `nice`. */
Scale scale_fit(double low, double high, double from, double to, bool log, bool nice);
double scale_at(const Scale *s, double value);
/* At most `max` round values inside, about `target`. Returns how many. */
size_t scale_ticks(const Scale *s, size_t target, double *out, size_t max);
/* As few digits as keep neighbouring ticks apart. */
const char *scale_label(Arena *a, const double *ticks, size_t n, size_t i);

/* anchor: "start", "middle" or "end"; class NULL: that of plain text. */
void svg_text(Buffer *out, double x, double y, const char *anchor, const char *class, const char *text);
void svg_line(Buffer *out, double x1, double y1, double x2, double y2, const char *class);
void svg_polyline(Buffer *out, const double *xs, const double *ys, size_t n, size_t dash);
/* The area between two lines over the same xs. */
void svg_band(Buffer *out, const double *xs, const double *low, const double *high, size_t n);
void svg_marker(Buffer *out, double x, double y, size_t marker);
/* A cell of a heatmap: share 0..1, or NAN for a hole; `text` in it, or NULL. */
void svg_cell(Buffer *out, double x, double y, double w, double h, double share, const char *text);
/* The cells' shades from 0 to 100 %. */
void svg_shades(Buffer *out, double x, double y);
/* A piece of line with its marker, as a legend shows it; 26 wide. */
void svg_sample(Buffer *out, double x, double y, size_t marker, size_t dash);

#endif
