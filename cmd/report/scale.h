/* The scales of a chart's axes: from data to pixels, and which round values get a tick. */
#ifndef DEROPE_CMD_REPORT_SCALE_H
#define DEROPE_CMD_REPORT_SCALE_H

#include <stdbool.h>

#include "formats/buffer.h"

/* An axis, linear or logarithmic. `from` may be greater than `to`: y grows downwards in SVG. */
typedef struct Scale {
    double low, high; /* data at the ends of the axis; above 0 if `log` */
    double from, to;  /* pixels at the ends of the axis */
    bool log;
} Scale;

/* The scale that shows low..high. A range of a single value is widened a little. With `nice`, a linear range
 * is widened to whole ticks and a logarithmic one by 3 % at each end. */
Scale scale_fit(double low, double high, double from, double to, bool log, bool nice);
/* The pixel of a value. Values outside the range end at most 5 % of the axis outside it. */
double scale_at(const Scale *s, double value);
/* Round values inside the range: about `target` of them, at most `max`. Returns how many. */
size_t scale_ticks(const Scale *s, size_t target, double *out, size_t max);
/* The label of tick `i`, with as few digits as tell neighbouring ticks apart; arena memory. */
const char *scale_label(Arena *a, const double *ticks, size_t n, size_t i);

#endif
