/* Mixtures of experts: router, dispatch, the experts themselves, and all three backward. Called for the
 * routed experts of a layer by forward.c, backward.c and inference.c; a shared expert is an ordinary MLP
 * (mlp.c). Each token goes to top_k experts. Its copies lie in "slots", which are sorted by expert, so that
 * an expert's rows are contiguous and one matrix product serves all of them. Threads share out the experts:
 * one task gathers an expert's rows, runs its products on its own thread, and writes to the expert's slots.
 * Where the results of a token are summed, threads share out the tokens. No two tasks write to the same
 * memory, so the results do not depend on the number of threads. */
#include "recal/ops/experts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recal/gemm.h"
#include "recal/ops/activation.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/linear.h"

enum { TOKENS_PER_TASK = 16 };

/* probs (N, n_experts) holds logits, then routing probabilities; weight and token have an entry per slot,
 * expert and slot one per token and choice; first (n_experts + 1) says where each expert's slots begin. */
Dispatch dispatch_lay_out(Workspace *w, size_t n_experts, size_t top_k, size_t N) {
    Dispatch d;
    d.probs = workspace_floats(w, N, n_experts);
    d.weight = workspace_floats(w, N, top_k);
    d.token = workspace_indices(w, N, top_k);
    d.expert = workspace_indices(w, N, top_k);
    d.slot = workspace_indices(w, N, top_k);
    d.first = workspace_indices(w, n_experts + 1, 1);
    return d;
}

/* The arguments of one call of experts_forward or experts_backward, under the names of the parameters. */
typedef struct ExpertsTask {
    const Experts *e;
    const ExpertParams *g; /* backward only */
    const Dispatch *d;
    const ExpertActivations *a;
    const float *x, *dy;
    float *sum; /* (N, C): y forward, dx backward */
    size_t N;
} ExpertsTask;

/* The number of tasks that N tokens are cut into. */
static size_t token_tasks(size_t N) {
    return (N + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK;
}

/* ---- the router ---- */

/* Whether the expert is among the first n that were chosen; top_k is small, so a search is fast enough. */
static bool is_chosen(const uint32_t *chosen, size_t n, uint32_t expert) {
    for (size_t i = 0; i < n; i++)
        if (chosen[i] == expert) return true;
    return false;
}

/* Returns the expert with the highest logit among those not chosen yet, the lowest index if logits are equal.
 * It returns a valid index even if all logits are NaN, so that no array is accessed out of bounds. */
static uint32_t best_of_rest(const float *logits, size_t n, const uint32_t *chosen, size_t n_chosen) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        if ((best == UINT32_MAX || logits[i] > logits[best]) && !is_chosen(chosen, n_chosen, i)) best = i;
    return best;
}

/* Chooses a token's experts, and turns its logits (n_experts) into routing weights in place. */
static void choose(const Experts *e, float *logits, uint32_t *chosen) {
    for (size_t j = 0; j < e->top_k; j++)
        chosen[j] = best_of_rest(logits, e->n_experts, chosen, j);
    /* The first choice has the highest logit, which is subtracted so that no exponential overflows. */
    float highest = logits[chosen[0]], sum = 0;
    for (uint32_t i = 0; i < e->n_experts; i++) {
        /* ROUTING_OF_ALL normalizes over all experts; the other kinds of routing only use the chosen ones. */
        bool counts = e->routing == ROUTING_OF_ALL || is_chosen(chosen, e->top_k, i);
        if (e->routing == ROUTING_OF_INPUT)
            logits[i] = counts ? 1 / (1 + expf(-logits[i])) : 0;
        else
            logits[i] = counts ? expf(logits[i] - highest) : 0;
        sum += logits[i];
    }
    if (e->routing == ROUTING_OF_INPUT) return; /* sigmoids are not normalized */
    for (size_t i = 0; i < e->n_experts; i++)
        logits[i] /= sum;
}

/* Task: the choice of experts for some tokens. */
static void choose_task(void *context, size_t task, int thread) {
    (void)thread;
    const ExpertsTask *w = context;
    for (size_t t = task * TOKENS_PER_TASK; t < w->N && t < (task + 1) * TOKENS_PER_TASK; t++)
        choose(w->e, w->d->probs + t * w->e->n_experts, w->d->expert + t * w->e->top_k);
}

/* Sorts the slots by expert with a counting sort. It is stable: the slots of one expert are in the order of
 * tokens. */
