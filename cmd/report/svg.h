/* The elements of pictures as SVG, and the colours that page and pictures share.
 *
 * Colours are CSS variables: a drawing names a class, and which colour that is depends on the palette (light,
 * dark) that the page or the picture declares. ReportSeries take their colour from a class c0, c1, ... on the
 * group around them, shares theirs from h0 (0 %) to h10 (100 %). Coordinates are pixels, y downwards. */
#ifndef DEROPE_CMD_REPORT_SVG_H
#define DEROPE_CMD_REPORT_SVG_H

#include <stdbool.h>

#include "formats/buffer.h"

/* How many different colours, markers and dash patterns there are; indices beyond wrap around. */
enum { SVG_COLORS = 8, SVG_MARKERS = 7, SVG_DASHES = 5, SVG_SHADES = 11 };

extern const char svg_light[]; /* the palette on light ground, as CSS declarations --name:value; */
extern const char svg_dark[];  /* the palette on dark ground */
extern const char svg_rules[]; /* the CSS rules of everything below */

/* Begins an <svg role="img"> with a title and a description for screen readers. `id` must be unique on the
 * page, since it makes the ids of these two. With `standalone` it is a file of its own, with palettes, rules
 * and a background. */
void svg_open(Buffer *out, double width, double height, const char *id, const char *title, const char *desc,
              bool standalone);
void svg_close(Buffer *out);

/* Text at a point. `anchor`: "start", "middle" or "end"; `class` NULL: that of ordinary text. Escapes `text`.
 */
void svg_text(Buffer *out, double x, double y, const char *anchor, const char *class, const char *text);
void svg_line(Buffer *out, double x1, double y1, double x2, double y2, const char *class);
/* A line through n points; `dash` 0: solid. Nothing for fewer than two points. */
void svg_polyline(Buffer *out, const double *xs, const double *ys, size_t n, size_t dash);
/* The area between two lines over the same n values of x. Nothing for fewer than two. */
void svg_band(Buffer *out, const double *xs, const double *low, const double *high, size_t n);
void svg_marker(Buffer *out, double x, double y, size_t marker);
/* A rectangle in the shade of a share, 0 to 1 (NAN: dashed outline), with `text` in its middle (NULL: none).
 */
void svg_cell(Buffer *out, double x, double y, double w, double h, double share, const char *text);
/* A key to the shades, from 0 to 100 %. */
void svg_shades(Buffer *out, double x, double y);
/* A piece of line with its marker, for a legend; 26 pixels wide. */
void svg_sample(Buffer *out, double x, double y, size_t marker, size_t dash);

#endif
