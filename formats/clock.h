/* The one clock by which durations are measured: progress, throughput, time limits. All inline. */
#ifndef DEROPE_FORMATS_CLOCK_H
#define DEROPE_FORMATS_CLOCK_H

#include <time.h>

/* Seconds since some fixed moment of the past. The clock is monotonic: it does not jump when somebody sets
 * the date. Safe in a signal handler. */
static inline double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
