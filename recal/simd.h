/* Vector code without intrinsics. A hot loop is plain C that the compiler can vectorize; SIMD_CLONES before
 * the function makes it compile the function three times, for any x86-64 processor, for AVX2 and for AVX-512,
 * and the loader picks the version for the processor that the program runs on. One binary thus serves all of
 * them.
 *
 * Only loops that are marked with "omp simd reduction" add in another order than they are written; recal/ is
 * not compiled with -ffast-math. The order depends on the width of the vectors, so results may differ in the
 * last bits between processors, but not between runs on one. */
#ifndef DEROPE_RECAL_SIMD_H
#define DEROPE_RECAL_SIMD_H

#include <stdint.h>
#include <string.h>

/* Only gcc: older clangs do not know target_clones. Not with a sanitizer: the loader makes its choice by
 * calling instrumented code before the sanitizer's runtime has started. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&     \
    !defined(__SANITIZE_THREAD__)
#define SIMD_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define SIMD_CLONES
#endif

/* e^x within 2 units in the last place, without branches or calls, so that loops over it become vector code.
 * With n the whole number nearest to x / ln 2, e^x = 2^n e^r where r = x - n ln 2 lies within ln(2)/2 of 0
 * and e^r is a polynomial (the coefficients of the Cephes library's expf). Arguments are limited to -87 ..
 * 88, where 2^n is a normal float. */
static inline float exp_approx(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float n = x * 1.44269504f; /* 1 / ln 2 */
    /* Adding and subtracting 1.5 * 2^23 rounds to a whole number: floats of that size have no fraction bits.
     */
    n = (n + 12582912.0f) - 12582912.0f;
    /* NaN cannot be converted to an integer below; r is NaN all the same and makes the result NaN. */
    n = n == n ? n : 0.0f;
    /* ln 2 in two parts, the first of which is exact in few bits, so that n * 0.693359375 is exact as well.
     */
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    /* 2^n as the bits of a float: the exponent field holds n + 127. */
    int32_t bits = ((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* tanh(|x|) = (1 - e) / (1 + e) with e = exp(-2 |x|), which cannot overflow; tanh is odd. */
static inline float tanh_approx(float x) {
    float e = exp_approx(-2.0f * (x < 0 ? -x : x)), t = (1.0f - e) / (1.0f + e);
    return x < 0 ? -t : t;
}

#endif
