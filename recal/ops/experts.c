/* Mixtures of experts. The tokens of each expert are gathered, so that it is one matrix product; threads
 * share out the experts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/gemm.h"
#include "recal/ops/ops.h"

enum { TOKENS = 16 }; /* per task, where threads share out the tokens */

size_t routes_floats(size_t n, size_t used) {
    return n + 4 * used;
}

bool routes_new(Routes *r, const Experts *x, size_t N, Error *e) {
    size_t places = N * x->used;
    float *block =
        big_alloc_unset(N * routes_floats(x->n, x->used) + x->n + 1, sizeof *block, "routes to experts", e);
    if (!block) return false;
    r->probs = block;
    r->share = block + N * x->n;
    r->token = (uint32_t *)(r->share + places);
    r->expert = r->token + places;
    r->place = r->expert + places;
    r->first = r->place + places;
    return true;
}

void routes_free(Routes *r) {
    free(r->probs);
    *r = (Routes){0};
}

typedef struct Work {
    const Experts *x;
    const ExpertParams *g;
    const Routes *r;
    const ExpertRows *rows;
    const float *in, *dy;
    float *out;
    size_t N;
} Work;

/* ---- the router ---- */

static bool is_chosen(const uint32_t *chosen, size_t n, uint32_t expert) {
    for (size_t i = 0; i < n; i++)
        if (chosen[i] == expert) return true;
    return false;
}

/* The highest logit that is not chosen yet; of equal ones the first. */
static uint32_t best_of_rest(const float *logits, size_t n, const uint32_t *chosen, size_t n_chosen) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        if ((best == UINT32_MAX || logits[i] > logits[best]) && !is_chosen(chosen, n_chosen, i)) best = i;
    return best;
}

/* Logits become shares; chosen[] receives the experts. */
static void choose(const Experts *x, float *logits, uint32_t *chosen) {
    for (size_t j = 0; j < x->used; j++)
        chosen[j] = best_of_rest(logits, x->n, chosen, j);
    float highest = logits[chosen[0]], sum = 0;
    for (uint32_t i = 0; i < x->n; i++) {
        bool counts = x->routing == ROUTING_OF_ALL || is_chosen(chosen, x->used, i);
        if (x->routing == ROUTING_OF_INPUT)
            logits[i] = counts ? 1 / (1 + expf(-logits[i])) : 0;
        else
            logits[i] = counts ? expf(logits[i] - highest) : 0;
        sum += logits[i];
    }
    if (x->routing == ROUTING_OF_INPUT) return;
    for (size_t i = 0; i < x->n; i++)
        logits[i] /= sum;
}

static void choose_task(void *context, size_t task, int thread) {
    (void)thread;
    const Work *w = context;
    for (size_t t = task * TOKENS; t < w->N && t < (task + 1) * TOKENS; t++)
        choose(w->x, w->r->probs + t * w->x->n, w->r->expert + t * w->x->used);
}

/* Gives every token its places: those of one expert lie side by side. */
static void lay_out(const Experts *x, Routes *r, size_t N) {
    memset(r->first, 0, (x->n + 1) * sizeof *r->first);
    for (size_t i = 0; i < N * x->used; i++)
        r->first[r->expert[i] + 1]++;
    for (size_t e = 0; e < x->n; e++)
        r->first[e + 1] += r->first[e];
    for (size_t i = 0; i < N * x->used; i++) {
        uint32_t expert = r->expert[i], place = r->first[expert]++;
        r->token[place] = (uint32_t)(i / x->used);
        r->share[place] = r->probs[i / x->used * x->n + expert];
        r->place[i] = place;
    }
    memmove(r->first + 1, r->first, x->n * sizeof *r->first); /* each had run on to the next one's */
    r->first[0] = 0;
}

static void route(Pool *p, const Experts *x, Routes *r, const float *in, size_t N) {
    Work w = {.x = x, .r = r, .N = N};
    linear_forward(p, r->probs, in, x->w.router, N, x->hidden_size, x->n);
    if (x->w.router_bias) bias_forward(p, r->probs, x->w.router_bias, N, x->n);
    pool_run(p, (N + TOKENS - 1) / TOKENS, choose_task, &w);
    lay_out(x, r, N);
}

/* ---- one expert's rows ---- */

