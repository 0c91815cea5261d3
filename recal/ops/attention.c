/* Blocks of queries against the keys they can see: scores by one product, softmax row by row, values by
 * another (FlashAttention, arXiv 2205.14135, with BLAS as its kernel). The backward pass recomputes the
 * probabilities from the saved log-sum-exp. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "formats/buffer.h"
#include "recal/gemm.h"
#include "recal/ops/ops.h"
#include "recal/simd.h"

/* Rows of a tile, whose scores stay in the L2 cache: queries (forward), queries (backward), keys. */
enum { ROWS = 192, BLOCK = 64, TILE = 512 };

/* Keys [from, to) that some query of [q0, q1) sees. */
static void visible_keys(const Attention *a, size_t q0, size_t q1, size_t *from, size_t *to) {
    size_t last = a->first_query + q1 - 1, first = a->first_query + q0;
    size_t lowest = a->window && first + 1 > a->window ? first + 1 - a->window : 0;
    if (a->chunked) lowest = first / a->window * a->window;
    *from = lowest > a->first_key ? lowest - a->first_key : 0;
    *to = last + 1 - a->first_key;
    if (*to > a->keys) *to = a->keys;
    if (*from > *to) *from = *to;
}

/* The same for one query, relative to `base`. */
static void row_span(const Attention *a, size_t query, size_t base, size_t *low, size_t *high) {
    size_t from, to;
    visible_keys(a, query, query + 1, &from, &to);
    *low = from - base;
    *high = to - base;
}

static void scores(const Attention *a, float *s, size_t h, size_t q0, size_t nq, size_t from, size_t n) {
    size_t kv = h / (a->heads / a->kv_heads);
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = nq,
                     .n = n,
                     .k = a->dim,
                     .alpha = a->scale,
                     .a = a->q + (q0 * a->heads + h) * a->dim,
                     .lda = a->heads * a->dim,
                     .b = a->k + (from * a->kv_heads + kv) * a->dim,
                     .ldb = a->kv_heads * a->dim,
                     .c = s,
                     .ldc = n});
}

/* exp(s - top) over [low, high), zero elsewhere; returns the sum. */
SIMD_CLONES static float exponentials(float *s, size_t low, size_t high, size_t n, float top) {
    float sum = 0;
    for (size_t i = 0; i < low; i++)
        s[i] = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = low; i < high; i++) {
        s[i] = exp_approx(s[i] - top);
        sum += s[i];
    }
    for (size_t i = high; i < n; i++)
        s[i] = 0;
    return sum;
}

SIMD_CLONES static float largest(const float *s, size_t low, size_t high) {
    float top = -FLT_MAX;
#pragma omp simd reduction(max : top)
    for (size_t i = low; i < high; i++)
        top = s[i] > top ? s[i] : top;
    return top;
}

/* Largest score and sum of exponentials of the tiles that a query has met. */
typedef struct Running {
    float top, sum;
} Running;

/* Row of scores -> exponentials under the top so far; `out` (dim), the sum of earlier tiles, is brought under
 * the same top. */
static void meet_tile(Running *r, float *s, size_t low, size_t high, size_t n, float *out, size_t dim) {
    float top = low < high ? largest(s, low, high) : r->top;
    if (top > r->top) {
        float fade = r->top > -FLT_MAX ? expf(r->top - top) : 0;
        r->sum *= fade;
        if (out) row_scale(out, fade, dim);
        r->top = top;
    }
    r->sum += exponentials(s, low, high, n, r->top);
}

typedef struct Job {
    const Attention *a;
    const AttentionGrad *g;
    size_t blocks;   /* of queries, per sequence and key/value head */
    size_t queries;  /* in a block */
    float **scratch; /* per thread */
} Job;

/* What rows low .. high of a span see of keys [from, from + n), relative to it. */
static void clip(size_t *low, size_t *high, size_t from, size_t n) {
    *low = *low < from ? 0 : *low - from < n ? *low - from : n;
    *high = *high < from ? 0 : *high - from < n ? *high - from : n;
}

/* A block of queries of all heads that share a key/value head: rows (head, query), so that keys and values
 * are packed once for the group. */
typedef struct QueryBlock {
    const Attention *a;
    size_t kv, group, q0, nq;
    float *q, *out, *s; /* (group * nq, dim) twice, (group * nq, TILE) */
    Running *r;         /* (group * nq) */
} QueryBlock;

static float *query_row(const QueryBlock *b, float *base, size_t row) {
    size_t head = b->kv * b->group + row / b->nq, query = b->q0 + row % b->nq;
    return base + (query * b->a->heads + head) * b->a->dim;
}

