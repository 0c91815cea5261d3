/* Attention in tiles, with BLAS for the products (FlashAttention-2, arXiv 2307.08691, on a CPU). The scores
 * of a whole text are never in memory: that takes queries * keys floats, a tile only FORWARD_ROWS *
 * TILE_KEYS. Training (forward.c, backward.c) and inference.c call it with keys and values of different
 * origin.
 *
 * Forward: a block of queries, of all heads that share a key/value head, meets the visible keys tile by tile.
 * Per query it keeps the largest score so far and the sum of exponentials relative to it. When a later tile
 * raises the largest score, what was summed before is scaled down. At the end the sum is the softmax's
 * denominator.
 *
 * Backward: the probabilities of a block are computed again from the saved log-sum-exp, p = exp(score - lse).
 * With dp[s] = dout . v[s] and delta = sum over s of p[s] dp[s] (which equals dout . out), the softmax's
 * derivative is dscore[s] = p[s] (dp[s] - delta), and from it
 *
 *     dv[s] += p[s] dout
 *     dk[s] += scale dscore[s] q
 *     dq     = scale * sum over s of dscore[s] k[s]
 *     dsink -= p_sink delta,  with p_sink = exp(sink - lse)
 *
 * The last line has no dp, because a sink has no value vector: its value counts as 0. */
#include "recal/ops/attention.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/gemm.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/softcap.h"
#include "recal/simd.h"
#include "recal/workspace.h"

/* Sizes of tiles, chosen so that the scores of a tile stay in the L2 cache (192 x 512 floats are 384 KB). */
enum {
    FORWARD_ROWS = 192,    /* rows (query heads times queries) of a forward block */
    BACKWARD_QUERIES = 64, /* queries of a backward block, one head at a time */
    TILE_KEYS = 512,       /* keys of a forward tile */
};

/* ---- which keys a query sees ---- */

/* Rows [from, to) of the keys that at least one query of rows [q0, q1) sees. */
static void visible_keys(const Attention *a, size_t q0, size_t q1, size_t *from, size_t *to) {
    /* The first query's window reaches furthest back, and the last query is the newest. */
    size_t last = a->first_query + q1 - 1, first = a->first_query + q0;
    size_t lowest = a->window && first + 1 > a->window ? first + 1 - a->window : 0;
    if (a->chunked && a->window) lowest = first / a->window * a->window;
    /* Positions become rows of k and v, limited to the rows that are there. */
    *from = lowest > a->first_key ? lowest - a->first_key : 0;
    *to = last + 1 - a->first_key;
    if (*to > a->keys) *to = a->keys;
    if (*from > *to) *from = *to;
}

/* The part [low, high) of the `n` keys from row `from` on that the query in row `query` sees, counted from
 * `from`. */
static void visible_in_tile(const Attention *a, size_t query, size_t from, size_t n, size_t *low,
                            size_t *high) {
    visible_keys(a, query, query + 1, low, high);
    *low = *low < from ? 0 : *low - from < n ? *low - from : n;
    *high = *high < from ? 0 : *high - from < n ? *high - from : n;
}

/* ---- the online softmax of one query ---- */

/* s[i] becomes exp(s[i] - top) for low <= i < high and 0 elsewhere; returns the sum. */
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

/* The largest of the visible scores s[low] .. s[high - 1]. The pragma permits partial maxima, which makes
 * the loop vector code. */
SIMD_CLONES static float largest(const float *s, size_t low, size_t high) {
    float top = -FLT_MAX;
#pragma omp simd reduction(max : top)
    for (size_t i = low; i < high; i++)
        top = s[i] > top ? s[i] : top;
    return top;
}

/* What a query has gathered from the tiles so far. */
typedef struct RunningSoftmax {
    float top; /* largest score; -FLT_MAX before the first */
    float sum; /* of exp(score - top) */
} RunningSoftmax;

/* Takes one more tile into account: a row `s` of n scores, of which [low, high) are visible, becomes
 * exponentials relative to the largest score so far. `out` (dim) holds the values summed over earlier tiles;
 * NULL for the first. */
