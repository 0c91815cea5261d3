/* AdamW (arXiv 1711.05101) over the whole block of weights, with clipping of the global gradient norm; see
 * optimizer.h for the formulas. Called once per optimizer step by train.c with the gradients that backward.c
 * has summed. Sums are made piece by piece in a fixed order, so the result does not depend on the number of
 * threads. */
#include "recal/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/simd.h"

/* Counts or carves (workspace.h). */
static void lay_out(AdamW *o, const Net *n) {
    o->m = workspace_floats(&o->workspace, n->n_weights, 1);
    o->v = workspace_floats(&o->workspace, n->n_weights, 1);
}

bool adamw_init(AdamW *o, const Net *n, Error *e) {
    o->workspace = (Workspace){0};
    lay_out(o, n);
    if (!workspace_alloc(&o->workspace, "optimizer moments", e)) return false;
    lay_out(o, n);
    /* Both moments begin at 0; corrections 1 - beta^t make up for that. */
    memset(o->m, 0, n->n_weights * sizeof *o->m);
    memset(o->v, 0, n->n_weights * sizeof *o->v);
    return true;
}

void adamw_free(AdamW *o) {
    workspace_free(&o->workspace);
    o->m = o->v = NULL;
}

enum { PIECE = 1 << 16 }; /* weights per task of the pool */

/* One step: the whole block for the norm, then one parameter after the other for the update. */
typedef struct AdamWStep {
    const AdamW *o;
    const float *g;
    float *w, *m, *v;
    size_t n;    /* floats in g, w, m and v */
    float scale; /* of the gradient, by clipping */
    float lr;
    float decay;       /* 1 - lr * weight_decay, or 1 */
    float correction1; /* 1 - beta1^t */
    float correction2; /* 1 - beta2^t */
    double *sums; /* sums of squares, one per piece: added in their order, whatever thread computed them */
} AdamWStep;

/* Squares are added in double: hundreds of millions of small terms would be lost in a float. */
SIMD_CLONES static double square_sum(const float *g, size_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)g[i] * g[i];
    return sum;
}

/* Task: the sum of squares of one piece of the gradient. */
static void norm_piece(void *context, size_t i, int thread) {
    (void)thread;
    const AdamWStep *s = context;
    size_t at = i * PIECE;
    s->sums[i] = square_sum(s->g + at, s->n - at < PIECE ? s->n - at : PIECE);
}

/* The formulas of optimizer.h for n weights: `rate` is lr / (1 - beta1^t), `root_correction` is sqrt(1 -
 * beta2^t). */
SIMD_CLONES static void update(float *w, const float *g, float *m, float *v, size_t n, float scale,
                               float decay, float b1, float b2, float rate, float root_correction,
                               float eps) {
    for (size_t i = 0; i < n; i++) {
        float x = g[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * x;
        v[i] = b2 * v[i] + (1 - b2) * x * x;
        w[i] = w[i] * decay - rate * m[i] / (sqrtf(v[i]) / root_correction + eps);
    }
}

/* Task: AdamW for one piece of a parameter. */
static void update_piece(void *context, size_t i, int thread) {
    (void)thread;
    const AdamWStep *s = context;
    const AdamW *o = s->o;
    size_t at = i * PIECE, n = s->n - at < PIECE ? s->n - at : PIECE;
    update(s->w + at, s->g + at, s->m + at, s->v + at, n, s->scale, s->decay, (float)o->beta1,
           (float)o->beta2, s->lr / s->correction1, sqrtf(s->correction2), (float)o->eps);
}

double adamw_step(AdamW *o, Net *n, const float *grads) {
    size_t pieces = (n->n_weights + PIECE - 1) / PIECE;
    AdamWStep s = {.o = o, .g = grads, .n = n->n_weights, .sums = xcalloc(pieces, sizeof(double))};
    /* Step 1: the global norm. The gaps between parameters hold 0 and do not count. */
    pool_run(n->pool, pieces, norm_piece, &s);
    double total = 0;
    for (size_t i = 0; i < pieces; i++)
        total += s.sums[i];
    free(s.sums);
    double norm = sqrt(total);
    if (!isfinite(norm)) return norm; /* one NaN would spoil all weights */
    /* Step 2: what all weights have in common. */
    o->step++;
    s.scale = o->clip > 0 && norm > o->clip ? (float)(o->clip / (norm + 1e-6)) : 1;
    s.lr = (float)o->lr;
    s.correction1 = (float)(1 - pow(o->beta1, (double)o->step));
    s.correction2 = (float)(1 - pow(o->beta2, (double)o->step));
    /* Step 3: the weights, parameter by parameter because weight decay differs. */
    for (size_t i = 0; i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        s.w = n->weights + p->offset;
        s.g = grads + p->offset;
        s.m = o->m + p->offset;
        s.v = o->v + p->offset;
        s.n = p->rows * p->cols;
        s.decay = p->decay ? (float)(1 - o->lr * o->weight_decay) : 1;
        pool_run(n->pool, (s.n + PIECE - 1) / PIECE, update_piece, &s);
    }
    return norm;
}
