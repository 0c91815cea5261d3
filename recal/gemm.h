/* Matrix products (GEMM) by OpenBLAS, for row-major matrices. OpenBLAS's own threads are switched off
 * (net.c): they would compete with the pool's, and their way of splitting a product is not under our control,
 * whereas a slice of the pool gives the same bits at every run with the same number of threads. */
#ifndef DEROPE_RECAL_GEMM_H
#define DEROPE_RECAL_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "recal/threads.h"

/* To be called first of all by a program that computes, with its argv. An OpenBLAS that is older than the
 * processor takes one with AVX-512 for a Haswell and runs at half its speed. It can be told otherwise only by
 * the environment variable OPENBLAS_CORETYPE, and only while it is loaded. This function therefore sets the
 * variable and executes the program again; it returns if nothing needs to be changed, or if the user has set
 * the variable. */
void gemm_select_kernels(char **argv);

/* C = alpha * op(A) op(B) + beta * C, where op transposes if asked: op(A) is (m, k), op(B) is (k, n), C is
 * (m, n). */
typedef struct Gemm {
    bool a_transposed; /* A is stored (k, m) */
    bool b_transposed; /* B is stored (n, k) */
    size_t m, n, k;
    float alpha;
    float beta; /* 0: C is overwritten, whatever it held */
    const float *a;
    const float *b;
    size_t lda, ldb; /* floats from one row to the next of the matrices as they are stored */
    float *c;
    size_t ldc; /* floats from one row of C to the next */
} Gemm;

/* On the calling thread alone: for tasks of a pool, and for small products. */
void gemm_one(const Gemm *g);
/* Shared out over the pool in slices of rows or columns of C. */
void gemm(Pool *p, const Gemm *g);

#endif