static void add_tile(RunningSoftmax *r, float *s, size_t low, size_t high, size_t n, float *out, size_t dim) {
    float top = low < high ? largest(s, low, high) : r->top;
    if (top > r->top) {
        /* Everything summed so far is relative to the old maximum: exp(x - new) = exp(x - old) exp(old -
         * new). */
        float fade = r->top > -FLT_MAX ? expf(r->top - top) : 0;
        r->sum *= fade;
        if (out) row_scale(out, fade, dim);
        r->top = top;
    }
    r->sum += exponentials(s, low, high, n, r->top);
}

/* ---- forward ---- */

/* Memory of one thread in the forward pass. A row is one query of one head. */
typedef struct ForwardScratch {
    float *q;                /* (rows, dim): the block's queries, times the scale */
    float *out;              /* (rows, dim): sums of values, not yet divided by the denominator */
    float *scores;           /* (rows, keys of a tile) */
    RunningSoftmax *running; /* (rows) */
} ForwardScratch;

/* Memory of one thread in the backward pass. */
typedef struct BackwardScratch {
    float *p;      /* (queries of a block, keys): scores, then probabilities */
    float *dp;     /* (queries of a block, keys): gradient of the probabilities, then of the scores */
    float *capped; /* (queries of a block, keys): soft-capped scores; NULL without a soft cap */
} BackwardScratch;

/* One call of attention_forward or attention_backward, shared by all of its tasks. */
typedef struct AttentionTask {
    const Attention *a;
    const AttentionGrad *g;    /* backward only */
    size_t blocks;             /* forward: blocks of queries per sequence and key/value head */
    size_t block_queries;      /* forward: queries in a block */
    ForwardScratch *forward;   /* one per thread */
    BackwardScratch *backward; /* one per thread */
} AttentionTask;

/* A block of nq queries of all heads that share key/value head `kv`. Its rows are ordered (head, query); all
 * of them multiply the same keys and values, so BLAS packs those once for the whole group. */
typedef struct QueryBlock {
    const Attention *a;
    const ForwardScratch *s;
    size_t kv;    /* key/value head */
    size_t group; /* query heads that share it */
    size_t q0;    /* row of the first query */
    size_t nq;    /* queries; the block has group * nq rows */
} QueryBlock;

/* The query head that a row of the block belongs to. */
static size_t head_of_row(const QueryBlock *b, size_t row) {
    return b->kv * b->group + row / b->nq;
}

/* Where the block's row lies in an array (queries, heads * dim): counted in floats from its beginning. */
static size_t offset_of_row(const QueryBlock *b, size_t row) {
    return ((b->q0 + row % b->nq) * b->a->heads + head_of_row(b, row)) * b->a->dim;
}

/* Copies the block's queries together, times the scale, and starts each query's softmax. A sink is a score
 * that has been met before the first key: top = sink, sum = exp(sink - top) = 1. */
static void gather_queries(const QueryBlock *b) {
    const Attention *a = b->a;
    for (size_t row = 0; row < b->group * b->nq; row++) {
        const float *q = a->q + offset_of_row(b, row);
        for (size_t d = 0; d < a->dim; d++)
            b->s->q[row * a->dim + d] = q[d] * a->scale;
        b->s->running[row] =
            a->sinks ? (RunningSoftmax){a->sinks[head_of_row(b, row)], 1} : (RunningSoftmax){-FLT_MAX, 0};
    }
}

/* The block meets the n keys from row `from` on; `first` if it is the block's first tile. */
static void forward_tile(const QueryBlock *b, size_t from, size_t n, bool first) {
    const Attention *a = b->a;
    const ForwardScratch *s = b->s;
    size_t rows = b->group * b->nq, ldk = a->kv_heads * a->dim, at = (from * a->kv_heads + b->kv) * a->dim;
    /* Step 1: scores (rows, n) = q k^T. The scale is in q already. */
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = rows,
                     .n = n,
                     .k = a->dim,
                     .alpha = 1,
                     .a = s->q,
                     .lda = a->dim,
                     .b = a->k + at,
                     .ldb = ldk,
                     .c = s->scores,
                     .ldc = n});
    if (a->softcap > 0) softcap_row(s->scores, a->softcap, rows * n);
    /* Step 2: scores become exponentials, keys that a query may not see become 0. */
    for (size_t row = 0; row < rows; row++) {
        size_t low, high;
        visible_in_tile(a, b->q0 + row % b->nq, from, n, &low, &high);
        add_tile(&s->running[row], s->scores + row * n, low, high, n, first ? NULL : s->out + row * a->dim,
                 a->dim);
    }
    /* Step 3: out (rows, dim) += exponentials * v. The first tile overwrites, so that `out` needs no
     * clearing. */
    gemm_one(&(Gemm){.m = rows,
                     .n = a->dim,
                     .k = n,
                     .alpha = 1,
                     .beta = first ? 0 : 1,
                     .a = s->scores,
                     .lda = n,
                     .b = a->v + at,
                     .ldb = ldk,
                     .c = s->out,
                     .ldc = a->dim});
}