static void assign_slots(const Experts *e, Dispatch *d, size_t N) {
    /* Count the tokens of each expert, then sum up: first[i] becomes the first slot of expert i. */
    memset(d->first, 0, (e->n_experts + 1) * sizeof *d->first);
    for (size_t i = 0; i < N * e->top_k; i++)
        d->first[d->expert[i] + 1]++;
    for (size_t i = 0; i < e->n_experts; i++)
        d->first[i + 1] += d->first[i];
    /* Assign the slots. first[i] is incremented for every slot of expert i, and ends as the first slot of the
     * next expert. */
    for (size_t i = 0; i < N * e->top_k; i++) {
        uint32_t expert = d->expert[i], slot = d->first[expert]++;
        d->token[slot] = (uint32_t)(i / e->top_k);
        d->weight[slot] = d->probs[i / e->top_k * e->n_experts + expert];
        d->slot[i] = slot;
    }
    /* Each first[i] now has the original value of first[i + 1], so moving the array up by one element
     * restores it. */
    memmove(d->first + 1, d->first, e->n_experts * sizeof *d->first);
    d->first[0] = 0;
}

/* Router and dispatch: from x (N, C) to the choices, routing weights and slots in `d`. */
static void route(Pool *p, const Experts *e, Dispatch *d, const float *x, size_t N) {
    ExpertsTask w = {.e = e, .d = d, .N = N};
    linear_forward(p, d->probs, x, e->w.router, e->w.router_bias, N, e->hidden_size, e->n_experts);
    pool_run(p, token_tasks(N), choose_task, &w);
    assign_slots(e, d, N);
}

/* ---- one expert's rows ---- */

/* Copies rows of `from` (N, width) to the slots first .. first + n - 1 of `to` (N * top_k, width). */
static void gather(const Dispatch *d, float *to, const float *from, size_t first, size_t n, size_t width) {
    for (size_t i = first; i < first + n; i++)
        memcpy(to + i * width, from + d->token[i] * width, width * sizeof *to);
}

/* Gathers the inputs of an expert, and multiplies them by the routing weights if the routing is
 * ROUTING_OF_INPUT. */
static void gather_input(const ExpertsTask *k, size_t first, size_t n) {
    size_t C = k->e->hidden_size;
    gather(k->d, k->a->in, k->x, first, n, C);
    for (size_t i = first; k->e->routing == ROUTING_OF_INPUT && i < first + n; i++)
        row_scale(k->a->in + i * C, k->d->weight[i], C);
}

/* y (rows, out) = x (rows, in) w^T + bias, on the calling thread. */
static void apply(float *y, const float *x, const float *w, const float *bias, size_t rows, size_t in,
                  size_t out) {
    Gemm g = linear_product(y, x, w, rows, in, out);
    gemm_one(&g);
    for (size_t i = 0; bias && i < rows; i++)
        row_add(y + i * out, bias, 1, out);
}

/* dx (rows, in) = dy w, or += if `add`, on the calling thread. */
static void input_gradient(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                           size_t out) {
    Gemm g = linear_input_gradient(dx, add, dy, w, rows, in, out);
    gemm_one(&g);
}

/* dw (out, in) += dy^T x and dbias (out) += the sum over rows of dy, on the calling thread. */
static void add_weight_gradient(float *dw, float *dbias, const float *dy, const float *x, size_t rows,
                                size_t in, size_t out) {
    Gemm g = linear_weight_gradient(dw, dy, x, rows, in, out);
    gemm_one(&g);
    for (size_t i = 0; dbias && i < rows; i++)
        row_add(dbias, dy + i * out, 1, out);
}

/* p + offset, or NULL for an absent array. */
static float *at(float *p, size_t offset) {
    return p ? p + offset : NULL;
}

/* Returns pointers to the parameters (or gradients) of one expert, from those of all experts. */
static ExpertParams expert_slice(const Experts *e, const ExpertParams *p, size_t expert) {
    size_t matrix = expert * e->ffn_dim * e->hidden_size;
    return (ExpertParams){.gate = at(p->gate, matrix),
                          .up = at(p->up, matrix),
                          .down = at(p->down, matrix),
                          .gate_bias = at(p->gate_bias, expert * e->ffn_dim),
                          .up_bias = at(p->up_bias, expert * e->ffn_dim),
                          .down_bias = at(p->down_bias, expert * e->hidden_size)};
}

