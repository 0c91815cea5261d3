#include "recal/layers/layers.h"
#include "recal/simd.h"

enum { PIECE = 8192 };

typedef struct Swiglu {
    float *y, *dgate, *dup;
    const float *dy, *gate, *up;
    size_t n;
} Swiglu;

SIMD_CLONES static void forward(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + exp_approx(-gate[i])) * up[i];
}

static void forward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Swiglu *s = context;
    size_t at = task * PIECE, n = s->n - at < PIECE ? s->n - at : PIECE;
    forward(s->y + at, s->gate + at, s->up + at, n);
}

void swiglu_forward(Pool *p, float *y, const float *gate, const float *up, size_t n) {
    Swiglu s = {.y = y, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, forward_piece, &s);
}

/* silu'(g) = sigma (1 + g (1 - sigma)) */
SIMD_CLONES static void backward(float *dgate, float *dup, const float *dy, const float *gate,
                                 const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        float sigma = 1.0f / (1.0f + exp_approx(-g));
        dgate[i] = d * u * sigma * (1.0f + g * (1.0f - sigma));
        dup[i] = d * g * sigma;
    }
}

static void backward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Swiglu *s = context;
    size_t at = task * PIECE, n = s->n - at < PIECE ? s->n - at : PIECE;
    backward(s->dgate + at, s->dup + at, s->dy + at, s->gate + at, s->up + at, n);
}

void swiglu_backward(Pool *p, float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                     size_t n) {
    Swiglu s = {.dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, backward_piece, &s);
}
