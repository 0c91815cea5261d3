/* Writes SVG elements, and has the colours of charts for light and dark pages. Colours are CSS variables that
 * class names refer to, so the same picture works inside the report and as a file of its own (svg.h). */
#include "cmd/report/svg.h"

#include <math.h>
#include <string.h>

#include "cmd/report/report_text.h"

/* s0 to s7 are the colours of series: blue, vermilion, green, purple, ochre, grey, wine, sky. They can be
 * told apart under the common colour vision deficiencies and have a contrast of 3.5:1 or more with the
 * background. h0 to h10 are the shades of heat-map cells from 0 % to 100 %. They have the same hue and differ
 * in lightness, so that a print in grey keeps their order. f0, f7 and f8 are the colours of the numbers in
 * cells (see svg_cell). */
const char svg_light[] =
    "--paper:#fff;--ink:#1c2126;--soft:#59626b;--rule:#dde2e6;--wash:#f5f7f8;--accent:#0b4f7d;"
    "--s0:#0072b2;--s1:#c8500a;--s2:#00805e;--s3:#a63d97;--s4:#a87400;--s5:#4a5058;--s6:#882255;--s7:#2e90c0;"
    "--h0:#edf1f3;--h1:#dae7ed;--h2:#c8dde8;--h3:#b5d4e2;--h4:#a2cadc;--h5:#8fc0d6;--h6:#76a8c4;--h7:#5d91b2;"
    "--h8:#447ba0;--h9:#2a658f;--h10:#0b4f7d;--f0:#1c2126;--f7:#1c2126;--f8:#fff;";
const char svg_dark[] =
    "--paper:#15181b;--ink:#e6eaed;--soft:#a0a9b1;--rule:#333a41;--wash:#1c2126;--accent:#8ed2f2;"
    "--s0:#5ab4f0;--s1:#ff8f57;--s2:#3cc9a0;--s3:#e596d8;--s4:#e8b83a;--s5:#b8bec6;--s6:#f2819f;--s7:#a6d8f5;"
    "--h0:#22282d;--h1:#25343f;--h2:#263f52;--h3:#274b66;--h4:#27587a;--h5:#25648f;--h6:#3a79a2;--h7:#4f8fb6;"
    "--h8:#64a5ca;--h9:#79bbde;--h10:#8ed2f2;--f0:#f2f5f7;--f7:#0d1114;--f8:#0d1114;";
const char svg_rules[] =
    "svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;"
    "font-variant-numeric:tabular-nums;fill:var(--ink)}"
    "svg .soft{fill:var(--soft)}svg .head{font-weight:600}svg .small{font-size:11px;fill:var(--soft)}"
    "svg .grid{stroke:var(--rule);stroke-width:1}svg .base{stroke:var(--soft);stroke-width:1}"
    "svg .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}"
    "svg .lead{stroke:var(--soft);stroke-width:.75}"
    "svg .line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    "svg .band{fill:currentColor;opacity:.15}"
    "svg .dot{fill:currentColor;stroke:var(--paper);stroke-width:1}"
    "svg .ring{fill:var(--paper);stroke:currentColor;stroke-width:1.75}"
    "svg .hole{fill:none;stroke:var(--rule);stroke-dasharray:2 2}"
    "svg .bare{fill:var(--paper);stroke:var(--s0);stroke-width:1.5}svg .full{fill:var(--s0);stroke:var(--s0);"
    "stroke-width:1.5}"
    ".d1{stroke-dasharray:7 4}.d2{stroke-dasharray:2 4}.d3{stroke-dasharray:9 3 2 3}.d4{stroke-dasharray:4 3}"
    ".c0{color:var(--s0)}.c1{color:var(--s1)}.c2{color:var(--s2)}.c3{color:var(--s3)}"
    ".c4{color:var(--s4)}.c5{color:var(--s5)}.c6{color:var(--s6)}.c7{color:var(--s7)}"
    ".h0{fill:var(--h0)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}.h3{fill:var(--h3)}.h4{fill:var(--h4)}"
    ".h5{fill:var(--h5)}.h6{fill:var(--h6)}.h7{fill:var(--h7)}.h8{fill:var(--h8)}.h9{fill:var(--h9)}"
    ".h10{fill:var(--h10)}svg .f0,svg .f7,svg .f8{text-anchor:middle}svg .f0{fill:var(--f0)}svg "
    ".f7{fill:var(--f7)}svg .f8{fill:var(--f8)}";