/* Pool task: the forward pass of one expert over all of its rows. */
static void forward_task(void *context, size_t expert, int thread) {
    (void)thread;
    const ExpertsTask *k = context;
    const Experts *e = k->e;
    const ExpertActivations *a = k->a;
    ExpertParams w = expert_slice(e, &e->w, expert);
    size_t first = k->d->first[expert], n = k->d->first[expert + 1] - first, C = e->hidden_size,
           F = e->ffn_dim;
    if (!n) return;
    float *in = a->in + first * C, *gate = a->gate + first * F, *up = a->up + first * F,
          *hidden = a->hidden + first * F;
    /* The gated MLP of this expert, over contiguous rows of its slots. */
    gather_input(k, first, n);
    apply(gate, in, w.gate, w.gate_bias, n, C, F);
    apply(up, in, w.up, w.up_bias, n, C, F);
    activation_row(e->activation, hidden, gate, up, n * F);
    apply(a->out + first * C, hidden, w.down, w.down_bias, n, F, C);
}

/* Pool task: sums the slots of each of TOKENS_PER_TASK tokens. In the forward pass the expert outputs are
 * multiplied by the routing weights, unless the weights multiplied the inputs. In the backward pass
 * backward_task has multiplied the gradients by the weights already. */
static void combine_task(void *context, size_t task, int thread) {
    (void)thread;
    const ExpertsTask *k = context;
    size_t C = k->e->hidden_size, top_k = k->e->top_k;
    bool weighted = !k->g && k->e->routing != ROUTING_OF_INPUT;
    for (size_t t = task * TOKENS_PER_TASK; t < k->N && t < (task + 1) * TOKENS_PER_TASK; t++) {
        float *sum = k->sum + t * C;
        memset(sum, 0, C * sizeof *sum);
        for (size_t j = 0; j < top_k; j++) {
            size_t slot = k->d->slot[t * top_k + j];
            row_add(sum, k->a->out + slot * C, weighted ? k->d->weight[slot] : 1, C);
        }
    }
}

void experts_forward(Pool *p, const Experts *e, Dispatch *d, const ExpertActivations *a, float *y,
                     const float *x, size_t N) {
    ExpertsTask w = {.e = e, .d = d, .a = a, .x = x, .sum = y, .N = N};
    /* Step 1: which expert gets which token. Step 2: the experts, side by side. Step 3: the sum over each
     * token's experts. */
    route(p, e, d, x, N);
    pool_run(p, e->n_experts, forward_task, &w);
    pool_run(p, token_tasks(N), combine_task, &w);
}

/* ---- backward ---- */

/* Backward pass of routing weights that multiply the output:
 *
 *     y = weight * o,   o = hidden w_down^T + b_down
 *     do = weight * dy
 *     dweight = dy . o = hidden . (dy w_down) + dy . b_down
 *
 * The second form of dweight is used because the forward pass does not save o. On entry `dhidden` holds
 * dy w_down. On return d->weight holds dweight, and dy (n, C) and dhidden (n, F) are multiplied by the
 * weights. */
static void weight_of_output_backward(const ExpertsTask *k, const ExpertParams *w, const float *hidden,
                                      float *dy, float *dhidden, size_t first, size_t n) {
    size_t C = k->e->hidden_size, F = k->e->ffn_dim;
    for (size_t i = 0; i < n; i++) {
        float weight = k->d->weight[first + i], dweight = row_dot(hidden + i * F, dhidden + i * F, F);
        if (w->down_bias) dweight += row_dot(dy + i * C, w->down_bias, C);
        k->d->weight[first + i] = dweight;
        row_scale(dy + i * C, weight, C);
        row_scale(dhidden + i * F, weight, F);
    }
}

/* Backward pass of routing weights that multiply the input, in = weight * x: dweight = din . x and dx =
 * weight * din. `din` (n, C) becomes dx, and d->weight becomes dweight. */
static void weight_of_input_backward(const ExpertsTask *k, float *din, size_t first, size_t n) {
    size_t C = k->e->hidden_size;
    for (size_t i = 0; i < n; i++) {
        float weight = k->d->weight[first + i];
        k->d->weight[first + i] = row_dot(din + i * C, k->x + k->d->token[first + i] * C, C);
        row_scale(din + i * C, weight, C);
    }
}

/* Pool task: the backward pass of one expert over all of its rows. It writes the gradients of the routing
 * weights to d->weight, and the contribution of each slot to dx to a->out. */
