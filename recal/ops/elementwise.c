/* Sums, scaling, biases and embeddings: loops over rows that the compiler turns into vector code. They are
 * bound by memory bandwidth, so each passes over its data once. */
#include "recal/ops/elementwise.h"

#include "recal/simd.h"

/* How much one task of the pool does: rows, or columns (a cache line of floats times four), or elements.
 * Large enough that taking a task costs nothing beside it, small enough that all threads have work. */
enum { ROWS_PER_TASK = 16, COLUMNS_PER_TASK = 64, ELEMENTS_PER_TASK = 16384 };

/* What the tasks of one call work on; each call uses the fields that it needs. */
typedef struct RowsTask {
    float *x;           /* (N, C): written */
    const float *y;     /* (N, C), (C) or a table (vocabulary, C): read */
    const int32_t *ids; /* (N): rows of the table */
    float scale;
    size_t N, C;
} RowsTask;

/* SIMD_CLONES compiles a function for several instruction sets; the fastest that the CPU has is chosen at
 * run time (simd.h). */
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
    /* The pragma permits the compiler to keep several partial sums, which changes the order of adding. */
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Task: adds the bias to ROWS_PER_TASK rows. */
static void bias_rows(void *context, size_t task, int thread) {
    (void)thread;
    const RowsTask *r = context;
    for (size_t i = task * ROWS_PER_TASK; i < r->N && i < (task + 1) * ROWS_PER_TASK; i++)
        row_add(r->x + i * r->C, r->y, 1, r->C);
}

void bias_forward(Pool *p, float *x, const float *bias, size_t N, size_t C) {
    RowsTask r = {.x = x, .y = bias, .N = N, .C = C};
    pool_run(p, (N + ROWS_PER_TASK - 1) / ROWS_PER_TASK, bias_rows, &r);
}

/* Tasks are blocks of columns and not of rows: every element of dbias then belongs to one task, which adds
 * the rows in their order, so the sum does not depend on the number of threads. */
static void bias_columns(void *context, size_t task, int thread) {
    (void)thread;
    const RowsTask *r = context;
    size_t c = task * COLUMNS_PER_TASK, width = r->C - c < COLUMNS_PER_TASK ? r->C - c : COLUMNS_PER_TASK;
    for (size_t i = 0; i < r->N; i++)
        row_add(r->x + c, r->y + i * r->C + c, 1, width);
}

void bias_backward(Pool *p, float *dbias, const float *dy, size_t N, size_t C) {
    RowsTask r = {.x = dbias, .y = dy, .N = N, .C = C};
    pool_run(p, (C + COLUMNS_PER_TASK - 1) / COLUMNS_PER_TASK, bias_columns, &r);
}

/* Task: x += scale * y for a run of elements. N counts elements here and not rows. */
static void add_piece(void *context, size_t task, int thread) {
    (void)thread;
    const RowsTask *r = context;
    size_t at = task * ELEMENTS_PER_TASK, n = r->N - at < ELEMENTS_PER_TASK ? r->N - at : ELEMENTS_PER_TASK;
    row_add(r->x + at, r->y + at, r->scale, n);
}

void add_scaled(Pool *p, float *x, const float *y, float scale, size_t n) {
    RowsTask r = {.x = x, .y = y, .scale = scale, .N = n};
    pool_run(p, (n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, add_piece, &r);
}

/* x = scale * y for one row; Gemma multiplies embeddings by sqrt(C), others by 1. */
SIMD_CLONES static void copy_scaled(float *x, const float *y, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = scale * y[i];
}

/* Task: copies the rows of the table that some tokens name. The ids were checked by tokens_known. */
static void embed_rows(void *context, size_t task, int thread) {
    (void)thread;
    const RowsTask *r = context;
    for (size_t i = task * ROWS_PER_TASK; i < r->N && i < (task + 1) * ROWS_PER_TASK; i++)
        copy_scaled(r->x + i * r->C, r->y + (size_t)r->ids[i] * r->C, r->scale, r->C);
}

void embedding_forward(Pool *p, float *x, const float *table, const int32_t *ids, float scale, size_t N,
                       size_t C) {
    RowsTask r = {.x = x, .y = table, .ids = ids, .scale = scale, .N = N, .C = C};
    pool_run(p, (N + ROWS_PER_TASK - 1) / ROWS_PER_TASK, embed_rows, &r);
}

/* On one thread: several tokens may have the same id, so tasks over tokens would add to the same row. */
void embedding_backward(float *dtable, const float *dx, const int32_t *ids, float scale, size_t N, size_t C) {
    for (size_t i = 0; i < N; i++)
        row_add(dtable + (size_t)ids[i] * C, dx + i * C, scale, C);
}
