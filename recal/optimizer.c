#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/simd.h"
#include "recal/train.h"

bool adamw_init(AdamW *o, const Net *n, Error *e) {
    o->m = big_alloc(n->n_weights, sizeof(float), "optimiser moments", e);
    o->v = o->m ? big_alloc(n->n_weights, sizeof(float), "optimiser moments", e) : NULL;
    return o->v != NULL;
}

void adamw_free(AdamW *o) {
    free(o->m);
    free(o->v);
    o->m = o->v = NULL;
}

enum { PIECE = 1 << 16 };

typedef struct Step {
    const AdamW *o;
    const float *g;
    float *w, *m, *v;
    size_t n;
    float scale, lr, decay, correction1, correction2;
    double *sums; /* per piece, so that the order of adding is fixed */
} Step;

SIMD_CLONES static double square_sum(const float *g, size_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++)
        sum += (double)g[i] * g[i];
    return sum;
}

static void norm_piece(void *context, size_t i, int thread) {
    (void)thread;
    const Step *s = context;
    size_t at = i * PIECE;
    s->sums[i] = square_sum(s->g + at, s->n - at < PIECE ? s->n - at : PIECE);
}

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

static void update_piece(void *context, size_t i, int thread) {
    (void)thread;
    const Step *s = context;
    const AdamW *o = s->o;
    size_t at = i * PIECE, n = s->n - at < PIECE ? s->n - at : PIECE;
    update(s->w + at, s->g + at, s->m + at, s->v + at, n, s->scale, s->decay, (float)o->beta1,
           (float)o->beta2, s->lr / s->correction1, sqrtf(s->correction2), (float)o->eps);
}

double adamw_step(AdamW *o, Net *n, const float *grads) {
    size_t pieces = (n->n_weights + PIECE - 1) / PIECE;
    Step s = {.o = o, .g = grads, .n = n->n_weights, .sums = xcalloc(pieces, sizeof(double))};
    pool_run(n->pool, pieces, norm_piece, &s);
    double total = 0;
    for (size_t i = 0; i < pieces; i++)
        total += s.sums[i];
    free(s.sums);
    double norm = sqrt(total);
    if (!isfinite(norm)) return norm;
    o->step++;
    s.scale = o->clip > 0 && norm > o->clip ? (float)(o->clip / (norm + 1e-6)) : 1;
    s.lr = (float)o->lr;
    s.correction1 = (float)(1 - pow(o->beta1, (double)o->step));
    s.correction2 = (float)(1 - pow(o->beta2, (double)o->step));
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
