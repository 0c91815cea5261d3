/* Activation functions and their derivatives, for the dense MLP (mlp.c) and for the experts (experts.c).
 * Each function is written once, as an inline function that returns value and slope at a point; the loops
 * over arrays are generated from it, and the compiler drops the part of the point that a loop does not use.
 * Exponentials are the vectorizable approximations of simd.h. */
#include "recal/ops/activation.h"

#include "recal/simd.h"

enum { ELEMENTS_PER_TASK = 8192 }; /* how an array is divided among threads */

/* The value and the derivative of an activation function at one x. */
typedef struct Point {
    float value; /* act(x) */
    float slope; /* act'(x) */
} Point;

/* SiLU: x sigma(x), sigma the logistic function. With sigma' = sigma (1 - sigma), the slope is
 * sigma + x sigma (1 - sigma). */
static inline Point silu(float x) {
    float sigma = 1.0f / (1.0f + exp_approx(-x));
    return (Point){x * sigma, sigma * (1.0f + x * (1.0f - sigma))};
}

/* GELU (arXiv 1606.08415) in its tanh form: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
static inline Point gelu_tanh(float x) {
    const float root = 0.79788456f, cubic = 0.044715f; /* sqrt(2 / pi) */
    float t = tanh_approx(root * (x + cubic * x * x * x));
    float inner = root * (1.0f + 3.0f * cubic * x * x); /* derivative of tanh's argument */
    return (Point){0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner};
}

/* The error function by Abramowitz and Stegun 7.1.26; absolute error at most 1.5e-7. */
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

/* Exact GELU: x Phi(x), Phi the normal distribution function, whose derivative is exp(-x^2/2) / sqrt(2
 * pi). */
static inline Point gelu(float x) {
    float cdf = 0.5f * (1.0f + erf_approx(x * 0.70710678f));
    return (Point){x * cdf, cdf + x * 0.39894228f * exp_approx(-0.5f * x * x)};
}

/* The clipped SwiGLU of GPT-OSS (GptOssExperts in transformers): gate sigma(1.702 gate) (up + 1), with gate
 * limited to at most 7 and up to -7 .. 7 beforehand. */
enum { CLIP = 7 };

/* The gate is limited from above only: for very negative gates the sigmoid is 0 anyway. */
static inline float clip_above(float x) {
    return x > CLIP ? CLIP : x;
}

/* Limits `up`, which enters the product without a sigmoid, on both sides. */
static inline float clip_both(float x) {
    return x < -CLIP ? -CLIP : clip_above(x);
}

/* x sigma(1.702 x), an approximation of GELU, with its slope. */
static inline Point silu_steep(float x) {
    const float steep = 1.702f;
    float sigma = 1.0f / (1.0f + exp_approx(-steep * x));
    return (Point){x * sigma, sigma * (1.0f + steep * x * (1.0f - sigma))};
}

/* Defines the loops act_forward and act_backward for one activation. With `gate` (a gated MLP) the forward
 * loop computes y = act(gate) * up, without (NULL) y = act(up). This is a macro because the activation has to
 * be inlined into the loop for the compiler to vectorize it, which a call through a function pointer would
 * prevent. */
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
            float u = up[i], d = dy[i]; /* read before the outputs, which may be the same arrays */          \
            dgate[i] = d * u * a.slope;                                                                      \
            dup[i] = d * a.value;                                                                            \
        }                                                                                                    \
        for (size_t i = 0; !gate && i < n; i++)                                                              \
            dup[i] = dy[i] * act(up[i]).slope;                                                               \
    }
LOOPS(silu)
LOOPS(gelu)
LOOPS(gelu_tanh)

/* The clipped activation always has a gate, so it has no second loop for its absence. */
SIMD_CLONES static void clipped_forward(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = silu_steep(clip_above(gate[i])).value * (clip_both(up[i]) + 1);
}

/* The gradient with respect to an input that was clipped is 0, because the output does not depend on it. */
SIMD_CLONES static void clipped_backward(float *dgate, float *dup, const float *dy, const float *gate,
                                         const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i];
        Point a = silu_steep(clip_above(g));
        dgate[i] = g < CLIP ? d * (clip_both(u) + 1) * a.slope : 0;
        dup[i] = u > -CLIP && u < CLIP ? d * a.value : 0;
    }
}

/* The loops of each activation. To add an activation, add its enum value in surgery/spec.h, its function
 * above with a line LOOPS(...), and an entry here. */
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

/* The arguments of one call of activation_forward or activation_backward, under the names of the parameters.
 */
typedef struct ActivationTask {
    Activation act;
    float *y, *dgate, *dup;
    const float *dy, *gate, *up;
    size_t n;
} ActivationTask;

/* x + at, or NULL for an absent array. */
static const float *from(const float *x, size_t at) {
    return x ? x + at : NULL;
}

/* Task: ELEMENTS_PER_TASK elements, or what is left at the end. */
static void forward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const ActivationTask *w = context;
    size_t at = task * ELEMENTS_PER_TASK, n = w->n - at < ELEMENTS_PER_TASK ? w->n - at : ELEMENTS_PER_TASK;
    loops[w->act].forward(w->y + at, from(w->gate, at), w->up + at, n);
}

void activation_forward(Pool *p, Activation act, float *y, const float *gate, const float *up, size_t n) {
    ActivationTask w = {.act = act, .y = y, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, forward_piece, &w);
}

/* Task: the gradients of ELEMENTS_PER_TASK elements. Without a gate there is no dgate. */
static void backward_piece(void *context, size_t task, int thread) {
    (void)thread;
    const ActivationTask *w = context;
    size_t at = task * ELEMENTS_PER_TASK, n = w->n - at < ELEMENTS_PER_TASK ? w->n - at : ELEMENTS_PER_TASK;
    loops[w->act].backward(w->gate ? w->dgate + at : NULL, w->dup + at, w->dy + at, from(w->gate, at),
                           w->up + at, n);
}

void activation_backward(Pool *p, Activation act, float *dgate, float *dup, const float *dy,
                         const float *gate, const float *up, size_t n) {
    ActivationTask w = {.act = act, .dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .n = n};
    pool_run(p, (n + ELEMENTS_PER_TASK - 1) / ELEMENTS_PER_TASK, backward_piece, &w);
}
