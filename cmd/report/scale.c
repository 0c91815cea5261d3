/* Scales and ticks for line_chart.c (scale.h): from values to pixels on a linear or logarithmic axis, and
 * which round values get a tick and a label. */
#include "cmd/report/scale.h"

#include <math.h>

#include "cmd/report/report_text.h"

/* The smallest of 1, 2 and 5 times a power of ten that is at least `step`. The factors just above 1, 2 and 5
 * absorb rounding in `step`. */
static double round_step(double step) {
    double power = pow(10, floor(log10(step))), lead = step / power;
    return power * (lead <= 1.0001 ? 1 : lead <= 2.0001 ? 2 : lead <= 5.0001 ? 5 : 10);
}

/* A range whose ends are equal is widened, because scale_at divides by the difference of the ends. `nice`
 * extends a linear range to multiples of a round step, and a logarithmic range by 3 % at both ends. */
Scale scale_fit(double low, double high, double from, double to, bool log, bool nice) {
    if (log) {
        if (!(high > low * 1.0001)) low /= 1.2, high *= 1.2;
        if (nice) low /= 1.03, high *= 1.03;
    } else {
        if (!(high - low > 1e-9 * fmax(fabs(low), fabs(high)))) {
            double pad = low ? fabs(low) * 0.1 : 1;
            low -= pad, high += pad;
        }
        double step = round_step((high - low) / 5);
        if (nice) low = floor(low / step + 1e-9) * step, high = ceil(high / step - 1e-9) * step;
    }
    return (Scale){low, high, from, to, log};
}

/* A value outside the range, such as the end of an interval, is drawn outside the chart area, but at most by
 * 5 % of the length of the axis. */
double scale_at(const Scale *s, double value) {
    /* t is 0 at the low end of the axis and 1 at the high end. */
    double t = s->log ? log(value / s->low) / log(s->high / s->low) : (value - s->low) / (s->high - s->low);
    return s->from + fmax(-0.05, fmin(1.05, t)) * (s->to - s->from);
}

/* Ticks of a logarithmic axis. A short axis gets 1, 2 and 5 times every power of ten. A longer axis only gets
 * powers of ten, and if even these are too many, every k-th power. The exponents are multiples of k, so that
 * 1 has a tick if it is in the range. */
static size_t log_ticks(const Scale *s, size_t target, double *out, size_t max) {
    int first = (int)floor(log10(s->low)), last = (int)ceil(log10(s->high));
    size_t n = 0, decades = (size_t)(last - first);
    bool fine = decades * 2 <= target + 1;
    int every = fine ? 1 : (int)((decades + target - 1) / target);
    first = (int)floor((double)first / every) * every;
    for (int power = first; power <= last && n < max; power += every)
        for (int lead = 0; lead < (fine ? 3 : 1) && n < max; lead++) {
            double v = pow(10, power) * (lead == 0 ? 1 : lead == 1 ? 2 : 5);
            if (v >= s->low * 0.9999 && v <= s->high * 1.0001) out[n++] = v;
        }
    return n;
}

/* A logarithmic axis with fewer than three ticks at 1, 2 and 5 times a power of ten gets evenly spaced ticks
 * instead. */
size_t scale_ticks(const Scale *s, size_t target, double *out, size_t max) {
    size_t n = s->log ? log_ticks(s, target, out, max) : 0;
    if (n >= 3) return n;
    double step = round_step((s->high - s->low) / (double)target);
    n = 0;
    for (double k = ceil(s->low / step - 1e-6); n < max && k * step <= s->high + step * 1e-6; k++)
        out[n++] = k * step + 0.0; /* adding 0.0 turns -0 into 0 */
    return n;
}

/* Labels of an axis with values from 1e6 or with steps below 1e-4 are printed with three significant digits,
 * which may use an exponent. */
const char *scale_label(Arena *a, const double *ticks, size_t n, size_t i) {
    /* The number of decimals follows from the smallest distance of two ticks. */
    double largest = 0, step = INFINITY;
    for (size_t j = 0; j < n; j++) {
        largest = fmax(largest, fabs(ticks[j]));
        if (j) step = fmin(step, ticks[j] - ticks[j - 1]);
    }
    if (ticks[i] == 0) return "0";
    if (largest >= 1e6 || step < 1e-4) return arena_printf(a, "%.3g", ticks[i]);
    if (ticks[i] >= 1e4) return text_count(a, ticks[i]);
    int digits = step < 1 ? (int)ceil(-log10(step) - 1e-6) : 0;
    return arena_printf(a, "%.*f", digits < 5 ? digits : 5, ticks[i]);
}
