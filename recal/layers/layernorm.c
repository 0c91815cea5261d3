#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/layers/layers.h"
#include "recal/simd.h"

enum { ROWS = 16, COLUMNS = 64 };

typedef struct Norm {
    float *y, *rstd_out, *dx, *dw;
    float *mean; /* (N): of the rows, for the columns */
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
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++) {
        const float *x = n->x + i * n->C;
        forward_row(n->y + i * n->C, &n->rstd_out[i], x, n->w, n->b, mean_of(x, n->C), n->C, n->eps);
    }
}

void layernorm_forward(Pool *p, float *y, float *rstd, const float *x, const float *w, const float *b,
                       size_t N, size_t C, float eps) {
    Norm n = {.y = y, .rstd_out = rstd, .x = x, .w = w, .b = b, .N = N, .C = C, .eps = eps};
    pool_run(p, (N + ROWS - 1) / ROWS, forward_rows, &n);
}

/* dx = r * (w dy - mean(w dy) - xhat * mean(w dy xhat)), xhat = (x - mean) r */
SIMD_CLONES static void backward_row(float *dx, const float *dy, const float *x, const float *w, float mean,
                                     float r, size_t C) {
    float dot = 0, sum = 0;
#pragma omp simd reduction(+ : dot, sum)
    for (size_t i = 0; i < C; i++) {
        sum += dy[i] * w[i];
        dot += dy[i] * w[i] * (x[i] - mean);
    }
    float along = dot * r * r / (float)C, all = sum / (float)C;
    for (size_t i = 0; i < C; i++)
        dx[i] += r * (dy[i] * w[i] - all - (x[i] - mean) * along);
}

static void backward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++) {
        const float *x = n->x + i * n->C;
        n->mean[i] = mean_of(x, n->C);
        backward_row(n->dx + i * n->C, n->dy + i * n->C, x, n->w, n->mean[i], n->rstd[i], n->C);
    }
}

SIMD_CLONES static void backward_columns(float *dw, const float *dy, const float *x, float mean, float rstd,
                                         size_t n) {
    for (size_t c = 0; c < n; c++)
        dw[c] += dy[c] * (x[c] - mean) * rstd;
}

static void backward_weights(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    size_t c = task * COLUMNS, width = n->C - c < COLUMNS ? n->C - c : COLUMNS;
    for (size_t i = 0; i < n->N; i++)
        backward_columns(n->dw + c, n->dy + i * n->C + c, n->x + i * n->C + c, n->mean[i], n->rstd[i], width);
}

void layernorm_backward(Pool *p, float *dx, float *dw, float *db, const float *dy, const float *x,
                        const float *w, const float *rstd, size_t N, size_t C) {
    Norm n = {.dx = dx, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = rstd, .N = N, .C = C};
    n.mean = xcalloc(N, sizeof *n.mean);
    pool_run(p, (N + ROWS - 1) / ROWS, backward_rows, &n);
    pool_run(p, (C + COLUMNS - 1) / COLUMNS, backward_weights, &n);
    free(n.mean);
    if (db) bias_backward(p, db, dy, N, C);
}
