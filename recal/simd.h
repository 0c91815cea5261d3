/* One binary for every x86-64: hot loops are plain C, compiled several times, and the loader picks the
 * version for the processor. */
#ifndef DEROPE_RECAL_SIMD_H
#define DEROPE_RECAL_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define SIMD_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define SIMD_CLONES
#endif

/* e^x to 2 ulp without branches, so that loops over it vectorise: 2^n * p(r), |r| <= ln2/2. */
static inline float exp_approx(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float n = x * 1.44269504f;
    n = (n + 12582912.0f) - 12582912.0f; /* rounds to the nearest whole number */
    n = n == n ? n : 0.0f;               /* no number has no whole part; r carries it on */
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* tanh by the exponential: (1 - e) / (1 + e), e = exp(-2 |x|) */
static inline float tanh_approx(float x) {
    float e = exp_approx(-2.0f * (x < 0 ? -x : x)), t = (1.0f - e) / (1.0f + e);
    return x < 0 ? -t : t;
}

#endif
