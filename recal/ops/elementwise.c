/* Biases, residuals, embeddings: one pass over rows each. */
#include "recal/ops/ops.h"
#include "recal/simd.h"

enum { ROWS = 16, COLUMNS = 64, PIECE = 16384 };

typedef struct Rows {
    float *x;
    const float *y;
    const int32_t *ids;
    float scale;
    size_t N, C;
} Rows;

SIMD_CLONES void row_add(float *x, const float *y, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] += scale * y[i];
}

SIMD_CLONES void row_scale(float *x, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

SIMD_CLONES float row_dot(const float *x, const float *y, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static void bias_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Rows *r = context;
    for (size_t i = task * ROWS; i < r->N && i < (task + 1) * ROWS; i++)
        row_add(r->x + i * r->C, r->y, 1, r->C);
}

void bias_forward(Pool *p, float *x, const float *bias, size_t N, size_t C) {
    Rows r = {.x = x, .y = bias, .N = N, .C = C};
    pool_run(p, (N + ROWS - 1) / ROWS, bias_rows, &r);
}

static void bias_columns(void *context, size_t task, int thread) {
    (void)thread;
    const Rows *r = context;
    size_t c = task * COLUMNS, width = r->C - c < COLUMNS ? r->C - c : COLUMNS;
    for (size_t i = 0; i < r->N; i++)
        row_add(r->x + c, r->y + i * r->C + c, 1, width);
}

void bias_backward(Pool *p, float *dbias, const float *dy, size_t N, size_t C) {
    Rows r = {.x = dbias, .y = dy, .N = N, .C = C};
    pool_run(p, (C + COLUMNS - 1) / COLUMNS, bias_columns, &r);
}

static void add_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Rows *r = context;
    size_t at = task * PIECE, n = r->N - at < PIECE ? r->N - at : PIECE;
    row_add(r->x + at, r->y + at, r->scale, n);
}

void add_scaled(Pool *p, float *x, const float *y, float scale, size_t n) {
    Rows r = {.x = x, .y = y, .scale = scale, .N = n};
    pool_run(p, (n + PIECE - 1) / PIECE, add_piece, &r);
}

SIMD_CLONES static void copy_scaled(float *x, const float *y, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = scale * y[i];
}

static void embed_rows(void *context, size_t task, int thread) {
    (void)thread;
    const Rows *r = context;
    for (size_t i = task * ROWS; i < r->N && i < (task + 1) * ROWS; i++)
        copy_scaled(r->x + i * r->C, r->y + (size_t)r->ids[i] * r->C, r->scale, r->C);
}

void embedding_forward(Pool *p, float *x, const float *table, const int32_t *ids, float scale, size_t N,
                       size_t C) {
    Rows r = {.x = x, .y = table, .ids = ids, .scale = scale, .N = N, .C = C};
    pool_run(p, (N + ROWS - 1) / ROWS, embed_rows, &r);
}

void embedding_backward(float *dtable, const float *dx, const int32_t *ids, float scale, size_t N, size_t C) {
    for (size_t i = 0; i < N; i++)
        row_add(dtable + (size_t)ids[i] * C, dx + i * C, scale, C);
}
