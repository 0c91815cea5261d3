/* Rotary position embedding (arXiv 2104.09864): tables of cosines and sines, and the rotation itself. A head
 * is rotated in pairs (i, i + half), the "rotate_half" layout of transformers; checkpoints with interleaved
 * pairs are reordered when they are read. rope_tables.c makes the tables of a pass, and transformer_layer.c
 * applies them. */
#include "recal/ops/rope.h"

#include <math.h>

#include "recal/simd.h"

/* `scale` multiplies both functions, which multiplies q . k by its square (YaRN and LongRoPE). */
void rope_table(float *cosines, float *sines, const double *inv_freq, double scale, size_t first, size_t n,
                size_t half) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < half; j++) {
            /* The angle is rounded to fp32 before the cosine is taken, as transformers and llama.cpp do; at
             * positions of many thousands an exact angle would give visibly different logits. */
            float angle = (float)(first + i) * (float)inv_freq[j];
            cosines[i * half + j] = (float)(cos(angle) * scale);
            sines[i * half + j] = (float)(sin(angle) * scale);
        }
}

/* One call of rope_apply; the names are those of its parameters. */
typedef struct RotationTask {
    float *x;
    const float *cos, *sin;
    size_t N, T, heads, dim, half;
    float sign; /* +1 rotates forward, -1 back */
} RotationTask;

/* (a, b) -> (a cos - b sin, b cos + a sin) for every pair of one head; c and s are (half). */
SIMD_CLONES static void rotate_head(float *x, const float *c, const float *s, size_t half, float sign) {
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * c[i] - sign * b * s[i];
        x[i + half] = b * c[i] + sign * a * s[i];
    }
}

/* Task: all heads of one token. They share the angles of its position. */
static void rotate_row(void *context, size_t row, int thread) {
    (void)thread;
    const RotationTask *r = context;
    const float *c = r->cos + row % r->T * r->half, *s = r->sin + row % r->T * r->half;
    for (size_t h = 0; h < r->heads; h++)
        rotate_head(r->x + (row * r->heads + h) * r->dim, c, s, r->half, r->sign);
}

void rope_apply(Pool *p, float *x, const float *cosines, const float *sines, size_t N, size_t T, size_t heads,
                size_t dim, size_t half, bool inverse) {
    RotationTask r = {.x = x,
                      .cos = cosines,
                      .sin = sines,
                      .N = N,
                      .T = T,
                      .heads = heads,
                      .dim = dim,
                      .half = half,
                      .sign = inverse ? -1.0f : 1.0f};
    pool_run(p, N, rotate_row, &r);
}
