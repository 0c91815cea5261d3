/* GEMM on OpenBLAS: choosing its kernels, and sharing a product out over the pool. All matrix products of
 * training and inference go through gemm, or through gemm_one where the caller runs on a thread of the pool
 * already (attention.c, experts.c). OpenBLAS itself runs on one thread (net.c), so its own threads do not
 * compete with the pool's. */
#include "recal/gemm.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The instruction sets that OpenBLAS's SkylakeX kernels use. */
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

void gemm_select_kernels(char **argv) {
    /* An OpenBLAS that is older than the CPU takes it for a Haswell or a Zen without AVX-512. The variable is
     * read only while the library is loaded, so the program has to start itself again. A user's own setting
     * is respected. */
    static const char variable[] = "OPENBLAS_CORETYPE";
    const char *core = openblas_get_corename();
    bool underrated = strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0;
    if (getenv(variable) || !underrated || !has_skylake_kernels()) return;
    if (setenv(variable, "SkylakeX", 1) == 0) execv("/proc/self/exe", argv);
    /* execv returns only if it failed, for example without /proc: the program goes on with the slower
     * kernels. */
    unsetenv(variable);
}

/* A product with one row is a matrix-vector product. It reads every weight once and is bound by memory; sgemm
 * would copy the matrix into packed blocks first, which doubles the traffic. */
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

/* A product that is cut into slices, one per thread. */
typedef struct Slices {
    const Gemm *whole;
    size_t n;     /* slices */
    bool by_rows; /* slices of rows of C, otherwise of columns */
} Slices;

/* Where slice i of n begins. Slices begin at multiples of 16 rows or columns, because BLAS kernels compute
 * tiles of that order and are slow at ragged edges. */
static size_t slice_start(size_t total, size_t i, size_t n) {
    size_t at = total * i / n / 16 * 16;
    return i == n ? total : at; /* the last slice takes what the rounding left */
}

/* Task: one slice, as a product of its own. Pointers move to its first row or column of the operand and
 * of C. */
static void run_slice(void *context, size_t i, int thread) {
    (void)thread;
    const Slices *s = context;
    Gemm g = *s->whole;
    size_t total = s->by_rows ? g.m : g.n;
    size_t from = slice_start(total, i, s->n), to = slice_start(total, i + 1, s->n);
    if (from == to) return;
    if (s->by_rows) {
        /* Rows of C come from rows of A, which are columns in memory if A is transposed. */
        g.a += g.a_transposed ? from : from * g.lda;
        g.c += from * g.ldc;
        g.m = to - from;
    } else {
        /* Columns of C come from columns of B, which are rows in memory if B is transposed. */
        g.b += g.b_transposed ? from * g.ldb : from;
        g.c += from;
        g.n = to - from;
    }
    gemm_one(&g);
}

void gemm(Pool *p, const Gemm *g) {
    size_t threads = (size_t)pool_size(p);
    /* Below about 100,000 multiplications, waking the threads costs more than they save. */
    if (threads == 1 || g->m * g->n * g->k < 1 << 17) {
        gemm_one(g);
        return;
    }
    /* The longer side of C is cut, so that slices stay as square as possible. */
    Slices s = {.whole = g, .n = threads, .by_rows = g->m >= g->n};
    pool_run(p, threads, run_slice, &s);
}
