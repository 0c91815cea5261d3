/* Each layer forwards against its plain form in double, and backwards against finite differences of that. */
#include "plain.h"

#include <cblas.h>

#include "recal/gemm.h"
#include "recal/ops/activation.h"
#include "recal/ops/attention.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/linear.h"
#include "recal/ops/losses.h"
#include "recal/ops/norm.h"
#include "recal/ops/rope.h"
#include "recal/ops/softcap.h"

static Pool *pool;

static int start_pool(void **state) {
    (void)state;
    openblas_set_num_threads(1);
    pool = pool_new(2);
    return 0;
}

static int stop_pool(void **state) {
    (void)state;
    pool_free(pool);
    return 0;
}

static double weighted(const double *y, const double *dy, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += y[i] * dy[i];
    return sum;
}

/* ---- rmsnorm ---- */

typedef struct NormCase {
    double *x, *w, *y, *dy;
    size_t N, C;
} NormCase;

static double norm_value(void *context) {
    const NormCase *c = context;
    plain_rmsnorm(c->y, c->x, c->w, c->N, c->C, 1e-5);
    return weighted(c->y, c->dy, c->N * c->C);
}

static void test_rmsnorm(void **state) {
    (void)state;
    Random r = random_seeded(1);
    NormCase c = {.N = 37, .C = 75};
    size_t n = c.N * c.C;
    c.x = random_doubles(&r, n, 2), c.w = random_doubles(&r, c.C, 1), c.dy = random_doubles(&r, n, 1);
    c.y = doubles(n);
    float *x = as_floats(c.x, n), *w = as_floats(c.w, c.C), *dy = as_floats(c.dy, n);
    float *y = xcalloc(n, sizeof *y), *rstd = xcalloc(c.N, sizeof *rstd);
    norm_forward(pool, NORM_RMS, y, rstd, x, w, NULL, c.N, c.C, 1e-5f);
    norm_value(&c);
    assert_close("rmsnorm", y, c.y, n, 1e-6, 0);

    double *dx = differences(norm_value, &c, c.x, n), *dw = differences(norm_value, &c, c.w, c.C);
    float *gx = xcalloc(n, sizeof *gx), *gw = xcalloc(c.C, sizeof *gw);
    for (size_t i = 0; i < n; i++) /* what is there is added to */
        gx[i] = 0.5f, dx[i] += 0.5;
    for (size_t i = 0; i < c.C; i++)
        gw[i] = -2, dw[i] -= 2;
    norm_backward(pool, NORM_RMS, gx, gw, NULL, dy, x, w, rstd, c.N, c.C);
    assert_close("rmsnorm dx", gx, dx, n, 1e-6, 0);
    assert_close("rmsnorm dw", gw, dw, c.C, 2e-6, 0);
    free(c.x), free(c.w), free(c.dy), free(c.y), free(x), free(w), free(dy), free(y), free(rstd);
    free(dx), free(dw), free(gx), free(gw);
}

/* ---- layernorm ---- */

typedef struct LayerNormCase {
    double *x, *w, *b, *y, *dy;
    size_t N, C;
} LayerNormCase;

static double layernorm_value(void *context) {
    const LayerNormCase *c = context;
    plain_layernorm(c->y, c->x, c->w, c->b, c->N, c->C, 1e-5);
    return weighted(c->y, c->dy, c->N * c->C);
}

