#include "recal/gemm.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
static bool has_skylake_kernels(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
}
#else
static bool has_skylake_kernels(void) {
    return false;
}
#endif

void gemm_wake(char **argv) {
    static const char variable[] = "OPENBLAS_CORETYPE";
    const char *core = openblas_get_corename();
    bool taken_for_less = strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0;
    if (getenv(variable) || !taken_for_less || !has_skylake_kernels()) return;
    if (setenv(variable, "SkylakeX", 1) == 0) execv("/proc/self/exe", argv);
    unsetenv(variable); /* no such file: it goes on as it is */
}

/* One row against a matrix: bound by memory, nothing to pack. */
static void gemv(const Gemm *g) {
    bool t = g->b_transposed;
    cblas_sgemv(CblasRowMajor, t ? CblasNoTrans : CblasTrans, (int)(t ? g->n : g->k), (int)(t ? g->k : g->n),
                g->alpha, g->b, (int)g->ldb, g->a, 1, g->beta, g->c, 1);
}

void gemm_one(const Gemm *g) {
    if (g->m == 1 && !g->a_transposed) {
        gemv(g);
        return;
    }
    cblas_sgemm(CblasRowMajor, g->a_transposed ? CblasTrans : CblasNoTrans,
                g->b_transposed ? CblasTrans : CblasNoTrans, (int)g->m, (int)g->n, (int)g->k, g->alpha, g->a,
                (int)g->lda, g->b, (int)g->ldb, g->beta, g->c, (int)g->ldc);
}

typedef struct Slices {
    const Gemm *whole;
    size_t n;
    bool by_rows;
} Slices;

/* Slices are multiples of 16 so that kernels meet few ragged edges. */
static size_t slice_start(size_t total, size_t i, size_t n) {
    size_t at = total * i / n / 16 * 16;
    return i == n ? total : at;
}

static void run_slice(void *context, size_t i, int thread) {
    (void)thread;
    const Slices *s = context;
    Gemm g = *s->whole;
    size_t total = s->by_rows ? g.m : g.n;
    size_t from = slice_start(total, i, s->n), to = slice_start(total, i + 1, s->n);
    if (from == to) return;
    if (s->by_rows) {
        g.a += g.a_transposed ? from : from * g.lda;
        g.c += from * g.ldc;
        g.m = to - from;
    } else {
        g.b += g.b_transposed ? from * g.ldb : from;
        g.c += from;
        g.n = to - from;
    }
    gemm_one(&g);
}

void gemm(Pool *p, const Gemm *g) {
    size_t threads = (size_t)pool_size(p);
    if (threads == 1 || g->m * g->n * g->k < 1 << 17) {
        gemm_one(g);
        return;
    }
    Slices s = {.whole = g, .n = threads, .by_rows = g->m >= g->n};
    pool_run(p, threads, run_slice, &s);
}

Gemm linear_product(float *y, const float *x, const float *w, size_t rows, size_t in, size_t out) {
    return (Gemm){.b_transposed = true,
                  .m = rows,
                  .n = out,
                  .k = in,
                  .alpha = 1,
                  .a = x,
                  .lda = in,
                  .b = w,
                  .ldb = in,
                  .c = y,
                  .ldc = out};
}

Gemm linear_input_gradient(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                           size_t out) {
    return (Gemm){.m = rows,
                  .n = in,
                  .k = out,
                  .alpha = 1,
                  .beta = add,
                  .a = dy,
                  .lda = out,
                  .b = w,
                  .ldb = in,
                  .c = dx,
                  .ldc = in};
}

Gemm linear_weight_gradient(float *dw, const float *dy, const float *x, size_t rows, size_t in, size_t out) {
    return (Gemm){.a_transposed = true,
                  .m = out,
                  .n = in,
                  .k = rows,
                  .alpha = 1,
                  .beta = 1,
                  .a = dy,
                  .lda = out,
                  .b = x,
                  .ldb = in,
                  .c = dw,
                  .ldc = in};
}

void linear_forward(Pool *p, float *y, const float *x, const float *w, size_t rows, size_t in, size_t out) {
    Gemm g = linear_product(y, x, w, rows, in, out);
    gemm(p, &g);
}

void linear_backward(Pool *p, float *dx, bool add_dx, float *dw, const float *dy, const float *x,
                     const float *w, size_t rows, size_t in, size_t out) {
    if (dx) {
        Gemm g = linear_input_gradient(dx, add_dx, dy, w, rows, in, out);
        gemm(p, &g);
    }
    if (dw) {
        Gemm g = linear_weight_gradient(dw, dy, x, rows, in, out);
        gemm(p, &g);
    }
}
