/* Random numbers that are the same on every machine and with every compiler: the generator splitmix64 (public
 * domain algorithm by Sebastiano Vigna, https://prng.di.unimi.it/splitmix64.c). All random
 * numbers of a run follow from its seed, so training, sampling and evaluation can be repeated and resumed
 * exactly. The generator is not suitable for cryptography.
 *
 * This header holds inline functions only; there is no source file. */
#ifndef DEROPE_RECAL_RANDOM_H
#define DEROPE_RECAL_RANDOM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* A generator. Its state is a single number, so it can be copied and saved. */
typedef struct Random {
    uint64_t state;
} Random;

static inline Random random_seeded(uint64_t seed) {
    return (Random){seed};
}

/* 64 random bits. */
static inline uint64_t random_u64(Random *r) {
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A uniform random number in [0, 1), made of 53 random bits, the precision of a double. */
static inline double random_unit(Random *r) {
    return (double)(random_u64(r) >> 11) * 0x1p-53;
}

/* A uniform random integer in [0, n), for n far below 2^53. Returns 0 if n is 0. */
static inline size_t random_below(Random *r, size_t n) {
    return (size_t)(random_unit(r) * (double)n);
}

/* A standard normal random number, by the Box-Muller transform. 1 - random_unit is in (0, 1], so the
 * logarithm is finite. */
static inline double random_normal(Random *r) {
    double u = 1 - random_unit(r), v = random_unit(r);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

#endif