static void check_layernorm(bool bias) {
    Random r = random_seeded(8);
    LayerNormCase c = {.N = 37, .C = 75};
    size_t n = c.N * c.C;
    c.x = random_doubles(&r, n, 2), c.w = random_doubles(&r, c.C, 1), c.dy = random_doubles(&r, n, 1);
    c.b = bias ? random_doubles(&r, c.C, 1) : NULL, c.y = doubles(n);
    for (size_t i = 0; i < n; i++)
        c.x[i] = (float)(c.x[i] + 5); /* the mean matters */
    float *x = as_floats(c.x, n), *w = as_floats(c.w, c.C), *dy = as_floats(c.dy, n);
    float *b = bias ? as_floats(c.b, c.C) : NULL;
    float *y = xcalloc(n, sizeof *y), *rstd = xcalloc(c.N, sizeof *rstd);
    norm_forward(pool, NORM_LAYER, y, rstd, x, w, b, c.N, c.C, 1e-5f);
    layernorm_value(&c);
    assert_close("layernorm", y, c.y, n, 1e-6, 0);

    double *dx = differences(layernorm_value, &c, c.x, n), *dw = differences(layernorm_value, &c, c.w, c.C);
    double *db = bias ? differences(layernorm_value, &c, c.b, c.C) : NULL;
    float *gx = xcalloc(n, sizeof *gx), *gw = xcalloc(c.C, sizeof *gw), *gb = xcalloc(c.C, sizeof *gb);
    for (size_t i = 0; i < n; i++) /* what is there is added to */
        gx[i] = 0.5f, dx[i] += 0.5;
    for (size_t i = 0; i < c.C; i++) {
        gw[i] = -2, dw[i] -= 2;
        gb[i] = 3;
        if (bias) db[i] += 3;
    }
    norm_backward(pool, NORM_LAYER, gx, gw, bias ? gb : NULL, dy, x, w, rstd, c.N, c.C);
    assert_close("layernorm dx", gx, dx, n, 2e-6, 0);
    assert_close("layernorm dw", gw, dw, c.C, 2e-6, 0);
    if (bias) assert_close("layernorm db", gb, db, c.C, 2e-6, 0);
    free(c.x), free(c.w), free(c.b), free(c.dy), free(c.y), free(x), free(w), free(b), free(dy);
    free(y), free(rstd), free(dx), free(dw), free(db), free(gx), free(gw), free(gb);
}

static void test_layernorm(void **state) {
    (void)state;
    check_layernorm(true);
    check_layernorm(false);
}

/* ---- rope ---- */

static void test_rope(void **state) {
    (void)state;
    Random r = random_seeded(2);
    const size_t T = 9, N = 2 * T, heads = 3, dim = 12, half = 4, n = N * heads * dim; /* 8 of 12 turn */
    const double inv_freq[] = {1, 0.3, 0.05, 0.001}, scale = 1.2;
    double *expected = random_doubles(&r, n, 1);
    float *x = as_floats(expected, n), *kept = as_floats(expected, n);
    float *cosines = xcalloc(T * half, sizeof *cosines), *sines = xcalloc(T * half, sizeof *sines);
    rope_table(cosines, sines, inv_freq, scale, 0, T, half);
    rope_apply(pool, x, cosines, sines, N, T, heads, dim, half, false);
    plain_rope(expected, inv_freq, scale, N, T, heads, dim, half);
    assert_close("rope", x, expected, n, 1e-6, 0);
    for (size_t i = 0; i < N * heads; i++)
        assert_memory_equal(x + i * dim + 2 * half, kept + i * dim + 2 * half,
                            (dim - 2 * half) * sizeof *x); /* the rest of a head is not touched */

    /* rotation is linear and its transpose the rotation back: <R a, b> = <a, R' b> */
    double *b = random_doubles(&r, n, 1), forward = 0, backward = 0;
    float *back = as_floats(b, n);
    rope_apply(pool, back, cosines, sines, N, T, heads, dim, half, true);
    for (size_t i = 0; i < n; i++)
        forward += expected[i] * b[i], backward += (double)kept[i] * back[i];
    assert_true(fabs(forward - backward) < 1e-4);

    float later_cos[4], later_sin[4]; /* a table may begin anywhere */
    rope_table(later_cos, later_sin, inv_freq, scale, 7, 1, half);
    assert_memory_equal(later_cos, cosines + 7 * half, sizeof later_cos);
    assert_memory_equal(later_sin, sines + 7 * half, sizeof later_sin);
    free(expected), free(x), free(kept), free(cosines), free(sines), free(b), free(back);
}

/* ---- attention ---- */

typedef struct AttentionCase {
    PlainAttention a;
    double *q, *k, *v, *sinks, *out, *dout;
    size_t nq, nk;
} AttentionCase;

