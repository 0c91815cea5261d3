/* The Wilson score interval of a share (E. B. Wilson, 1927), used for the scores of tasks. Unlike the
 * normal approximation it is right for few trials and for shares near 0 and 1, where it does not shrink
 * to a point. */
#include "recal/evaluate/wilson_interval.h"

#include <math.h>

void wilson_interval(double share, double trials, double *low, double *high) {
    const double z = 1.959963984540054; /* 97.5 % quantile of the standard normal distribution */
    /* Without trials the share may be anything. */
    if (trials <= 0) {
        *low = 0, *high = 1;
        return;
    }
    double z2 = z * z / trials, middle = (share + z2 / 2) / (1 + z2),
           half = z / (1 + z2) * sqrt(share * (1 - share) / trials + z2 / (4 * trials));
    *low = middle - half < 0 ? 0 : middle - half;
    *high = middle + half > 1 ? 1 : middle + half;
}
