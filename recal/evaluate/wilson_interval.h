/* Confidence intervals of shares. */
#ifndef DEROPE_RECAL_EVALUATE_WILSON_INTERVAL_H
#define DEROPE_RECAL_EVALUATE_WILSON_INTERVAL_H

/* The 95 % Wilson score interval (E. B. Wilson, 1927) of a share, 0 to 1, that was observed in `trials`
 * independent trials. Unlike the normal approximation it stays within 0 and 1 and is usable for few trials
 * and for shares of 0 or 1. Without trials the interval is all of 0 to 1. */
void wilson_interval(double share, double trials, double *low, double *high);

#endif