static double attention_value(void *context) {
    const AttentionCase *c = context;
    plain_attention(&c->a, c->out, c->q, c->k, c->v);
    return weighted(c->out, c->dout, c->nq);
}

static AttentionCase attention_case(Random *r, size_t T, size_t heads, size_t kv_heads, size_t dim,
                                    size_t window, bool sinks, double softcap, bool chunked) {
    AttentionCase c = {.a = {T, heads, kv_heads, dim, window, 0.3, NULL, softcap, chunked},
                       .nq = T * heads * dim,
                       .nk = T * kv_heads * dim};
    c.q = random_doubles(r, c.nq, 1.5), c.k = random_doubles(r, c.nk, 1.5), c.v = random_doubles(r, c.nk, 1);
    c.dout = random_doubles(r, c.nq, 1), c.out = doubles(c.nq);
    c.sinks = random_doubles(r, heads, 1);
    c.a.sinks = sinks ? c.sinks : NULL;
    return c;
}

static void attention_case_free(AttentionCase *c) {
    free(c->q), free(c->k), free(c->v), free(c->sinks), free(c->out), free(c->dout);
}

/* The fp32 arrays of a case, described. */
static Attention fast_attention(const AttentionCase *c) {
    const PlainAttention *a = &c->a;
    return (Attention){.heads = a->heads,
                       .kv_heads = a->kv_heads,
                       .dim = a->dim,
                       .queries = a->T,
                       .keys = a->T,
                       .window = a->window,
                       .chunked = a->chunked,
                       .scale = (float)a->scale,
                       .softcap = (float)a->softcap,
                       .sinks = a->sinks ? as_floats(a->sinks, a->heads) : NULL,
                       .q = as_floats(c->q, c->nq),
                       .k = as_floats(c->k, c->nk),
                       .v = as_floats(c->v, c->nk),
                       .out = xcalloc(c->nq, sizeof(float)),
                       .lse = xcalloc(a->T * a->heads, sizeof(float))};
}

static void fast_attention_free(Attention *a) {
    free((void *)a->sinks), free((void *)a->q), free((void *)a->k), free((void *)a->v);
    free(a->out), free(a->lse);
}

static const struct {
    size_t T, heads, kv_heads, dim, window;
    bool sinks;
    double softcap;
    bool chunked;
} attention_cases[] = {{1, 1, 1, 4, 0, false, 0, false},     {13, 4, 2, 8, 0, false, 0, false},
                       {150, 2, 1, 6, 0, false, 0, false},   {150, 2, 2, 4, 7, false, 0, false},
                       {150, 3, 1, 4, 64, true, 0, false},   {140, 2, 1, 4, 100, true, 0, false},
                       {9, 2, 1, 4, 1, false, 0, false},     {20, 2, 1, 4, 500, true, 0, false},
                       {129, 1, 1, 16, 65, false, 0, false}, {1100, 2, 1, 4, 0, false, 0, false},
                       {1300, 1, 1, 4, 530, true, 0, false}, {700, 2, 1, 4, 40, true, 0, false},
                       {150, 4, 2, 8, 0, false, 1.5, false}, {700, 2, 1, 4, 40, true, 0.5, false},
                       {150, 4, 2, 8, 20, false, 0, true},   {700, 2, 1, 4, 130, true, 0, true}};

static void test_attention(void **state) {
    (void)state;
    Random r = random_seeded(3);
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
        AttentionCase c =
            attention_case(&r, attention_cases[i].T, attention_cases[i].heads, attention_cases[i].kv_heads,
                           attention_cases[i].dim, attention_cases[i].window, attention_cases[i].sinks,
                           attention_cases[i].softcap, attention_cases[i].chunked);
        Attention a = fast_attention(&c);
        attention_forward(pool, &a, 1);
        attention_value(&c);
        assert_close("attention", a.out, c.out, c.nq, 2e-6, 0);
        fast_attention_free(&a);
        attention_case_free(&c);
    }
}

