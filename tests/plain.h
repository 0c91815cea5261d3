/* The layers once more, in double and as plainly as they can be written: what the fast ones are held
 * against, and what finite differences are taken of. */
#ifndef DEROPE_TESTS_PLAIN_H
#define DEROPE_TESTS_PLAIN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/buffer.h"
#include "recal/random.h"
#include "surgery/spec.h"

static inline double *doubles(size_t n) {
    return xcalloc(n, sizeof(double));
}

static inline double *random_doubles(Random *r, size_t n, double std) {
    double *x = doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(std * random_normal(r)); /* a value of fp32: both sides start from the same */
    return x;
}

static inline float *as_floats(const double *x, size_t n) {
    float *y = xcalloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)x[i];
    return y;
}

/* Relative to the larger of the expected array's norm and `least`. */
static inline void assert_close(const char *what, const float *got, const double *expected, size_t n,
                                double tolerance, double least) {
    double error = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        error += (got[i] - expected[i]) * (got[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    double relative = sqrt(error) / fmax(sqrt(norm), least);
    if (!(relative <= tolerance)) fail_msg("%s: relative error %g, allowed %g", what, relative, tolerance);
}

/* y (N, out) = x (N, in) w^T + bias */
static inline void plain_linear(double *y, const double *x, const double *w, const double *bias, size_t N,
                                size_t in, size_t out) {
    for (size_t i = 0; i < N; i++)
        for (size_t o = 0; o < out; o++) {
            double sum = bias ? bias[o] : 0;
            for (size_t c = 0; c < in; c++)
                sum += x[i * in + c] * w[o * in + c];
            y[i * out + o] = sum;
        }
}

/* y, x (N, C); y may be x */
static inline void plain_rmsnorm(double *y, const double *x, const double *w, size_t N, size_t C,
                                 double eps) {
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t c = 0; c < C; c++)
            sum += x[i * C + c] * x[i * C + c];
        double r = 1 / sqrt(sum / (double)C + eps);
        for (size_t c = 0; c < C; c++)
            y[i * C + c] = x[i * C + c] * r * w[c];
    }
}

static inline void plain_layernorm(double *y, const double *x, const double *w, const double *b, size_t N,
                                   size_t C, double eps) {
    for (size_t i = 0; i < N; i++) {
        double mean = 0, sum = 0;
        for (size_t c = 0; c < C; c++)
            mean += x[i * C + c] / (double)C;
        for (size_t c = 0; c < C; c++)
            sum += (x[i * C + c] - mean) * (x[i * C + c] - mean);
        double r = 1 / sqrt(sum / (double)C + eps);
        for (size_t c = 0; c < C; c++)
            y[i * C + c] = (x[i * C + c] - mean) * r * w[c] + (b ? b[c] : 0);
    }
}

/* In place; row i of x (N, heads * dim) is at position i % T. */
static inline void plain_rope(double *x, const double *inv_freq, double scale, size_t N, size_t T,
                              size_t heads, size_t dim, size_t half) {
    for (size_t i = 0; i < N; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t j = 0; j < half; j++) {
                double angle = (double)(i % T) * inv_freq[j], c = cos(angle) * scale, s = sin(angle) * scale;
                double *a = x + (i * heads + h) * dim + j, *b = a + half, a0 = *a, b0 = *b;
                *a = a0 * c - b0 * s;
                *b = b0 * c + a0 * s;
            }
}

typedef struct PlainAttention {
    size_t T, heads, kv_heads, dim, window;
    double scale;
    const double *sinks;
    double softcap; /* 0: none */
    bool chunked;
} PlainAttention;

static inline double plain_softcap(double x, double cap) {
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* One sequence: q (T, heads * dim), k and v (T, kv_heads * dim). */
static inline void plain_attention(const PlainAttention *a, double *out, const double *q, const double *k,
                                   const double *v) {
    double *p = doubles(a->T);
    for (size_t h = 0; h < a->heads; h++)
        for (size_t t = 0; t < a->T; t++) {
            size_t kv = h * a->kv_heads / a->heads,
                   from = a->window && t + 1 > a->window ? t + 1 - a->window : 0;
            if (a->chunked) from = t - t % a->window;
            double total = a->sinks ? exp(a->sinks[h]) : 0, *o = out + (t * a->heads + h) * a->dim;
            for (size_t u = from; u <= t; u++) {
                double score = 0;
                for (size_t d = 0; d < a->dim; d++)
                    score += q[(t * a->heads + h) * a->dim + d] * k[(u * a->kv_heads + kv) * a->dim + d];
                total += p[u] = exp(plain_softcap(score * a->scale, a->softcap));
            }
            memset(o, 0, a->dim * sizeof *o);
            for (size_t u = from; u <= t; u++)
                for (size_t d = 0; d < a->dim; d++)
                    o[d] += p[u] / total * v[(u * a->kv_heads + kv) * a->dim + d];
        }
    free(p);
}

static inline double plain_activation(Activation act, double x) {
    if (act == ACT_SILU) return x / (1 + exp(-x));
    if (act == ACT_GELU) return x * 0.5 * (1 + erf(x / sqrt(2)));
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* NULL gate: y = act(up) */
static inline void plain_mlp(Activation act, double *y, const double *gate, const double *up, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = gate ? plain_activation(act, gate[i]) * up[i] : plain_activation(act, up[i]);
}

static inline double plain_log_sum_exp(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i]);
    return log(sum);
}

/* Of one row; with a teacher row KL(teacher || model). */
static inline double plain_loss(const double *logits, const double *teacher, int32_t target, size_t V) {
    double lse = plain_log_sum_exp(logits, V), kl = 0;
    if (!teacher) return lse - logits[target];
    double teacher_lse = plain_log_sum_exp(teacher, V);
    for (size_t i = 0; i < V; i++)
        kl += exp(teacher[i] - teacher_lse) * (teacher[i] - teacher_lse - (logits[i] - lse));
    return kl;
}

/* df/dx of each of the n elements of x, by central differences; `f` reads x through its context. */
static inline double *differences(double (*f)(void *), void *context, double *x, size_t n) {
    double *g = doubles(n), h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        double kept = x[i];
        x[i] = kept + h;
        double above = f(context);
        x[i] = kept - h;
        g[i] = (above - f(context)) / (2 * h);
        x[i] = kept;
    }
    return g;
}

#endif