static void gather(const Routes *r, float *to, const float *from, size_t first, size_t n, size_t width) {
    for (size_t i = first; i < first + n; i++)
        memcpy(to + i * width, from + r->token[i] * width, width * sizeof *to);
}

/* What an expert reads. */
static void gather_input(const Work *k, size_t first, size_t n) {
    size_t C = k->x->hidden_size;
    gather(k->r, k->rows->in, k->in, first, n, C);
    for (size_t i = first; k->x->routing == ROUTING_OF_INPUT && i < first + n; i++)
        row_scale(k->rows->in + i * C, k->r->share[i], C);
}

/* y (rows, out) = x (rows, in) w^T + bias */
static void apply(float *y, const float *x, const float *w, const float *bias, size_t rows, size_t in,
                  size_t out) {
    Gemm g = linear_product(y, x, w, rows, in, out);
    gemm_one(&g);
    for (size_t i = 0; bias && i < rows; i++)
        row_add(y + i * out, bias, 1, out);
}

/* dx (rows, in) = or += dy w */
static void apply_back(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                       size_t out) {
    Gemm g = linear_input_gradient(dx, add, dy, w, rows, in, out);
    gemm_one(&g);
}

/* dw (out, in) += dy^T x, dbias += dy's column sums */
static void add_gradient(float *dw, float *dbias, const float *dy, const float *x, size_t rows, size_t in,
                         size_t out) {
    Gemm g = linear_weight_gradient(dw, dy, x, rows, in, out);
    gemm_one(&g);
    for (size_t i = 0; dbias && i < rows; i++)
        row_add(dbias, dy + i * out, 1, out);
}

static float *at(float *p, size_t offset) {
    return p ? p + offset : NULL;
}

static ExpertParams params_of(const Experts *x, const ExpertParams *p, size_t e) {
    size_t matrix = e * x->ffn * x->hidden_size;
    return (ExpertParams){.gate = at(p->gate, matrix),
                          .up = at(p->up, matrix),
                          .down = at(p->down, matrix),
                          .gate_bias = at(p->gate_bias, e * x->ffn),
                          .up_bias = at(p->up_bias, e * x->ffn),
                          .down_bias = at(p->down_bias, e * x->hidden_size)};
}

static void forward_task(void *context, size_t e, int thread) {
    (void)thread;
    const Work *k = context;
    const Experts *x = k->x;
    const ExpertRows *rows = k->rows;
    ExpertParams w = params_of(x, &x->w, e);
    size_t first = k->r->first[e], n = k->r->first[e + 1] - first, C = x->hidden_size, F = x->ffn;
    if (!n) return;
    float *in = rows->in + first * C, *gate = rows->gate + first * F, *up = rows->up + first * F,
          *wide = rows->wide + first * F;
    gather_input(k, first, n);
    apply(gate, in, w.gate, w.gate_bias, n, C, F);
    apply(up, in, w.up, w.up_bias, n, C, F);
    activation_row(x->activation, wide, gate, up, n * F);
    apply(rows->out + first * C, wide, w.down, w.down_bias, n, F, C);
}

/* The sum of a token's places: outputs by their shares, or, where shares count inputs and on the way back, as
 * they are. */
static void combine_task(void *context, size_t task, int thread) {
    (void)thread;
    const Work *k = context;
    size_t C = k->x->hidden_size, used = k->x->used;
    for (size_t t = task * TOKENS; t < k->N && t < (task + 1) * TOKENS; t++) {
        float *y = k->out + t * C;
        memset(y, 0, C * sizeof *y);
        for (size_t j = 0; j < used; j++) {
            size_t place = k->r->place[t * used + j];
            bool as_it_is = k->g || k->x->routing == ROUTING_OF_INPUT;
            row_add(y, k->rows->out + place * C, as_it_is ? 1 : k->r->share[place], C);
        }
    }
}

void experts_forward(Pool *p, const Experts *x, Routes *r, const ExpertRows *rows, float *y, const float *in,
                     size_t N) {
    Work w = {.x = x, .r = r, .rows = rows, .in = in, .out = y, .N = N};
    route(p, x, r, in, N);
    pool_run(p, x->n, forward_task, &w);
    pool_run(p, (N + TOKENS - 1) / TOKENS, combine_task, &w);
}

/* ---- the way back ---- */

/* Shares of outputs: the gradient of a place's output is its share times the token's; that of the share is
 * the product of output and gradient, taken in the middle of the MLP, where both are at hand. */