/* Two sequences of one shape, as a batch has them. */
static void test_attention_backward(void **state) {
    (void)state;
    Random r = random_seeded(4);
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
        AttentionCase c[2];
        Attention a[2];
        AttentionGrad g[2];
        for (int s = 0; s < 2; s++) {
            c[s] = attention_case(&r, attention_cases[i].T % 80, attention_cases[i].heads,
                                  attention_cases[i].kv_heads, attention_cases[i].dim,
                                  attention_cases[i].window, attention_cases[i].sinks,
                                  attention_cases[i].softcap, attention_cases[i].chunked);
            a[s] = fast_attention(&c[s]);
            g[s] = (AttentionGrad){.dout = as_floats(c[s].dout, c[s].nq)};
            g[s].dq = xcalloc(c[s].nq, sizeof(float));
            g[s].dk = xcalloc(c[s].nk, sizeof(float));
            g[s].dv = xcalloc(c[s].nk, sizeof(float));
            memset(g[s].dq, 0x40, c[s].nq * sizeof(float)); /* overwritten, whatever was there */
            memset(g[s].dk, 0x40, c[s].nk * sizeof(float));
            memset(g[s].dv, 0x40, c[s].nk * sizeof(float));
            g[s].dsinks = c[s].a.sinks ? xcalloc(c[s].a.heads, sizeof(float)) : NULL;
        }
        attention_forward(pool, a, 2);
        attention_backward(pool, a, g, 2);
        for (int s = 0; s < 2; s++) {
            double *dq = differences(attention_value, &c[s], c[s].q, c[s].nq);
            double *dk = differences(attention_value, &c[s], c[s].k, c[s].nk);
            double *dv = differences(attention_value, &c[s], c[s].v, c[s].nk);
            assert_close("attention dq", g[s].dq, dq, c[s].nq, 3e-6, 1);
            assert_close("attention dk", g[s].dk, dk, c[s].nk, 3e-6, 1);
            assert_close("attention dv", g[s].dv, dv, c[s].nk, 3e-6, 1);
            if (g[s].dsinks) {
                double *ds = differences(attention_value, &c[s], c[s].sinks, c[s].a.heads);
                assert_close("attention dsinks", g[s].dsinks, ds, c[s].a.heads, 3e-6, 1);
                free(ds);
            }
            free(dq), free(dk), free(dv);
            free((void *)g[s].dout), free(g[s].dq), free(g[s].dk), free(g[s].dv), free(g[s].dsinks);
            fast_attention_free(&a[s]);
            attention_case_free(&c[s]);
        }
    }
}

/* Queries at the end of a text whose first keys are gone from a windowed cache. */
static void test_attention_later_queries(void **state) {
    (void)state;
    Random r = random_seeded(5);
    const size_t T = 120, window = 30, first_query = 90, first_key = 55;
    AttentionCase c = attention_case(&r, T, 4, 2, 8, window, true, 0, false);
    Attention whole = fast_attention(&c), part = whole;
    size_t row = whole.heads * whole.dim, kv_row = whole.kv_heads * whole.dim;
    attention_forward(pool, &whole, 1);
    part.queries = T - first_query, part.keys = T - first_key;
    part.first_query = first_query, part.first_key = first_key;
    part.q += first_query * row, part.k += first_key * kv_row, part.v += first_key * kv_row;
    part.out = xcalloc(part.queries * row, sizeof(float)), part.lse = NULL;
    attention_forward(pool, &part, 1);
    double *expected = doubles(part.queries * row);
    for (size_t i = 0; i < part.queries * row; i++)
        expected[i] = whole.out[first_query * row + i];
    assert_close("later queries", part.out, expected, part.queries * row, 1e-6, 0);
    free(part.out), free(expected);
    fast_attention_free(&whole);
    attention_case_free(&c);
}

