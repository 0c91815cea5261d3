/* Soft capping, y = cap * tanh(x / cap), which keeps values within -cap .. cap (Gemma 2: of attention
 * scores and logits). attention.c uses the functions for rows, output_head.c those for whole arrays; see
 * softcap.h. */
#include "recal/ops/softcap.h"

#include "recal/simd.h"

enum { ELEMENTS_PER_TASK = 8192 };

/* Dividing before tanh and multiplying after it keeps the slope at 0 equal to 1. */
SIMD_CLONES void softcap_row(float *x, float cap, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = cap * tanh_approx(x[i] / cap);
}

/* dtanh(u)/du = 1 - tanh(u)^2, and tanh(u) is y / cap. The factors cap and 1 / cap cancel. */
SIMD_CLONES void softcap_row_backward(float *d, const float *y, float cap, size_t n) {
    for (size_t i = 0; i < n; i++)
        d[i] *= 1.0f - (y[i] / cap) * (y[i] / cap);
}

/* One call of softcap_forward (y NULL) or softcap_backward. */
typedef struct SoftcapTask {
    float *x; /* changed in place: values, or gradients */
    const float *y;
    float cap;
    size_t n;
} SoftcapTask;

/* Task: ELEMENTS_PER_TASK elements, forward or backward. */
static void softcap_piece(void *context, size_t task, int thread) {
    (void)thread;
    const SoftcapTask *c = context;
    size_t at = task * ELEMENTS_PER_TASK, n = c->n - at < ELEMENTS_PER_TASK ? c->n - at : ELEMENTS_PER_TASK;
    if (c->y)
        softcap_row_backward(c->x + at, c->y + at, c->cap, n);
    else
        softcap_row(c->x + at, c->cap, n);
}

void softcap_forward(Pool *p, float *x, float cap, size_t n) {
    SoftcapTask c = {.x = x, .cap = cap, .n = n};
    pool_run(p, (n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, softcap_piece, &c);
}

void softcap_backward(Pool *p, float *d, const float *y, float cap, size_t n) {
    SoftcapTask c = {.x = d, .y = y, .cap = cap, .n = n};
    pool_run(p, (n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, softcap_piece, &c);
}
