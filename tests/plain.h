/* A second implementation of the layers, in double precision and written as directly as the formulas of the
 * papers. The tests compare the fast layers of recal/ops with it, and check gradients by finite differences
 * of it: a central difference in double is accurate to about 1e-9, so an error of a float gradient shows. */
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

/* These functions run on one thread, so the thread sanitizer can find nothing in them, and they are ten times
 * faster without it. */
#define ONE_THREAD __attribute__((no_sanitize("thread")))

/* `n` zeros; the caller frees them. */
static inline double *doubles(size_t n) {
    return xcalloc(n, sizeof(double));
}

/* `n` normally distributed values of standard deviation `std`; the caller frees them. */
static inline double *random_doubles(Random *r, size_t n, double std) {
    double *x = doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] =
            (float)(std * random_normal(r)); /* rounded to float, so that both sides start from one value */
    return x;
}

/* A copy in single precision; the caller frees it. */
static inline float *as_floats(const double *x, size_t n) {
    float *y = xcalloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = (float)x[i];
    return y;
}

/* Fails where |got - expected| exceeds `tolerance` times |expected| (Euclidean norms of the whole arrays).
 * `least` is a lower bound of that norm, for arrays whose exact value is zero. `what` names the array in the
 * message. */
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

/* Linear layer: y (N, out) = x (N, in) * w (out, in)^T + bias (out); `bias` may be NULL. */
ONE_THREAD static inline void plain_linear(double *y, const double *x, const double *w, const double *bias,
                                           size_t N, size_t in, size_t out) {
    for (size_t i = 0; i < N; i++)
        for (size_t o = 0; o < out; o++) {
            double sum = bias ? bias[o] : 0;
            for (size_t c = 0; c < in; c++)
                sum += x[i * in + c] * w[o * in + c];
            y[i * out + o] = sum;
        }
}

/* RMSNorm (arXiv 1910.07467): y (N, C) = x (N, C) / rms(x) * w (C). `y` may be `x`. */
ONE_THREAD static inline void plain_rmsnorm(double *y, const double *x, const double *w, size_t N, size_t C,
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

/* LayerNorm (arXiv 1607.06450): y (N, C) = (x - mean) / std * w (C) + b (C); `b` may be NULL. */
ONE_THREAD static inline void plain_layernorm(double *y, const double *x, const double *w, const double *b,
                                              size_t N, size_t C, double eps) {
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

/* Rotary embedding (arXiv 2104.09864) in place on x (N, heads * dim), where row i is at position i % T of its
 * sequence. The first 2 * half dimensions of each head rotate, dimension j together with j + half by the
 * angle position * inv_freq[j]; `scale` multiplies the rotated dimensions, which YaRN uses. */
ONE_THREAD static inline void plain_rope(double *x, const double *inv_freq, double scale, size_t N, size_t T,
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
    size_t T;            /* tokens of the sequence */
    size_t heads;        /* query heads */
    size_t kv_heads;     /* key and value heads; heads / kv_heads query heads share one (GQA) */
    size_t dim;          /* of one head */
    size_t window;       /* tokens that a token attends to, itself included; 0: all before it */
    double scale;        /* on the scores, usually 1 / sqrt(dim) */
    const double *sinks; /* (heads) logits of an additional key without a value; NULL: none */
    double softcap;      /* scores become softcap * tanh(score / softcap); 0: they do not */
    bool chunked;        /* a token attends to its own chunk of `window` tokens instead of a sliding window */
} PlainAttention;

/* Logit soft-capping (Gemma 2, arXiv 2408.00118). */
ONE_THREAD static inline double plain_softcap(double x, double cap) {
    return cap > 0 ? cap * tanh(x / cap) : x;
}

/* Causal attention over one sequence: out and q (T, heads * dim), k and v (T, kv_heads * dim). */
ONE_THREAD static inline void plain_attention(const PlainAttention *a, double *out, const double *q,
                                              const double *k, const double *v) {
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

/* SiLU, GELU by erf, or GELU by tanh (arXiv 1606.08415). */
ONE_THREAD static inline double plain_activation(Activation act, double x) {
    if (act == ACT_SILU) return x / (1 + exp(-x));
    if (act == ACT_GELU) return x * 0.5 * (1 + erf(x / sqrt(2)));
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* Between the projections of an MLP: y (n) = act(gate) * up, or act(up) where `gate` is NULL. */
ONE_THREAD static inline void plain_mlp(Activation act, double *y, const double *gate, const double *up,
                                        size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = gate ? plain_activation(act, gate[i]) * up[i] : plain_activation(act, up[i]);
}

/* log of the sum of exp(x[i]); the softmax of the tests needs no shift because their logits are small. */
ONE_THREAD static inline double plain_log_sum_exp(const double *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i]);
    return log(sum);
}

/* The loss of one row of `V` logits: cross entropy with `target`, or the divergence KL(teacher || model)
 * where there is a row of teacher logits. */
ONE_THREAD static inline double plain_loss(const double *logits, const double *teacher, int32_t target,
                                           size_t V) {
    double lse = plain_log_sum_exp(logits, V), kl = 0;
    if (!teacher) return lse - logits[target];
    double teacher_lse = plain_log_sum_exp(teacher, V);
    for (size_t i = 0; i < V; i++)
        kl += exp(teacher[i] - teacher_lse) * (teacher[i] - teacher_lse - (logits[i] - lse));
    return kl;
}

/* The gradient of f with respect to the `n` elements of x by central differences; the caller frees it. `f`
 * reads x through its context. */
static inline double *differences(double (*f)(void *), void *context, double *x, size_t n) {
    double *g = doubles(n), h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        double saved = x[i];
        x[i] = saved + h;
        double above = f(context);
        x[i] = saved - h;
        g[i] = (above - f(context)) / (2 * h);
        x[i] = saved;
    }
    return g;
}

#endif