/* Scores far from zero neither overflow nor lose the largest. */
static void test_attention_large_scores(void **state) {
    (void)state;
    float q[] = {100, 100, 100}, k[] = {-90, 90, 89}, v[] = {1, 2, 3}, out[3], lse[3];
    Attention a = {.heads = 1,
                   .kv_heads = 1,
                   .dim = 1,
                   .queries = 3,
                   .keys = 3,
                   .scale = 1,
                   .q = q,
                   .k = k,
                   .v = v,
                   .out = out,
                   .lse = lse};
    attention_forward(pool, &a, 1);
    assert_float_equal(out[0], 1, 0);
    assert_float_equal(out[1], 2, 1e-6);
    assert_float_equal(out[2], 2, 1e-6);
    assert_float_equal(lse[0], -9000, 0);
    assert_float_equal(lse[2], 9000, 0);
}

/* ---- activations ---- */

/* Slopes of plain_mlp along x (gate or up), all elements at once: each result hangs on its own. */
static double *mlp_slopes(Activation act, double *x, const double *gate, const double *up, const double *dy,
                          size_t n) {
    const double h = 1e-5;
    double *above = doubles(n), *below = doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] += h;
    plain_mlp(act, above, gate, up, n);
    for (size_t i = 0; i < n; i++)
        x[i] -= 2 * h;
    plain_mlp(act, below, gate, up, n);
    for (size_t i = 0; i < n; i++) {
        x[i] += h;
        above[i] = dy[i] * (above[i] - below[i]) / (2 * h);
    }
    free(below);
    return above;
}

static void check_activation(Activation act, bool gated) {
    enum { N = 20000 }; /* more than one thread's piece */
    Random r = random_seeded(6);
    double *gates = gated ? random_doubles(&r, N, 4) : NULL, *ups = random_doubles(&r, N, gated ? 1 : 3);
    double *dys = random_doubles(&r, N, 1), *expected = doubles(N);
    float *gate = gated ? as_floats(gates, N) : NULL, *up = as_floats(ups, N);
    float *dy = as_floats(dys, N), *y = xcalloc(N, sizeof *y);
    activation_forward(pool, act, y, gate, up, N);
    plain_mlp(act, expected, gates, ups, N);
    assert_close("activation", y, expected, N, 1e-6, 0);
    double *dgate = gated ? mlp_slopes(act, gates, gates, ups, dys, N) : NULL;
    double *dup = mlp_slopes(act, ups, gates, ups, dys, N);
    activation_backward(pool, act, gate, up, dy, gate, up, N); /* in place */
    if (gated) assert_close("activation dgate", gate, dgate, N, 1e-6, 0);
    assert_close("activation dup", up, dup, N, 1e-6, 0);
    free(gates), free(ups), free(dys), free(expected), free(gate), free(up), free(dy), free(y);
    free(dgate), free(dup);
}

static void test_activations(void **state) {
    (void)state;
    const Activation all[] = {ACT_SILU, ACT_GELU, ACT_GELU_TANH};
    float extreme[] = {-1000, 1000, 0}, ones[] = {1, 1, 1}, got[3];
    for (size_t i = 0; i < 3; i++) {
        check_activation(all[i], true);
        check_activation(all[i], false);
        activation_forward(pool, all[i], got, extreme, ones, 3);
        assert_float_equal(got[0], 0, 1e-30);
        assert_float_equal(got[1], 1000, 0);
        assert_float_equal(got[2], 0, 0);
    }
}

static void test_softcap(void **state) {
    (void)state;
    enum { N = 20000 };
    const double cap = 2.5, h = 1e-5;
    Random r = random_seeded(9);
    double *x = random_doubles(&r, N, 3), *y = doubles(N), *slope = doubles(N);
    float *got = as_floats(x, N), *d = xcalloc(N, sizeof *d);
    for (int i = 0; i < N; i++) {
        y[i] = plain_softcap(x[i], cap);
        slope[i] = (plain_softcap(x[i] + h, cap) - plain_softcap(x[i] - h, cap)) / (2 * h);
        d[i] = 1;
    }
    softcap_forward(pool, got, (float)cap, N);
    softcap_backward(pool, d, got, (float)cap, N);
    assert_close("softcap", got, y, N, 1e-6, 0);
    assert_close("softcap slope", d, slope, N, 1e-6, 0);
    free(x), free(y), free(slope), free(got), free(d);
}