/* Screen readers read the title and the description, which aria-labelledby attaches to the picture. A
 * standalone file contains the style sheet itself; a picture in the report uses the style sheet of the page.
 */
void svg_open(Buffer *out, double width, double height, const char *id, const char *title, const char *desc,
              bool standalone) {
    /* viewBox and size are the same, so a pixel of the drawing is one of the page until the style sheet
     * shrinks it. */
    buffer_printf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" ", width, height);
    buffer_printf(out, "width=\"%.0f\" height=\"%.0f\" role=\"img\" ", width, height);
    buffer_printf(out, "aria-labelledby=\"%s-title %s-desc\"><title id=\"%s-title\">", id, id, id);
    text_xml(title, out);
    buffer_printf(out, "</title><desc id=\"%s-desc\">", id);
    text_xml(desc, out);
    text_put(out, "</desc>\n");
    if (!standalone) return;
    buffer_printf(out,
                  "<style>:root{%s}@media screen and (prefers-color-scheme:dark){:root{%s}}\n%s</style>\n",
                  svg_light, svg_dark, svg_rules);
    buffer_printf(out, "<rect width=\"%.0f\" height=\"%.0f\" style=\"fill:var(--paper)\"/>\n", width, height);
}

/* Ends the picture that svg_open began. */
void svg_close(Buffer *out) {
    text_put(out, "</svg>\n");
}

/* All coordinates are printed with four significant digits. The error is less than a pixel, and the page is
 * about half as large as with all digits. */
void svg_text(Buffer *out, double x, double y, const char *anchor, const char *class, const char *text) {
    buffer_printf(out, "<text x=\"%.4g\" y=\"%.4g\"", x, y);
    if (strcmp(anchor, "start") != 0) buffer_printf(out, " text-anchor=\"%s\"", anchor);
    if (class) buffer_printf(out, " class=\"%s\"", class);
    text_put(out, ">");
    text_xml(text, out);
    text_put(out, "</text>\n");
}

void svg_line(Buffer *out, double x1, double y1, double x2, double y2, const char *class) {
    buffer_printf(out, "<line x1=\"%.4g\" y1=\"%.4g\" x2=\"%.4g\" y2=\"%.4g\" class=\"%s\"/>\n", x1, y1, x2,
                  y2, class);
}

/* Dash pattern 0 is a solid line. The other patterns are the classes d1, d2, ..., and repeat after SVG_DASHES
 * - 1 methods. */
void svg_polyline(Buffer *out, const double *xs, const double *ys, size_t n, size_t dash) {
    if (n < 2) return;
    /* The colour comes from the class of the group around it, so the drawing has no colours of its own. */
    text_put(out, "<polyline class=\"line");
    if (dash) buffer_printf(out, " d%zu", (dash - 1) % (SVG_DASHES - 1) + 1);
    text_put(out, "\" points=\"");
    for (size_t i = 0; i < n; i++)
        buffer_printf(out, "%s%.4g,%.4g", i ? " " : "", xs[i], ys[i]);
    text_put(out, "\"/>\n");
}

/* The polygon runs along the lower bounds and back along the upper ones. */
void svg_band(Buffer *out, const double *xs, const double *low, const double *high, size_t n) {
    if (n < 2) return;
    text_put(out, "<polygon class=\"band\" points=\"");
    for (size_t i = 0; i < n; i++)
        buffer_printf(out, "%.4g,%.4g ", xs[i], low[i]);
    for (size_t i = n; i-- > 0;)
        buffer_printf(out, "%.4g,%.4g%s", xs[i], high[i], i ? " " : "");
    text_put(out, "\"/>\n");
}

