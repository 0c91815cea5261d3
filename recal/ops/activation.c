#include "recal/ops/ops.h"
#include "recal/simd.h"

enum { PIECE = 8192 };

/* An activation and its slope at x. */
typedef struct Point {
    float value, slope;
} Point;

static inline Point silu(float x) {
    float sigma = 1.0f / (1.0f + exp_approx(-x));
    return (Point){x * sigma, sigma * (1.0f + x * (1.0f - sigma))};
}

static inline Point gelu_tanh(float x) {
    const float root = 0.79788456f, cubic = 0.044715f; /* sqrt(2 / pi) */
    float t = tanh_approx(root * (x + cubic * x * x * x));
    float inner = root * (1.0f + 3.0f * cubic * x * x);
    return (Point){0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner};
}

/* Abramowitz and Stegun 7.1.26: within 1.5e-7. */
static inline float erf_approx(float x) {
    float z = x < 0 ? -x : x, t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float y = 1.0f - p * t * exp_approx(-z * z);
    return x < 0 ? -y : y;
}

static inline Point gelu(float x) {
    float cdf = 0.5f * (1.0f + erf_approx(x * 0.70710678f));
    return (Point){x * cdf, cdf + x * 0.39894228f * exp_approx(-0.5f * x * x)};
}

/* GPT-OSS: both halves are clipped, and up is counted from -1. */
enum { CLIP = 7 };

static inline float clip_above(float x) {
    return x > CLIP ? CLIP : x;
}

static inline float clip(float x) {
    return x < -CLIP ? -CLIP : clip_above(x);
}

static inline Point silu_steep(float x) {
    const float steep = 1.702f;
    float sigma = 1.0f / (1.0f + exp_approx(-steep * x));
    return (Point){x * sigma, sigma * (1.0f + steep * x * (1.0f - sigma))};
}

/* One pair of loops per activation, so that each is compiled into vectors. */
#define LOOPS(act)                                                                                           \
    SIMD_CLONES static void act##_forward(float *y, const float *gate, const float *up, size_t n) {          \
        for (size_t i = 0; gate && i < n; i++)                                                               \
            y[i] = act(gate[i]).value * up[i];                                                               \
        for (size_t i = 0; !gate && i < n; i++)                                                              \
            y[i] = act(up[i]).value;                                                                         \
    }                                                                                                        \
    SIMD_CLONES static void act##_backward(float *dgate, float *dup, const float *dy, const float *gate,     \
                                           const float *up, size_t n) {                                      \
        for (size_t i = 0; gate && i < n; i++) {                                                             \
            Point a = act(gate[i]);                                                                          \
            float u = up[i], d = dy[i];                                                                      \
            dgate[i] = d * u * a.slope;                                                                      \
            dup[i] = d * a.value;                                                                            \
        }                                                                                                    \
        for (size_t i = 0; !gate && i < n; i++)                                                              \
            dup[i] = dy[i] * act(up[i]).slope;                                                               \
    }
LOOPS(silu)
LOOPS(gelu)
LOOPS(gelu_tanh)

SIMD_CLONES static void clipped_forward(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = silu_steep(clip_above(gate[i])).value * (clip(up[i]) + 1);
}

SIMD_CLONES static void clipped_backward(float *dgate, float *dup, const float *dy, const float *gate,
                                         const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        Point a = silu_steep(clip_above(g));
        dgate[i] = g < CLIP ? d * (clip(u) + 1) * a.slope : 0;
        dup[i] = u > -CLIP && u < CLIP ? d * a.value : 0;
    }
}

static const struct {
    void (*forward)(float *y, const float *gate, const float *up, size_t n);
    void (*backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t n);
} loops[] = {
    [ACT_SILU] = {silu_forward, silu_backward},
    [ACT_GELU] = {gelu_forward, gelu_backward},
    [ACT_GELU_TANH] = {gelu_tanh_forward, gelu_tanh_backward},
    [ACT_CLIPPED] = {clipped_forward, clipped_backward},
};

void activation_row(Activation act, float *y, const float *gate, const float *up, size_t n) {
    loops[act].forward(y, gate, up, n);
}

void activation_row_backward(Activation act, float *dgate, float *dup, const float *dy, const float *gate,
                             const float *up, size_t n) {
    loops[act].backward(dgate, dup, dy, gate, up, n);
}

typedef struct Work {
    Activation act;
    float *y, *dgate, *dup;
    const float *dy, *gate, *up;
    size_t n;
} Work;

static const float *from(const float *x, size_t at) {
    return x ? x + at : NULL;
}

static void forward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Work *w = context;
    size_t at = task * PIECE, n = w->n - at < PIECE ? w->n - at : PIECE;
    loops[w->act].forward(w->y + at, from(w->gate, at), w->up + at, n);
}

void activation_forward(Pool *p, Activation act, float *y, const float *gate, const float *up, size_t n) {
    Work w = {.act = act, .y = y, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, forward_piece, &w);
}

static void backward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Work *w = context;
    size_t at = task * PIECE, n = w->n - at < PIECE ? w->n - at : PIECE;
    loops[w->act].backward(w->gate ? w->dgate + at : NULL, w->dup + at, w->dy + at, from(w->gate, at),
                           w->up + at, n);
}

void activation_backward(Pool *p, Activation act, float *dgate, float *dup, const float *dy,
                         const float *gate, const float *up, size_t n) {
    Work w = {.act = act, .dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, backward_piece, &w);
}

/* ---- soft caps ---- */

SIMD_CLONES void softcap_row(float *x, float cap, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = cap * tanh_approx(x[i] / cap);
}

SIMD_CLONES void softcap_row_backward(float *d, const float *y, float cap, size_t n) {
    for (size_t i = 0; i < n; i++)
        d[i] *= 1.0f - (y[i] / cap) * (y[i] / cap);
}

typedef struct Cap {
    float *x;
    const float *y;
    float cap;
    size_t n;
} Cap;

static void cap_piece(void *context, size_t task, int thread) {
    (void)thread;
    const Cap *c = context;
    size_t at = task * PIECE, n = c->n - at < PIECE ? c->n - at : PIECE;
    if (c->y)
        softcap_row_backward(c->x + at, c->y + at, c->cap, n);
    else
        softcap_row(c->x + at, c->cap, n);
}

void softcap_forward(Pool *p, float *x, float cap, size_t n) {
    Cap c = {.x = x, .cap = cap, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, cap_piece, &c);
}

void softcap_backward(Pool *p, float *d, const float *y, float cap, size_t n) {
    Cap c = {.x = d, .y = y, .cap = cap, .n = n};
    pool_run(p, (n + PIECE - 1) / PIECE, cap_piece, &c);
}