/* ---- losses ---- */

typedef struct LossCase {
    double *logits, *teacher;
    const int32_t *target;
    size_t N, V;
} LossCase;

static double loss_value(void *context) {
    const LossCase *c = context;
    double sum = 0;
    for (size_t i = 0; i < c->N; i++)
        if (c->target[i] >= 0)
            sum += plain_loss(c->logits + i * c->V, c->teacher ? c->teacher + i * c->V : NULL, c->target[i],
                              c->V);
    return sum;
}

static void check_loss(bool distill) {
    Random r = random_seeded(7);
    const int32_t target[] = {3, -1, 0, 70};
    LossCase c = {.N = 4, .V = 71, .target = target};
    size_t n = c.N * c.V;
    c.logits = random_doubles(&r, n, 3), c.teacher = distill ? random_doubles(&r, n, 3) : NULL;
    float *logits = as_floats(c.logits, n), *before = as_floats(c.logits, n), loss[4];
    for (int backward = 0; backward < 2; backward++) {
        float *teacher = distill ? as_floats(c.teacher, n) : NULL, scale = backward ? 0.25f : 0;
        if (distill)
            kl_divergence(pool, loss, logits, teacher, target, scale, c.N, c.V);
        else
            cross_entropy(pool, loss, logits, target, scale, c.N, c.V);
        for (size_t i = 0; i < c.N; i++) {
            double expected =
                target[i] < 0
                    ? 0
                    : plain_loss(c.logits + i * c.V, distill ? c.teacher + i * c.V : NULL, target[i], c.V);
            assert_true(fabs(loss[i] - expected) < 1e-5 * (1 + expected));
        }
        if (!backward) assert_memory_equal(logits, before, n * sizeof *logits);
        free(teacher);
    }
    double *d = differences(loss_value, &c, c.logits, n);
    for (size_t i = 0; i < n; i++)
        d[i] *= 0.25;
    assert_close(distill ? "kl gradient" : "cross-entropy gradient", logits, d, n, 1e-6, 0);
    free(c.logits), free(c.teacher), free(logits), free(before), free(d);
}

static void test_cross_entropy(void **state) {
    (void)state;
    check_loss(false);
    float even[4] = {7, 7, 7, 7}, loss; /* a known value: log of the vocabulary */
    cross_entropy(pool, &loss, even, &(int32_t){2}, 0, 1, 4);
    assert_float_equal(loss, log(4), 1e-6);
}

static void test_kl_divergence(void **state) {
    (void)state;
    check_loss(true);
    float model[3] = {1, 2, 3}, same[3] = {1, 2, 3}, loss;
    kl_divergence(pool, &loss, model, same, &(int32_t){0}, 1, 1, 3);
    assert_float_equal(loss, 0, 1e-6);
    for (int i = 0; i < 3; i++)
        assert_float_equal(model[i], 0, 1e-7);
}

/* ---- small ones ---- */

static void test_rows(void **state) {
    (void)state;
    float x[6] = {1, 2, 3, 4, 5, 6}, bias[3] = {10, 20, 30}, dbias[3] = {100, 0, 0}, y[6];
    bias_forward(pool, x, bias, 2, 3);
    assert_memory_equal(x, ((float[]){11, 22, 33, 14, 25, 36}), sizeof x);
    bias_backward(pool, dbias, x, 2, 3);
    assert_memory_equal(dbias, ((float[]){125, 47, 69}), sizeof dbias);
    add_scaled(pool, x, (float[]){1, 1, 1, 2, 2, 2}, -2, 6);
    assert_memory_equal(x, ((float[]){9, 20, 31, 10, 21, 32}), sizeof x);

    float table[6] = {1, 2, 3, 4, 5, 6}, dtable[6] = {0, 0, 1, 0, 0, 0};
    const int32_t ids[3] = {2, 0, 2};
    embedding_forward(pool, y, table, ids, 2, 3, 2);
    assert_memory_equal(y, ((float[]){10, 12, 2, 4, 10, 12}), sizeof y);
    embedding_backward(dtable, y, ids, 2, 3, 2); /* token 2 came twice, token 1 never */
    assert_memory_equal(dtable, ((float[]){4, 8, 1, 0, 40, 48}), sizeof dtable);
}