static void gather_queries(const QueryBlock *b) {
    const Attention *a = b->a;
    for (size_t row = 0; row < b->group * b->nq; row++) {
        const float *q = query_row(b, (float *)a->q, row);
        for (size_t d = 0; d < a->dim; d++)
            b->q[row * a->dim + d] = q[d] * a->scale;
        b->r[row] =
            a->sinks ? (Running){a->sinks[b->kv * b->group + row / b->nq], 1} : (Running){-FLT_MAX, 0};
    }
}

static void forward_tile(const QueryBlock *b, size_t from, size_t n, bool first) {
    const Attention *a = b->a;
    size_t rows = b->group * b->nq, ldk = a->kv_heads * a->dim, at = (from * a->kv_heads + b->kv) * a->dim;
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = rows,
                     .n = n,
                     .k = a->dim,
                     .alpha = 1,
                     .a = b->q,
                     .lda = a->dim,
                     .b = a->k + at,
                     .ldb = ldk,
                     .c = b->s,
                     .ldc = n});
    if (a->softcap > 0) softcap_row(b->s, a->softcap, rows * n);
    for (size_t row = 0; row < rows; row++) {
        size_t low, high;
        row_span(a, b->q0 + row % b->nq, 0, &low, &high);
        clip(&low, &high, from, n);
        meet_tile(&b->r[row], b->s + row * n, low, high, n, first ? NULL : b->out + row * a->dim, a->dim);
    }
    gemm_one(&(Gemm){.m = rows,
                     .n = a->dim,
                     .k = n,
                     .alpha = 1,
                     .beta = first ? 0 : 1,
                     .a = b->s,
                     .lda = n,
                     .b = a->v + at,
                     .ldb = ldk,
                     .c = b->out,
                     .ldc = a->dim});
}

static void scatter_output(const QueryBlock *b) {
    const Attention *a = b->a;
    for (size_t row = 0; row < b->group * b->nq; row++) {
        float *out = query_row(b, a->out, row), share = 1.0f / b->r[row].sum;
        for (size_t d = 0; d < a->dim; d++)
            out[d] = b->out[row * a->dim + d] * share;
        size_t head = b->kv * b->group + row / b->nq;
        if (a->lse) a->lse[head * a->queries + b->q0 + row % b->nq] = b->r[row].top + logf(b->r[row].sum);
    }
}

static void forward_block(void *context, size_t task, int thread) {
    const Job *j = context;
    const Attention *a = &j->a[task / (j->blocks * j->a->kv_heads)];
    size_t q0 = task % j->blocks * j->queries, group = a->heads / a->kv_heads, from, to;
    if (q0 >= a->queries) return;
    size_t nq = a->queries - q0 < j->queries ? a->queries - q0 : j->queries, rows = group * j->queries;
    float *scratch = j->scratch[thread];
    QueryBlock b = {.a = a,
                    .kv = task / j->blocks % a->kv_heads,
                    .group = group,
                    .q0 = q0,
                    .nq = nq,
                    .q = scratch,
                    .out = scratch + rows * a->dim,
                    .r = (Running *)(scratch + 2 * rows * a->dim),
                    .s = scratch + 2 * rows * (a->dim + 1)};
    visible_keys(a, q0, q0 + nq, &from, &to);
    gather_queries(&b);
    for (size_t at = from; at < to; at += TILE)
        forward_tile(&b, at, to - at < TILE ? to - at : TILE, at == from);
    scatter_output(&b);
}

/* `floats` for each thread. */
static float **scratch_new(Pool *p, size_t floats) {
    float **s = xcalloc((size_t)pool_size(p), sizeof *s);
    for (int i = 0; i < pool_size(p); i++)
        s[i] = xmalloc(floats * sizeof **s);
    return s;
}

static void scratch_free(Pool *p, float **s) {
    for (int i = 0; i < pool_size(p); i++)
        free(s[i]);
    free(s);
}

/* Blocks of `queries` that the longest sequence has, and the keys that the widest of them sees. */
static size_t most_keys(const Attention *a, size_t n, size_t queries, size_t *blocks) {
    size_t keys = 1;
    *blocks = 1;
    for (size_t i = 0; i < n; i++) {
        size_t visible = a[i].window && a[i].window + queries < a[i].keys ? a[i].window + queries : a[i].keys;
        if (visible > keys) keys = visible;
        size_t b = (a[i].queries + queries - 1) / queries;
        if (b > *blocks) *blocks = b;
    }
    return keys;
}

