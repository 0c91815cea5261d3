/* RMSNorm (arXiv 1910.07467) and LayerNorm in one implementation: RMSNorm is LayerNorm with the mean taken
 * as 0. Used for the norms of the residual stream and for QK-norm, where a row is one head or all heads of a
 * token. The forward pass saves 1 / std of each row for the backward pass; the mean is cheaper to compute
 * again. */
#include "recal/ops/norm.h"

#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/ops/elementwise.h"
#include "recal/simd.h"

/* What one task of the pool does: rows for y and dx, columns for dw. */
enum { ROWS_PER_TASK = 16, COLUMNS_PER_TASK = 64 };

/* One call of norm_forward or norm_backward; the names are those of the parameters in norm.h. */
typedef struct NormTask {
    NormKind kind;
    float *y, *rstd_out, *dx, *dw;
    float *mean; /* (N): means of the rows, computed for dx and used again for dw */
    const float *dy, *x, *w, *b, *rstd;
    size_t N, C;
    float eps;
} NormTask;

/* The mean over one row. */
SIMD_CLONES static float mean_of(const float *x, size_t C) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += x[i];
    return sum / (float)C;
}

/* The mean that the norm subtracts: LayerNorm's, and 0 for RMSNorm. */
static float row_mean(const NormTask *n, size_t i) {
    return n->kind == NORM_LAYER ? mean_of(n->x + i * n->C, n->C) : 0;
}

/* One row: r = 1 / sqrt(mean((x - mean)^2) + eps) goes to *rstd, y = (x - mean) r w + b. y may be x. */
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

/* Task: the forward pass of ROWS_PER_TASK rows. */
static void forward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const NormTask *n = context;
    for (size_t i = task * ROWS_PER_TASK; i < n->N && i < (task + 1) * ROWS_PER_TASK; i++)
        forward_row(n->y + i * n->C, &n->rstd_out[i], n->x + i * n->C, n->w, n->b, row_mean(n, i), n->C,
                    n->eps);
}

void norm_forward(Pool *p, NormKind kind, float *y, float *rstd, const float *x, const float *w,
                  const float *b, size_t N, size_t C, float eps) {
    NormTask n = {.kind = kind, .y = y, .rstd_out = rstd, .x = x, .w = w, .b = b, .N = N, .C = C, .eps = eps};
    pool_run(p, (N + ROWS_PER_TASK - 1) / ROWS_PER_TASK, forward_rows, &n);
}

/* One row of dx. Let r = 1/std and xhat = (x - mean) r, so that y = w xhat + b. Every y[j] depends on every
 * x[i], directly and through the mean and r; collecting the three paths gives
 *
 *     dx = r * (w dy - mean(w dy) - xhat * mean(w dy xhat))
 *
 * with the means over the row. RMSNorm subtracts no mean, so its formula lacks the term mean(w dy), which the
 * caller passes as `mean_wdy` = 0. `along` below is r * mean(w dy xhat), the component of w dy along xhat. */
SIMD_CLONES static void backward_row(float *dx, const float *dy, const float *x, const float *w, float mean,
                                     float mean_wdy, float r, size_t C) {
    /* Step 1: the component of w dy along xhat. Step 2: dx, which is added to what is there. */
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (size_t i = 0; i < C; i++)
        dot += dy[i] * w[i] * (x[i] - mean);
    float along = dot * r * r / (float)C;
    for (size_t i = 0; i < C; i++)
        dx[i] += r * (dy[i] * w[i] - mean_wdy - (x[i] - mean) * along);
}

/* mean(a b) over one row. */
SIMD_CLONES static float mean_product(const float *a, const float *b, size_t C) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += a[i] * b[i];
    return sum / (float)C;
}

/* Task: dx of ROWS_PER_TASK rows. The means are stored for backward_weights, which runs afterwards. */
static void backward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const NormTask *n = context;
    for (size_t i = task * ROWS_PER_TASK; i < n->N && i < (task + 1) * ROWS_PER_TASK; i++) {
        const float *dy = n->dy + i * n->C;
        n->mean[i] = row_mean(n, i);
        backward_row(n->dx + i * n->C, dy, n->x + i * n->C, n->w, n->mean[i],
                     n->kind == NORM_LAYER ? mean_product(dy, n->w, n->C) : 0, n->rstd[i], n->C);
    }
}

/* dw[c] += sum over rows of dy[c] * xhat[c], for `width` columns. */
SIMD_CLONES static void backward_columns(float *dw, const float *dy, const float *x, const float *mean,
                                         const float *rstd, size_t N, size_t C, size_t width) {
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < width; c++)
            dw[c] += dy[i * C + c] * (x[i * C + c] - mean[i]) * rstd[i];
}

/* Tasks are blocks of columns, so that each element of dw belongs to one task and is summed in a fixed
 * order. */
static void backward_weights(void *context, size_t task, int thread) {
    (void)thread;
    const NormTask *n = context;
    size_t c = task * COLUMNS_PER_TASK;
    backward_columns(n->dw + c, n->dy + c, n->x + c, n->mean, n->rstd, n->N, n->C,
                     n->C - c < COLUMNS_PER_TASK ? n->C - c : COLUMNS_PER_TASK);
}

void norm_backward(Pool *p, NormKind kind, float *dx, float *dw, float *db, const float *dy, const float *x,
                   const float *w, const float *rstd, size_t N, size_t C) {
    NormTask n = {.kind = kind, .dx = dx, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = rstd, .N = N, .C = C};
    n.mean = xcalloc(N, sizeof *n.mean);
    pool_run(p, (N + ROWS_PER_TASK - 1) / ROWS_PER_TASK, backward_rows, &n);
    if (dw) pool_run(p, (C + COLUMNS_PER_TASK - 1) / COLUMNS_PER_TASK, backward_weights, &n);
    free(n.mean);
    if (db) bias_backward(p, db, dy, N, C); /* y = ... + b, so b collects dy over the rows */
}
