/* Random numbers that are the same on every machine: splitmix64 (public domain algorithm by S. Vigna). */
#ifndef DEROPE_RECAL_RANDOM_H
#define DEROPE_RECAL_RANDOM_H

#include <math.h>
#include <stdint.h>

typedef struct Random {
    uint64_t state;
} Random;

static inline Random random_seeded(uint64_t seed) {
    return (Random){seed};
}

static inline uint64_t random_u64(Random *r) {
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In [0, 1). */
static inline double random_unit(Random *r) {
    return (double)(random_u64(r) >> 11) * 0x1p-53;
}

/* Standard normal, by Box and Muller. */
static inline double random_normal(Random *r) {
    double u = 1 - random_unit(r), v = random_unit(r);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

#endif