void attention_forward(Pool *p, const Attention *a, size_t n) {
    size_t group = a->heads / a->kv_heads;
    Job j = {.a = a, .queries = group < ROWS / 8 ? ROWS / group : 8};
    size_t keys = most_keys(a, n, j.queries, &j.blocks), rows = group * j.queries;
    j.scratch = scratch_new(p, rows * (2 * a->dim + 2 + (keys < TILE ? keys : TILE)));
    pool_run(p, n * a->kv_heads * j.blocks, forward_block, &j);
    scratch_free(p, j.scratch);
}

/* ds = p * (dp - delta) * scale, in place of dp */
SIMD_CLONES static void softmax_gradient(float *dp, const float *p, float delta, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        dp[i] = p[i] * (dp[i] - delta) * scale;
}

/* One head's block of queries; adds to dk and dv, writes dq. */
static void backward_block(const Attention *a, const AttentionGrad *g, size_t h, size_t q0, float *scratch,
                           float *dsink) {
    size_t nq = a->queries - q0 < BLOCK ? a->queries - q0 : BLOCK, from, to;
    visible_keys(a, q0, q0 + nq, &from, &to);
    size_t n = to - from, kv = h / (a->heads / a->kv_heads);
    size_t ldq = a->heads * a->dim, ldk = a->kv_heads * a->dim;
    size_t at_q = (q0 * a->heads + h) * a->dim, at_k = (from * a->kv_heads + kv) * a->dim;
    float *p = scratch, *dp = scratch + nq * n, *capped = scratch + 2 * nq * n;
    scores(a, p, h, q0, nq, from, n);
    if (a->softcap > 0) {
        softcap_row(p, a->softcap, nq * n);
        memcpy(capped, p, nq * n * sizeof *p);
    }
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = nq,
                     .n = n,
                     .k = a->dim,
                     .alpha = 1,
                     .a = g->dout + at_q,
                     .lda = ldq,
                     .b = a->v + at_k,
                     .ldb = ldk,
                     .c = dp,
                     .ldc = n});
    for (size_t i = 0; i < nq; i++) {
        size_t low, high;
        row_span(a, q0 + i, from, &low, &high);
        float lse = a->lse[h * a->queries + q0 + i];
        exponentials(p + i * n, low, high, n, lse);
        float delta = row_dot(g->dout + at_q + i * ldq, a->out + at_q + i * ldq, a->dim);
        softmax_gradient(dp + i * n, p + i * n, delta, a->scale, n);
        if (dsink) *dsink -= expf(a->sinks[h] - lse) * delta;
    }
    if (a->softcap > 0) softcap_row_backward(dp, capped, a->softcap, nq * n);
    Gemm into_keys = {.a_transposed = true,
                      .m = n,
                      .n = a->dim,
                      .k = nq,
                      .alpha = 1,
                      .beta = 1,
                      .lda = n,
                      .ldb = ldq,
                      .ldc = ldk};
    into_keys.a = p;
    into_keys.b = g->dout + at_q;
    into_keys.c = g->dv + at_k;
    gemm_one(&into_keys);
    into_keys.a = dp;
    into_keys.b = a->q + at_q;
    into_keys.c = g->dk + at_k;
    gemm_one(&into_keys);
    gemm_one(&(Gemm){.m = nq,
                     .n = a->dim,
                     .k = n,
                     .alpha = 1,
                     .a = dp,
                     .lda = n,
                     .b = a->k + at_k,
                     .ldb = ldk,
                     .c = g->dq + at_q,
                     .ldc = ldq});
}

/* A task is one key/value head of one sequence: its dk and dv are nobody else's. */
static void backward_group(void *context, size_t task, int thread) {
    const Job *j = context;
    size_t s = task / j->a->kv_heads, kv = task % j->a->kv_heads;
    const Attention *a = &j->a[s];
    const AttentionGrad *g = &j->g[s];
    size_t group = a->heads / a->kv_heads;
    for (size_t i = 0; i < a->keys; i++) {
        memset(g->dk + (i * a->kv_heads + kv) * a->dim, 0, a->dim * sizeof *g->dk);
        memset(g->dv + (i * a->kv_heads + kv) * a->dim, 0, a->dim * sizeof *g->dv);
    }
    for (size_t h = kv * group; h < (kv + 1) * group; h++)
        for (size_t q0 = 0; q0 < a->queries; q0 += BLOCK)
            backward_block(a, g, h, q0, j->scratch[thread], g->dsinks ? &g->dsinks[h] : NULL);
}

void attention_backward(Pool *p, const Attention *a, const AttentionGrad *g, size_t n) {
    Job j = {.a = a, .g = g};
    size_t keys = most_keys(a, n, BLOCK, &j.blocks);
    j.scratch = scratch_new(p, (a->softcap > 0 ? 3 : 2) * BLOCK * keys);
    pool_run(p, n * a->kv_heads, backward_group, &j);
    scratch_free(p, j.scratch);
}