static void back_by_share(const Work *k, const ExpertParams *w, const float *wide, float *d, float *dwide,
                          size_t first, size_t n) {
    size_t C = k->x->hidden_size, F = k->x->ffn;
    for (size_t i = 0; i < n; i++) {
        float share = k->r->share[first + i], of_share = row_dot(wide + i * F, dwide + i * F, F);
        if (w->down_bias) of_share += row_dot(d + i * C, w->down_bias, C);
        k->r->share[first + i] = of_share;
        row_scale(d + i * C, share, C);
        row_scale(dwide + i * F, share, F);
    }
}

/* Shares of inputs: the same of the input and its gradient. */
static void back_to_input(const Work *k, float *d, size_t first, size_t n) {
    size_t C = k->x->hidden_size;
    for (size_t i = 0; i < n; i++) {
        float share = k->r->share[first + i];
        k->r->share[first + i] = row_dot(d + i * C, k->in + k->r->token[first + i] * C, C);
        row_scale(d + i * C, share, C);
    }
}

/* Leaves the gradients of the shares in r->share, those of what the tokens gave in rows->out. */
static void backward_task(void *context, size_t e, int thread) {
    (void)thread;
    const Work *k = context;
    const Experts *x = k->x;
    const ExpertRows *rows = k->rows;
    ExpertParams w = params_of(x, &x->w, e), g = params_of(x, k->g, e);
    size_t first = k->r->first[e], n = k->r->first[e + 1] - first, C = x->hidden_size, F = x->ffn;
    if (!n) return;
    float *in = rows->in + first * C, *d = rows->out + first * C, *gate = rows->gate + first * F,
          *up = rows->up + first * F, *dwide = rows->wide + first * F, *wide = rows->spare + first * F;
    gather_input(k, first, n);
    gather(k->r, rows->out, k->dy, first, n, C);
    activation_row(x->activation, wide, gate, up, n * F);
    apply_back(dwide, false, d, w.down, n, F, C);
    if (x->routing != ROUTING_OF_INPUT) back_by_share(k, &w, wide, d, dwide, first, n);
    add_gradient(g.down, g.down_bias, d, wide, n, F, C);
    activation_row_backward(x->activation, gate, up, dwide, gate, up, n * F);
    add_gradient(g.gate, g.gate_bias, gate, in, n, C, F);
    add_gradient(g.up, g.up_bias, up, in, n, C, F);
    apply_back(d, false, gate, w.gate, n, C, F);
    apply_back(d, true, up, w.up, n, C, F);
    if (x->routing == ROUTING_OF_INPUT) back_to_input(k, d, first, n);
}

/* The softmax's way back, or the sigmoid's: shares become gradients of logits. */
static void router_task(void *context, size_t task, int thread) {
    (void)thread;
    const Work *k = context;
    const Routes *r = k->r;
    size_t n = k->x->n, used = k->x->used;
    for (size_t t = task * TOKENS; t < k->N && t < (task + 1) * TOKENS; t++) {
        bool sigmoid = k->x->routing == ROUTING_OF_INPUT;
        float *probs = r->probs + t * n, mean = 0;
        for (size_t j = 0; j < used; j++) {
            float *share = &r->share[r->place[t * used + j]], prob = probs[r->expert[t * used + j]];
            *share *= sigmoid ? prob * (1 - prob) : prob;
            mean += *share;
        }
        row_scale(probs, sigmoid ? 0 : -mean, n);
        for (size_t j = 0; j < used; j++)
            probs[r->expert[t * used + j]] += r->share[r->place[t * used + j]];
    }
}

void experts_backward(Pool *p, const Experts *x, const ExpertParams *g, Routes *r, const ExpertRows *rows,
                      float *din, const float *dy, const float *in, size_t N) {
    Work w = {.x = x, .g = g, .r = r, .rows = rows, .in = in, .dy = dy, .out = din, .N = N};
    pool_run(p, x->n, backward_task, &w);
    pool_run(p, (N + TOKENS - 1) / TOKENS, combine_task, &w);
    pool_run(p, (N + TOKENS - 1) / TOKENS, router_task, &w);
    if (x->w.router_bias) bias_backward(p, g->router_bias, r->probs, N, x->n);
    linear_backward(p, din, true, g->router, r->probs, in, x->w.router, N, x->hidden_size, x->n);
}