static void backward_task(void *context, size_t expert, int thread) {
    (void)thread;
    const ExpertsTask *k = context;
    const Experts *e = k->e;
    const ExpertActivations *a = k->a;
    ExpertParams w = expert_slice(e, &e->w, expert), g = expert_slice(e, k->g, expert);
    size_t first = k->d->first[expert], n = k->d->first[expert + 1] - first, C = e->hidden_size,
           F = e->ffn_dim;
    if (!n) return;
    float *in = a->in + first * C, *d = a->out + first * C, *gate = a->gate + first * F,
          *up = a->up + first * F, *dhidden = a->hidden + first * F, *hidden = a->recomputed + first * F;
    /* Step 1: gather the expert's input and the gradient of its output, and recompute the hidden activation.
     */
    gather_input(k, first, n);
    gather(k->d, a->out, k->dy, first, n, C);
    activation_row(e->activation, hidden, gate, up, n * F);
    /* Step 2: back through w_down, and through the routing weight if it multiplied the output. */
    input_gradient(dhidden, false, d, w.down, n, F, C);
    if (e->routing != ROUTING_OF_INPUT) weight_of_output_backward(k, &w, hidden, d, dhidden, first, n);
    add_weight_gradient(g.down, g.down_bias, d, hidden, n, F, C);
    /* Step 3: back through the activation. `gate` and `up` are overwritten with their gradients. */
    activation_row_backward(e->activation, gate, up, dhidden, gate, up, n * F);
    /* Step 4: back through w_gate and w_up to the input. `d` is no longer needed and receives the input's
     * gradient. */
    add_weight_gradient(g.gate, g.gate_bias, gate, in, n, C, F);
    add_weight_gradient(g.up, g.up_bias, up, in, n, C, F);
    input_gradient(d, false, gate, w.gate, n, C, F);
    input_gradient(d, true, up, w.up, n, C, F);
    if (e->routing == ROUTING_OF_INPUT) weight_of_input_backward(k, d, first, n);
}

/* Task: for some tokens, turns d->probs into the gradients of the router's logits.
 *
 *     softmax:  dlogit_i = prob_i (dweight_i - sum over j of prob_j dweight_j)
 *               with dweight = 0 for experts that were not chosen
 *     sigmoid:  dlogit_i = prob_i (1 - prob_i) dweight_i for the chosen experts, 0 for the others
 *
 * The choice itself is a step function and has no gradient. */
static void router_task(void *context, size_t task, int thread) {
    (void)thread;
    const ExpertsTask *k = context;
    const Dispatch *d = k->d;
    size_t n = k->e->n_experts, top_k = k->e->top_k;
    bool sigmoid = k->e->routing == ROUTING_OF_INPUT;
    for (size_t t = task * TOKENS_PER_TASK; t < k->N && t < (task + 1) * TOKENS_PER_TASK; t++) {
        float *probs = d->probs + t * n, mean = 0;
        /* dweight becomes prob * dweight, or sigma' * dweight; `mean` is the sum over j above. */
        for (size_t j = 0; j < top_k; j++) {
            float *dweight = &d->weight[d->slot[t * top_k + j]], prob = probs[d->expert[t * top_k + j]];
            *dweight *= sigmoid ? prob * (1 - prob) : prob;
            mean += *dweight;
        }
        row_scale(probs, sigmoid ? 0 : -mean, n);
        for (size_t j = 0; j < top_k; j++)
            probs[d->expert[t * top_k + j]] += d->weight[d->slot[t * top_k + j]];
    }
}

void experts_backward(Pool *p, const Experts *e, const ExpertParams *g, Dispatch *d,
                      const ExpertActivations *a, float *dx, const float *dy, const float *x, size_t N) {
    ExpertsTask w = {.e = e, .g = g, .d = d, .a = a, .x = x, .dy = dy, .sum = dx, .N = N};
    /* Two paths lead to x: through the experts' inputs (the first two runs), and through the router's logits
     * (the third, and the linear layer). */
    pool_run(p, e->n_experts, backward_task, &w);
    pool_run(p, token_tasks(N), combine_task, &w);
    pool_run(p, token_tasks(N), router_task, &w);
    linear_backward(p, dx, true, g->router, e->w.router_bias ? g->router_bias : NULL, d->probs, x,
                    e->w.router, N, e->hidden_size, e->n_experts);
}