static void test_products(void **state) {
    (void)state;
    Random r = random_seeded(8);
    const size_t shapes[][3] = {{1, 40, 33}, {70, 64, 96}, {130, 48, 31}, {3, 200, 1000}, {40, 7, 300}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t rows = shapes[s][0], in = shapes[s][1], out = shapes[s][2];
        double *x = random_doubles(&r, rows * in, 1), *w = random_doubles(&r, out * in, 1);
        double *dy = random_doubles(&r, rows * out, 1), *y = doubles(rows * out);
        double *dx = doubles(rows * in), *dw = doubles(out * in);
        plain_linear(y, x, w, NULL, rows, in, out);
        for (size_t i = 0; i < rows; i++)
            for (size_t o = 0; o < out; o++)
                for (size_t c = 0; c < in; c++) {
                    dx[i * in + c] += dy[i * out + o] * w[o * in + c];
                    dw[o * in + c] += dy[i * out + o] * x[i * in + c];
                }
        float *fx = as_floats(x, rows * in), *fw = as_floats(w, out * in), *fdy = as_floats(dy, rows * out);
        float *fy = xcalloc(rows * out, sizeof *fy), *fdx = xcalloc(rows * in, sizeof *fdx);
        float *fdw = xcalloc(out * in, sizeof *fdw);
        linear_forward(pool, fy, fx, fw, NULL, rows, in, out);
        assert_close("linear", fy, y, rows * out, 1e-6, 0);
        memset(fdx, 0x40, rows * in * sizeof *fdx);
        linear_backward(pool, fdx, false, fdw, NULL, fdy, fx, fw, rows, in, out);
        assert_close("linear dx", fdx, dx, rows * in, 1e-6, 0);
        assert_close("linear dw", fdw, dw, out * in, 1e-6, 0);
        linear_backward(pool, fdx, true, fdw, NULL, fdy, fx, fw, rows, in, out);
        for (size_t i = 0; i < rows * in; i++)
            dx[i] *= 2;
        for (size_t i = 0; i < out * in; i++)
            dw[i] *= 2;
        assert_close("linear dx, added", fdx, dx, rows * in, 1e-6, 0);
        assert_close("linear dw, added", fdw, dw, out * in, 1e-6, 0);
        free(x), free(w), free(dy), free(y), free(dx), free(dw);
        free(fx), free(fw), free(fdy), free(fy), free(fdx), free(fdw);
    }
}

/* ---- the pool ---- */

typedef struct Tally {
    int calls[1000], threads;
    bool strange;
} Tally;

static void count_call(void *context, size_t i, int thread) {
    Tally *t = context;
    t->calls[i]++;
    if (thread < 0 || thread >= t->threads) t->strange = true;
}

static void test_pool(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        Pool *p = pool_new(threads);
        assert_int_equal(pool_size(p), threads);
        Tally t = {.threads = threads};
        for (size_t round = 0; round < 300; round++)
            pool_run(p, round % 7 == 0 ? 0 : round % 5 == 0 ? 1 : 1000, count_call, &t);
        int tens = 0, ones = 0;
        for (size_t round = 0; round < 300; round++) {
            tens += round % 7 != 0 && round % 5 != 0;
            ones += round % 7 != 0 && round % 5 == 0;
        }
        assert_false(t.strange);
        assert_int_equal(t.calls[0], tens + ones);
        for (size_t i = 1; i < 1000; i++)
            assert_int_equal(t.calls[i], tens);
        pool_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_backward),
        cmocka_unit_test(test_attention_later_queries),
        cmocka_unit_test(test_attention_large_scores),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_softcap),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_kl_divergence),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests_name("layers", tests, start_pool, stop_pool);
}
