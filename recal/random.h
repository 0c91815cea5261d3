/* Random numbers that are the same on every machine and with every compiler: the generator splitmix64 (public
 * domain algorithm by Sebastiano Vigna, https://prng.di.unimi.it/splitmix64.c). A whole run follows from its
 * seed, so training, sampling and evaluation can be repeated and resumed exactly. It is not meant for
 * cryptography.
 *
 * This header holds inline functions only; there is no source file. */
#ifndef DEROPE_RECAL_RANDOM_H
#define DEROPE_RECAL_RANDOM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* The whole state of a generator: it can be copied and saved as a number. */
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

/* Uniform in [0, 1): the upper 53 bits, which is what the mantissa of a double holds. */
static inline double random_unit(Random *r) {
    return (double)(random_u64(r) >> 11) * 0x1p-53;
}

/* Uniform in [0, n), for n far below 2^53; 0 if n is 0. */
static inline size_t random_below(Random *r, size_t n) {
    return (size_t)(random_unit(r) * (double)n);
}

/* Standard normal, by the Box-Muller transform. The logarithm is taken of 1 - u, which is never 0. */
static inline double random_normal(Random *r) {
    double u = 1 - random_unit(r), v = random_unit(r);
    return sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
}

#endif