/* Divides by the denominators and puts the rows where they belong; lse = log(sum of exp(score)) = top +
 * log(sum). */
static void scatter_output(const QueryBlock *b) {
    const Attention *a = b->a;
    for (size_t row = 0; row < b->group * b->nq; row++) {
        const RunningSoftmax *r = &b->s->running[row];
        float *out = a->out + offset_of_row(b, row), inverse = 1.0f / r->sum;
        for (size_t d = 0; d < a->dim; d++)
            out[d] = b->s->out[row * a->dim + d] * inverse;
        if (a->lse) a->lse[head_of_row(b, row) * a->queries + b->q0 + row % b->nq] = r->top + logf(r->sum);
    }
}

/* Task: one block of queries of one key/value head of one sequence, in the order (sequence, head, block). */
static void forward_block(void *context, size_t task, int thread) {
    const AttentionTask *j = context;
    const Attention *a = &j->a[task / (j->blocks * j->a->kv_heads)];
    size_t q0 = task % j->blocks * j->block_queries, from, to;
    if (q0 >= a->queries) return; /* this sequence is shorter than the longest */
    QueryBlock b = {.a = a,
                    .s = &j->forward[thread],
                    .kv = task / j->blocks % a->kv_heads,
                    .group = a->heads / a->kv_heads,
                    .q0 = q0,
                    .nq = a->queries - q0 < j->block_queries ? a->queries - q0 : j->block_queries};
    visible_keys(a, q0, q0 + b.nq, &from, &to);
    /* The online softmax over the visible keys, tile by tile. */
    gather_queries(&b);
    for (size_t at = from; at < to; at += TILE_KEYS)
        forward_tile(&b, at, to - at < TILE_KEYS ? to - at : TILE_KEYS, at == from);
    scatter_output(&b);
}

/* The most keys that a block of `queries` queries sees in any of the sequences, and in *blocks the number of
 * such blocks in the longest sequence. */
static size_t most_keys(const Attention *a, size_t n, size_t queries, size_t *blocks) {
    size_t keys = 1;
    *blocks = 1;
    for (size_t i = 0; i < n; i++) {
        /* With a window a block sees its queries' own positions and at most a window before them. */
        size_t visible = a[i].window && a[i].window + queries < a[i].keys ? a[i].window + queries : a[i].keys;
        if (visible > keys) keys = visible;
        size_t b = (a[i].queries + queries - 1) / queries;
        if (b > *blocks) *blocks = b;
    }
    return keys;
}

/* Memory of all threads, counted or carved (workspace.h). Each thread has its own, so tasks need no locks. */
static void lay_out_forward(ForwardScratch *s, size_t threads, Workspace *w, size_t rows, size_t dim,
                            size_t keys) {
    for (size_t i = 0; i < threads; i++) {
        s[i].q = workspace_floats(w, rows, dim);
        s[i].out = workspace_floats(w, rows, dim);
        s[i].running = (RunningSoftmax *)workspace_floats(w, rows, sizeof(RunningSoftmax) / sizeof(float));
        s[i].scores = workspace_floats(w, rows, keys);
    }
}

void attention_forward(Pool *p, const Attention *a, size_t n) {
    size_t group = a->heads / a->kv_heads, threads = (size_t)pool_size(p);
    /* About FORWARD_ROWS rows to a block, but at least eight queries. */
    AttentionTask j = {.a = a, .block_queries = group < FORWARD_ROWS / 8 ? FORWARD_ROWS / group : 8};
    size_t keys = most_keys(a, n, j.block_queries, &j.blocks), tile = keys < TILE_KEYS ? keys : TILE_KEYS;
    Workspace w = {0};
    j.forward = xcalloc(threads, sizeof *j.forward);
    lay_out_forward(j.forward, threads, &w, group * j.block_queries, a->dim, tile);
    workspace_xalloc(&w);
    lay_out_forward(j.forward, threads, &w, group * j.block_queries, a->dim, tile);
    pool_run(p, n * a->kv_heads * j.blocks, forward_block, &j);
    workspace_free(&w);
    free(j.forward);
}

