/* The losses of training (objectives.c) and of perplexity: cross entropy and KL divergence, one row of
 * logits per task. All work with the log-sum-exp of a row, lse = log(sum(exp(x))), because softmax(x) =
 * exp(x - lse) and log softmax(x) = x - lse. A loss overwrites the logits with their gradient where one is
 * wanted, since a second array of that size would be the largest of the whole step. */
#include "recal/ops/losses.h"

#include <float.h>
#include <math.h>

#include "recal/simd.h"

/* One call of cross_entropy or kl_divergence. */
typedef struct LossTask {
    float *out;            /* (N): the loss of each row, in nats */
    float *logits;         /* (N, V) */
    float *teacher;        /* (N, V), kl_divergence only */
    const int32_t *target; /* (N) */
    float scale;           /* of the gradient; 0: no gradient is wanted */
    size_t V;              /* vocabulary */
} LossTask;

/* The loops below are vectorized; their pragmas permit partial maxima and sums. */
SIMD_CLONES static float largest(const float *x, size_t n) {
    float top = -FLT_MAX;
#pragma omp simd reduction(max : top)
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* The sum of exp(x - top) over one row; with `top` the largest element no term exceeds 1. */
SIMD_CLONES static float sum_exp(const float *x, float top, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += exp_approx(x[i] - top);
    return sum;
}

/* x = scale * softmax(x), given the row's log-sum-exp. */
SIMD_CLONES static void softmax_scaled(float *x, float lse, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = scale * exp_approx(x[i] - lse);
}

/* The gradient of a row that is not scored. */
SIMD_CLONES static void zero(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = 0;
}

/* The largest element is subtracted before the exponentials, so that none of them overflows. */
static float log_sum_exp(const float *x, size_t n) {
    float top = largest(x, n);
    return top + logf(sum_exp(x, top, n));
}

/* Task: one row. A row that is not scored has loss 0 and, if a gradient is wanted, gradient 0. */
static void cross_entropy_row(void *context, size_t row, int thread) {
    (void)thread;
    const LossTask *l = context;
    float *x = l->logits + row * l->V;
    int32_t target = l->target[row];
    l->out[row] = 0;
    if (target < 0) {
        if (l->scale != 0) zero(x, l->V);
        return;
    }
    float lse = log_sum_exp(x, l->V);
    l->out[row] = lse - x[target];
    if (l->scale == 0) return;
    /* d(lse)/dx is softmax(x), and d(x[target])/dx is 1 at the target and 0 elsewhere. */
    softmax_scaled(x, lse, l->scale, l->V);
    x[target] -= l->scale;
}

void cross_entropy(Pool *p, float *nll, float *logits, const int32_t *target, float scale, size_t N,
                   size_t V) {
    LossTask l = {.out = nll, .logits = logits, .target = target, .scale = scale, .V = V};
    pool_run(p, N, cross_entropy_row, &l);
}

/* Returns sum(t (log t - log s)) with t the teacher's and s the model's probabilities, and leaves t in
 * `teacher`, where the gradient needs it. */
SIMD_CLONES static float kl_sum(float *teacher, const float *x, float teacher_lse, float lse, size_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        float log_t = teacher[i] - teacher_lse;
        float t = exp_approx(log_t);
        sum += t * (log_t - (x[i] - lse));
        teacher[i] = t;
    }
    return sum;
}

/* The gradient of KL(t || s) by the model's logits is s - t: the entropy of t is constant, and the rest is a
 * cross entropy whose target is t. */
SIMD_CLONES static void kl_gradient(float *x, const float *t, float lse, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (exp_approx(x[i] - lse) - t[i]);
}

/* Task: one row, by the rules of cross_entropy_row. */
static void kl_row(void *context, size_t row, int thread) {
    (void)thread;
    const LossTask *l = context;
    float *x = l->logits + row * l->V, *t = l->teacher + row * l->V;
    l->out[row] = 0;
    if (l->target[row] < 0) {
        if (l->scale != 0) zero(x, l->V);
        return;
    }
    float lse = log_sum_exp(x, l->V);
    l->out[row] = kl_sum(t, x, log_sum_exp(t, l->V), lse, l->V);
    if (l->scale != 0) kl_gradient(x, t, lse, l->scale, l->V);
}

void kl_divergence(Pool *p, float *kl, float *logits, float *teacher, const int32_t *target, float scale,
                   size_t N, size_t V) {
    LossTask l = {.out = kl, .logits = logits, .teacher = teacher, .target = target, .scale = scale, .V = V};
    pool_run(p, N, kl_row, &l);
}
