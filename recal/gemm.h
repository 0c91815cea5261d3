/* Matrix products on OpenBLAS, row-major. OpenBLAS runs single-threaded; the pool shares out slices. */
#ifndef DEROPE_RECAL_GEMM_H
#define DEROPE_RECAL_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "recal/threads.h"

/* Called first of all by a program that computes. An OpenBLAS older than the processor takes one with AVX-512
 * for a Haswell and runs at half its speed; it listens only to an environment variable, and only while it is
 * loaded. So the program begins again with OPENBLAS_CORETYPE set, unless whoever started it has set that. */
void gemm_wake(char **argv);

/* C (m, n) = alpha * op(A) (m, k) * op(B) (k, n) + beta * C; op transposes where asked. Leading dimensions
 * are those of the stored matrices. */
typedef struct Gemm {
    bool a_transposed, b_transposed;
    size_t m, n, k;
    float alpha, beta;
    const float *a, *b;
    size_t lda, ldb;
    float *c;
    size_t ldc;
} Gemm;

/* On the calling thread alone. */
void gemm_one(const Gemm *g);
/* Shared out over the pool. */
void gemm(Pool *p, const Gemm *g);

/* The three products of a linear layer, for gemm_one or gemm: y (rows, out) = x (rows, in) * w (out, in)^T;
 * dx = or += dy * w; dw += dy^T * x. */
Gemm linear_product(float *y, const float *x, const float *w, size_t rows, size_t in, size_t out);
Gemm linear_input_gradient(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                           size_t out);
Gemm linear_weight_gradient(float *dw, const float *dy, const float *x, size_t rows, size_t in, size_t out);

/* y = x * w^T, shared out over the pool. */
void linear_forward(Pool *p, float *y, const float *x, const float *w, size_t rows, size_t in, size_t out);
/* dx = or += dy * w, dw += dy^T * x; either may be NULL. */
void linear_backward(Pool *p, float *dx, bool add_dx, float *dw, const float *dy, const float *x,
                     const float *w, size_t rows, size_t in, size_t out);

#endif