/* ---- backward ---- */

/* dp = p * (dp - delta) * scale: the gradient of the scores before scaling, in place of dp. */
SIMD_CLONES static void softmax_gradient(float *dp, const float *p, float delta, float scale, size_t n) {
    for (size_t i = 0; i < n; i++)
        dp[i] = p[i] * (dp[i] - delta) * scale;
}

/* A block of queries of one head in the backward pass, and where its rows lie. */
typedef struct GradientBlock {
    const Attention *a;
    const AttentionGrad *g;
    const BackwardScratch *s;
    size_t h;          /* query head */
    size_t q0, nq;     /* its rows of q, out, dout and dq */
    size_t from, n;    /* the rows of k and v that they see */
    size_t ldq, ldk;   /* floats from one row to the next in q-like and k-like arrays */
    size_t at_q, at_k; /* where the block begins in them */
} GradientBlock;

/* s->p (nq, n) = scores = scale * q k^T, soft-capped; the capped scores are also kept in s->capped. */
static void backward_scores(const GradientBlock *b) {
    const Attention *a = b->a;
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = b->nq,
                     .n = b->n,
                     .k = a->dim,
                     .alpha = a->scale,
                     .a = a->q + b->at_q,
                     .lda = b->ldq,
                     .b = a->k + b->at_k,
                     .ldb = b->ldk,
                     .c = b->s->p,
                     .ldc = b->n});
    if (a->softcap <= 0) return;
    /* The derivative of the soft cap needs the capped scores, but s->p becomes probabilities; hence the
     * copy. */
    softcap_row(b->s->p, a->softcap, b->nq * b->n);
    memcpy(b->s->capped, b->s->p, b->nq * b->n * sizeof *b->s->p);
}

/* s->dp (nq, n) = dout v^T: the gradient of each probability. */
static void probability_gradients(const GradientBlock *b) {
    gemm_one(&(Gemm){.b_transposed = true,
                     .m = b->nq,
                     .n = b->n,
                     .k = b->a->dim,
                     .alpha = 1,
                     .a = b->g->dout + b->at_q,
                     .lda = b->ldq,
                     .b = b->a->v + b->at_k,
                     .ldb = b->ldk,
                     .c = b->s->dp,
                     .ldc = b->n});
}

/* s->p becomes probabilities and s->dp the gradients of the scaled dot products q . k. */
static void score_gradients(const GradientBlock *b) {
    const Attention *a = b->a;
    const BackwardScratch *s = b->s;
    for (size_t i = 0; i < b->nq; i++) {
        size_t low, high, row = b->at_q + i * b->ldq;
        visible_in_tile(a, b->q0 + i, b->from, b->n, &low, &high);
        float lse = a->lse[b->h * a->queries + b->q0 + i];
        exponentials(s->p + i * b->n, low, high, b->n, lse);
        /* delta = sum of p dp = dout . out, because out is the sum of p v. */
        float delta = row_dot(b->g->dout + row, a->out + row, a->dim);
        softmax_gradient(s->dp + i * b->n, s->p + i * b->n, delta, a->scale, b->n);
        if (b->g->dsinks) b->g->dsinks[b->h] -= expf(a->sinks[b->h] - lse) * delta;
    }
    if (a->softcap > 0) softcap_row_backward(s->dp, s->capped, a->softcap, b->nq * b->n);
}

/* dst (n, dim) += weights^T (n, nq) src (nq, dim): queries' rows summed into keys' or values' rows. */
static void add_to_keys(const GradientBlock *b, float *dst, const float *weights, const float *src) {
    gemm_one(&(Gemm){.a_transposed = true,
                     .m = b->n,
                     .n = b->a->dim,
                     .k = b->nq,
                     .alpha = 1,
                     .beta = 1,
                     .a = weights,
                     .lda = b->n,
                     .b = src + b->at_q,
                     .ldb = b->ldq,
                     .c = dst + b->at_k,
                     .ldc = b->ldk});
}

/* Gradients of one block of queries of head `h`, beginning at row `q0`: dq is overwritten, dk and dv are
 * added to. */
