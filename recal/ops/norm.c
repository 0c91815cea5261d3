/* RMSNorm and LayerNorm: the same rows, the one with a mean of 0. */
#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/ops/ops.h"
#include "recal/simd.h"

enum { ROWS = 16, COLUMNS = 64 };

typedef struct Norm {
    NormKind kind;
    float *y, *rstd_out, *dx, *dw;
    float *mean; /* (N): of the rows, for the columns on the way back */
    const float *dy, *x, *w, *b, *rstd;
    size_t N, C;
    float eps;
} Norm;

SIMD_CLONES static float mean_of(const float *x, size_t C) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += x[i];
    return sum / (float)C;
}

static float row_mean(const Norm *n, size_t i) {
    return n->kind == NORM_LAYER ? mean_of(n->x + i * n->C, n->C) : 0;
}

SIMD_CLONES static void forward_row(float *y, float *rstd, const float *x, const float *w, const float *b,
                                    float mean, size_t C, float eps) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    float r = 1.0f / sqrtf(sum / (float)C + eps);
    *rstd = r;
    for (size_t i = 0; i < C; i++)
        y[i] = (x[i] - mean) * r * w[i];
    for (size_t i = 0; b && i < C; i++)
        y[i] += b[i];
}

static void forward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++)
        forward_row(n->y + i * n->C, &n->rstd_out[i], n->x + i * n->C, n->w, n->b, row_mean(n, i), n->C,
                    n->eps);
}

void norm_forward(Pool *p, NormKind kind, float *y, float *rstd, const float *x, const float *w,
                  const float *b, size_t N, size_t C, float eps) {
    Norm n = {.kind = kind, .y = y, .rstd_out = rstd, .x = x, .w = w, .b = b, .N = N, .C = C, .eps = eps};
    pool_run(p, (N + ROWS - 1) / ROWS, forward_rows, &n);
}

/* dx = r * (w dy - mean(w dy) - xhat * mean(w dy xhat)), xhat = (x - mean) r; RMSNorm has no first mean */
SIMD_CLONES static void backward_row(float *dx, const float *dy, const float *x, const float *w, float mean,
                                     float all, float r, size_t C) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (size_t i = 0; i < C; i++)
        dot += dy[i] * w[i] * (x[i] - mean);
    float along = dot * r * r / (float)C;
    for (size_t i = 0; i < C; i++)
        dx[i] += r * (dy[i] * w[i] - all - (x[i] - mean) * along);
}

SIMD_CLONES static float mean_product(const float *a, const float *b, size_t C) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += a[i] * b[i];
    return sum / (float)C;
}

static void backward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++) {
        const float *dy = n->dy + i * n->C;
        n->mean[i] = row_mean(n, i);
        backward_row(n->dx + i * n->C, dy, n->x + i * n->C, n->w, n->mean[i],
                     n->kind == NORM_LAYER ? mean_product(dy, n->w, n->C) : 0, n->rstd[i], n->C);
    }
}

SIMD_CLONES static void backward_columns(float *dw, const float *dy, const float *x, const float *mean,
                                         const float *rstd, size_t N, size_t C, size_t width) {
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < width; c++)
            dw[c] += dy[i * C + c] * (x[i * C + c] - mean[i]) * rstd[i];
}

static void backward_weights(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    size_t c = task * COLUMNS;
    backward_columns(n->dw + c, n->dy + c, n->x + c, n->mean, n->rstd, n->N, n->C,
                     n->C - c < COLUMNS ? n->C - c : COLUMNS);
}

void norm_backward(Pool *p, NormKind kind, float *dx, float *dw, float *db, const float *dy, const float *x,
                   const float *w, const float *rstd, size_t N, size_t C) {
    Norm n = {.kind = kind, .dx = dx, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = rstd, .N = N, .C = C};
    n.mean = xcalloc(N, sizeof *n.mean);
    pool_run(p, (N + ROWS - 1) / ROWS, backward_rows, &n);
    if (dw) pool_run(p, (C + COLUMNS - 1) / COLUMNS, backward_weights, &n);
    free(n.mean);
    if (db) bias_backward(p, db, dy, N, C);
}
