#include <math.h>

#include "recal/layers/layers.h"
#include "recal/simd.h"

enum { ROWS = 16, COLUMNS = 64 };

typedef struct Norm {
    float *y, *rstd_out, *dx, *dw;
    const float *dy, *x, *w, *rstd;
    size_t N, C;
    float eps;
} Norm;

SIMD_CLONES static void forward_row(float *y, float *rstd, const float *x, const float *w, size_t C,
                                    float eps) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < C; i++)
        sum += x[i] * x[i];
    float r = 1.0f / sqrtf(sum / (float)C + eps);
    *rstd = r;
    for (size_t i = 0; i < C; i++)
        y[i] = x[i] * r * w[i];
}

static void forward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++)
        forward_row(n->y + i * n->C, &n->rstd_out[i], n->x + i * n->C, n->w, n->C, n->eps);
}

void rmsnorm_forward(Pool *p, float *y, float *rstd, const float *x, const float *w, size_t N, size_t C,
                     float eps) {
    Norm n = {.y = y, .rstd_out = rstd, .x = x, .w = w, .N = N, .C = C, .eps = eps};
    pool_run(p, (N + ROWS - 1) / ROWS, forward_rows, &n);
}

/* dx = r * (w dy - xhat * mean(w dy xhat)), xhat = x r */
SIMD_CLONES static void backward_row(float *dx, const float *dy, const float *x, const float *w, float r,
                                     size_t C) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (size_t i = 0; i < C; i++)
        dot += dy[i] * w[i] * x[i];
    float mean = dot * r * r / (float)C;
    for (size_t i = 0; i < C; i++)
        dx[i] += r * (dy[i] * w[i] - x[i] * mean);
}

static void backward_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    for (size_t i = task * ROWS; i < n->N && i < (task + 1) * ROWS; i++)
        backward_row(n->dx + i * n->C, n->dy + i * n->C, n->x + i * n->C, n->w, n->rstd[i], n->C);
}

SIMD_CLONES static void backward_columns(float *dw, const float *dy, const float *x, const float *rstd,
                                         size_t N, size_t C, size_t width) {
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < width; c++)
            dw[c] += dy[i * C + c] * x[i * C + c] * rstd[i];
}

static void backward_weights(void *context, size_t task, int thread) {
    (void)thread;
    const Norm *n = context;
    size_t c = task * COLUMNS;
    backward_columns(n->dw + c, n->dy + c, n->x + c, n->rstd, n->N, n->C,
                     n->C - c < COLUMNS ? n->C - c : COLUMNS);
}

void rmsnorm_backward(Pool *p, float *dx, float *dw, const float *dy, const float *x, const float *w,
                      const float *rstd, size_t N, size_t C) {
    Norm n = {.dx = dx, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = rstd, .N = N, .C = C};
    pool_run(p, (N + ROWS - 1) / ROWS, backward_rows, &n);
    pool_run(p, (C + COLUMNS - 1) / COLUMNS, backward_weights, &n);
}