static void backward_block(const Attention *a, const AttentionGrad *g, const BackwardScratch *s, size_t h,
                           size_t q0) {
    size_t nq = a->queries - q0 < BACKWARD_QUERIES ? a->queries - q0 : BACKWARD_QUERIES, from, to;
    visible_keys(a, q0, q0 + nq, &from, &to);
    size_t kv = h / (a->heads / a->kv_heads);
    GradientBlock b = {.a = a,
                       .g = g,
                       .s = s,
                       .h = h,
                       .q0 = q0,
                       .nq = nq,
                       .from = from,
                       .n = to - from,
                       .ldq = a->heads * a->dim,
                       .ldk = a->kv_heads * a->dim,
                       .at_q = (q0 * a->heads + h) * a->dim,
                       .at_k = (from * a->kv_heads + kv) * a->dim};
    /* Step 1: the scores of the forward pass, computed again. */
    backward_scores(&b);
    /* Step 2: dp = dout v^T. */
    probability_gradients(&b);
    /* Step 3: p = exp(score - lse), dscore = scale p (dp - delta), and the sink's gradient. */
    score_gradients(&b);
    /* Step 4: dv += p^T dout and dk += dscore^T q, summed over all queries of all heads of the group. */
    add_to_keys(&b, g->dv, s->p, g->dout);
    add_to_keys(&b, g->dk, s->dp, a->q);
    /* Step 5: dq = dscore k. These queries belong to this block alone, so it is overwritten. */
    gemm_one(&(Gemm){.m = nq,
                     .n = a->dim,
                     .k = b.n,
                     .alpha = 1,
                     .a = s->dp,
                     .lda = b.n,
                     .b = a->k + b.at_k,
                     .ldb = b.ldk,
                     .c = g->dq + b.at_q,
                     .ldc = b.ldq});
}

/* Task: one key/value head of one sequence. No other task adds to its dk and dv, so threads need no locks and
 * the order of adding does not depend on them. */
static void backward_group(void *context, size_t task, int thread) {
    const AttentionTask *j = context;
    size_t sequence = task / j->a->kv_heads, kv = task % j->a->kv_heads;
    const Attention *a = &j->a[sequence];
    const AttentionGrad *g = &j->g[sequence];
    size_t group = a->heads / a->kv_heads;
    /* The blocks add to dk and dv, so these begin at 0. dq is overwritten and needs no clearing. */
    for (size_t i = 0; i < a->keys; i++) {
        memset(g->dk + (i * a->kv_heads + kv) * a->dim, 0, a->dim * sizeof *g->dk);
        memset(g->dv + (i * a->kv_heads + kv) * a->dim, 0, a->dim * sizeof *g->dv);
    }
    for (size_t h = kv * group; h < (kv + 1) * group; h++)
        for (size_t q0 = 0; q0 < a->queries; q0 += BACKWARD_QUERIES)
            backward_block(a, g, &j->backward[thread], h, q0);
}

/* Memory of all threads, counted or carved. A block holds the scores of all keys that it sees, not of one
 * tile, because its log-sum-exp is known already and it has only BACKWARD_QUERIES rows. */
static void lay_out_backward(BackwardScratch *s, size_t threads, Workspace *w, size_t keys, bool softcap) {
    for (size_t i = 0; i < threads; i++) {
        s[i].p = workspace_floats(w, BACKWARD_QUERIES, keys);
        s[i].dp = workspace_floats(w, BACKWARD_QUERIES, keys);
        s[i].capped = workspace_floats(w, softcap ? BACKWARD_QUERIES : 0, keys);
    }
}

void attention_backward(Pool *p, const Attention *a, const AttentionGrad *g, size_t n) {
    AttentionTask j = {.a = a, .g = g};
    size_t keys = most_keys(a, n, BACKWARD_QUERIES, &j.blocks), threads = (size_t)pool_size(p);
    Workspace w = {0};
    j.backward = xcalloc(threads, sizeof *j.backward);
    lay_out_backward(j.backward, threads, &w, keys, a->softcap > 0);
    workspace_xalloc(&w);
    lay_out_backward(j.backward, threads, &w, keys, a->softcap > 0);
    pool_run(p, n * a->kv_heads, backward_group, &j);
    workspace_free(&w);
    free(j.backward);
}