/* Circle, square, triangle, diamond, ring, hollow square, triangle upside down; each about 8 pixels wide
 * around its point. */
void svg_marker(Buffer *out, double x, double y, size_t marker) {
    /* Markers differ in shape as well as in fill, so that they can be told apart without colour. */
    switch (marker % SVG_MARKERS) {
    case 0:
        buffer_printf(out, "<circle class=\"dot\" cx=\"%.4g\" cy=\"%.4g\" r=\"4\"/>\n", x, y);
        break;
    case 1:
        buffer_printf(out, "<path class=\"dot\" d=\"M%.4g %.4gh7v7h-7z\"/>\n", x - 3.5, y - 3.5);
        break;
    case 2:
        buffer_printf(out, "<path class=\"dot\" d=\"M%.4g %.4gl4.5 8h-9z\"/>\n", x, y - 5);
        break;
    case 3:
        buffer_printf(out, "<path class=\"dot\" d=\"M%.4g %.4gl4.8 4.8-4.8 4.8-4.8-4.8z\"/>\n", x, y - 4.8);
        break;
    case 4:
        buffer_printf(out, "<circle class=\"ring\" cx=\"%.4g\" cy=\"%.4g\" r=\"3.5\"/>\n", x, y);
        break;
    case 5:
        buffer_printf(out, "<path class=\"ring\" d=\"M%.4g %.4gh6v6h-6z\"/>\n", x - 3, y - 3);
        break;
    default:
        buffer_printf(out, "<path class=\"dot\" d=\"M%.4g %.4gl4.5-8h-9z\"/>\n", x, y + 5);
    }
}

/* The colour of the number in a cell depends on the shade of the cell, so that it stays readable: f0 on the
 * shades h0 to h6, f7 on h7, and f8 on h8 to h10. A share that was not measured (NAN) is drawn as an empty
 * dashed cell. */
void svg_cell(Buffer *out, double x, double y, double w, double h, double share, const char *text) {
    /* A combination that was not measured is an outline without a shade. */
    bool hole = isnan(share);
    int shade = hole ? 0 : (int)lround(share * (SVG_SHADES - 1));
    buffer_printf(out, "<rect x=\"%.4g\" y=\"%.4g\" width=\"%.4g\" height=\"%.4g\" class=\"", x, y, w, h);
    if (hole)
        text_put(out, "hole\"/>\n");
    else
        buffer_printf(out, "h%d\"/>\n", shade);
    if (text && !hole)
        svg_text(out, x + w / 2, y + h / 2 + 4, "start", shade >= 8 ? "f8" : shade == 7 ? "f7" : "f0", text);
}

/* Draws the key of a heat map: eleven cells of 16 pixels between the labels "0 %" and "100 %". */
void svg_shades(Buffer *out, double x, double y) {
    svg_text(out, x, y + 11, "start", "small", "0\xc2\xa0%");
    for (int i = 0; i < SVG_SHADES; i++)
        svg_cell(out, x + 28 + 16 * i, y, 16, 14, i / (SVG_SHADES - 1.0), NULL);
    svg_text(out, x + 28 + 16 * SVG_SHADES + 6, y + 11, "start", "small", "100\xc2\xa0%");
}

/* Draws the sample of a legend entry with the same functions as the lines of the chart. */
void svg_sample(Buffer *out, double x, double y, size_t marker, size_t dash) {
    double xs[] = {x, x + 26}, ys[] = {y, y};
    buffer_printf(out, "<g class=\"c%zu\">", marker % SVG_COLORS);
    svg_polyline(out, xs, ys, 2, dash);
    svg_marker(out, x + 13, y, marker);
    text_put(out, "</g>\n");
}
