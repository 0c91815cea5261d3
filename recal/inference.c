/* Running a sequence with a KV cache, in chunks: memory is one chunk's activations plus the cache. */
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "recal/ops/ops.h"
#include "recal/transformer_layer.h"

enum { CHUNK = 512, LOGIT_ROWS = 64 };

typedef struct LayerCache {
    float *k, *v;    /* (capacity, kv_heads * head_dim) */
    size_t capacity; /* rows */
    size_t first;    /* position of row 0 */
    size_t n;        /* rows in use */
} LayerCache;

struct KvCache {
    const ModelSpec *spec;
    LayerCache *layers;
    size_t max_tokens, length;
    const volatile int *stop; /* may be NULL */
};

/* A windowed layer keeps window - 1 tokens before the chunk at hand. */
static size_t capacity_of(const LayerSpec *l, size_t max_tokens) {
    size_t windowed = (size_t)l->window + CHUNK;
    return l->window && windowed < max_tokens ? windowed : max_tokens;
}

uint64_t kv_bytes(const ModelSpec *s, size_t max_tokens) {
    uint64_t floats = 0;
    for (uint32_t i = 0; i < s->n_layers; i++)
        floats +=
            2 * capacity_of(&s->layers[i], max_tokens) * s->layers[i].n_kv_heads * s->layers[i].head_dim;
    return floats * sizeof(float);
}

KvCache *kv_new(const Net *n, size_t max_tokens, Error *e) {
    const ModelSpec *s = n->spec;
    KvCache *kv = xcalloc(1, sizeof *kv);
    kv->spec = s;
    kv->max_tokens = max_tokens;
    kv->layers = xcalloc(s->n_layers, sizeof *kv->layers);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        LayerCache *c = &kv->layers[i];
        size_t width = (size_t)s->layers[i].n_kv_heads * s->layers[i].head_dim;
        c->capacity = capacity_of(&s->layers[i], max_tokens);
        c->k = big_alloc(c->capacity, width * sizeof(float), "KV cache", e);
        c->v = c->k ? big_alloc(c->capacity, width * sizeof(float), "KV cache", e) : NULL;
        if (!c->v) {
            kv_free(kv);
            return NULL;
        }
    }
    return kv;
}

void kv_free(KvCache *kv) {
    if (!kv) return;
    for (uint32_t i = 0; i < kv->spec->n_layers; i++) {
        free(kv->layers[i].k);
        free(kv->layers[i].v);
    }
    free(kv->layers);
    free(kv);
}

size_t kv_length(const KvCache *kv) {
    return kv->length;
}

void kv_watch(KvCache *kv, const volatile int *stop) {
    kv->stop = stop;
}

void kv_clear(KvCache *kv) {
    kv->length = 0;
    for (uint32_t i = 0; i < kv->spec->n_layers; i++)
        kv->layers[i].first = kv->layers[i].n = 0;
}

/* The last rows of a windowed layer. */
typedef struct MarkedLayer {
    float *k, *v;
    size_t first, n;
} MarkedLayer;

struct KvSnapshot {
    size_t length, n_layers;
    MarkedLayer *layers;
};

static size_t kv_width(const LayerSpec *l) {
    return (size_t)l->n_kv_heads * l->head_dim;
}

KvSnapshot *kv_snapshot(const KvCache *kv, Error *e) {
    KvSnapshot *m = xcalloc(1, sizeof *m);
    *m = (KvSnapshot){.length = kv->length, .n_layers = kv->spec->n_layers};
    m->layers = xcalloc(m->n_layers, sizeof *m->layers);
    for (size_t i = 0; i < m->n_layers; i++) {
        const LayerSpec *l = &kv->spec->layers[i];
        const LayerCache *c = &kv->layers[i];
        MarkedLayer *to = &m->layers[i];
        size_t width = kv_width(l), keep = l->window && l->window - 1 < c->n ? l->window - 1 : c->n,
               skip = c->n - keep;
        *to = (MarkedLayer){.first = c->first + skip, .n = keep};
        if (c->capacity == kv->max_tokens || !keep) continue; /* nothing moves out of it */
        to->k = big_alloc_unset(keep, width * sizeof(float), "a mark in the KV cache", e);
        to->v = to->k ? big_alloc_unset(keep, width * sizeof(float), "a mark in the KV cache", e) : NULL;
        if (!to->v) {
            kv_snapshot_free(m);
            return NULL;
        }
        memcpy(to->k, c->k + skip * width, keep * width * sizeof(float));
        memcpy(to->v, c->v + skip * width, keep * width * sizeof(float));
    }
    return m;
}

void kv_snapshot_free(KvSnapshot *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_layers; i++) {
        free(m->layers[i].k);
        free(m->layers[i].v);
    }
    free(m->layers);
    free(m);
}

void kv_restore(KvCache *kv, const KvSnapshot *m) {
    kv->length = m->length;
    for (size_t i = 0; i < m->n_layers; i++) {
        const MarkedLayer *from = &m->layers[i];
        LayerCache *c = &kv->layers[i];
        size_t floats = from->n * kv_width(&kv->spec->layers[i]);
        if (c->capacity == kv->max_tokens) {
            c->n = m->length; /* it still begins with position 0 */
            continue;
        }
        if (floats) {
            memcpy(c->k, from->k, floats * sizeof(float));
            memcpy(c->v, from->v, floats * sizeof(float));
        }
        c->first = from->first;
        c->n = from->n;
    }
}

/* Makes room for `n` rows: what no later query of the window reaches moves out. */
static void make_room(LayerCache *c, const LayerSpec *l, size_t n, size_t width) {
    if (c->n + n <= c->capacity) return;
    size_t keep = l->window - 1 < c->n ? l->window - 1 : c->n, drop = c->n - keep;
    memmove(c->k, c->k + drop * width, keep * width * sizeof(float));
    memmove(c->v, c->v + drop * width, keep * width * sizeof(float));
    c->first += drop;
    c->n = keep;
}

/* Activations of one chunk. */
typedef struct Scratch {
    float *x, *normed, *branch, *rstd, *q, *out, *gate, *up, *logits;
    float *expert_in, *expert_out;
    Routes routes; /* room for the layer with most experts */
} Scratch;

static bool scratch_new(Scratch *b, const ModelSpec *s, size_t n_ids, Error *e) {
    size_t q = 0, f = 0, heads = 1, experts = 0, passes = 0, rows = n_ids < CHUNK ? n_ids : CHUNK;
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        if ((size_t)l->n_heads * l->head_dim > q) q = (size_t)l->n_heads * l->head_dim;
        if (l->ffn_dim * mlp_passes(l) > f) f = l->ffn_dim * mlp_passes(l);
        if (l->n_experts > experts) experts = l->n_experts;
        if (l->n_experts && mlp_passes(l) > passes) passes = mlp_passes(l);
        if (l->n_heads > heads) heads = l->n_heads;
    }
    size_t floats[] = {s->hidden_size,          s->hidden_size,         s->hidden_size, heads, q, q, f, f,
                       passes * s->hidden_size, passes * s->hidden_size};
    float **parts[] = {&b->x,   &b->normed, &b->branch, &b->rstd,      &b->q,
                       &b->out, &b->gate,   &b->up,     &b->expert_in, &b->expert_out};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        if (floats[i] && !(*parts[i] = big_alloc_unset(rows, floats[i] * sizeof(float), "activations", e)))
            return false;
    Experts most = {.n = experts, .used = passes};
    if (experts && !routes_new(&b->routes, &most, rows, e)) return false;
    b->logits =
        big_alloc_unset(rows < LOGIT_ROWS ? rows : LOGIT_ROWS, (size_t)s->vocab * sizeof(float), "logits", e);
    return b->logits != NULL;
}

static void scratch_free(Scratch *b) {
    free(b->x);
    free(b->normed);
    free(b->branch);
    free(b->rstd);
    free(b->q);
    free(b->out);
    free(b->gate);
    free(b->up);
    free(b->expert_in);
    free(b->expert_out);
    routes_free(&b->routes);
    free(b->logits);
}

/* Leaves what attention gives in b->branch; `in` is what it reads. */
static void run_attention(Net *n, uint32_t i, const LayerParams *w, LayerCache *c, const Rope *rope,
                          const float *in, Scratch *b, size_t at, size_t N) {
    const LayerSpec *l = &n->spec->layers[i];
    size_t C = n->spec->hidden_size, q = (size_t)l->n_heads * l->head_dim,
           kv = (size_t)l->n_kv_heads * l->head_dim;
    make_room(c, l, N, kv);
    float *k = c->k + c->n * kv, *v = c->v + c->n * kv;
    project(n->pool, b->q, in, w->q, w->q_bias, N, C, q);
    project(n->pool, k, in, w->k, w->k_bias, N, C, kv);
    project(n->pool, v, in, w->v, w->v_bias, N, C, kv);
    c->n += N;
    size_t gq = qk_norm_groups(l->q_norm, l->n_heads), gk = qk_norm_groups(l->k_norm, l->n_kv_heads);
    float eps = (float)n->spec->norm_eps;
    if (w->q_norm) norm_forward(n->pool, NORM_RMS, b->q, b->rstd, b->q, w->q_norm, NULL, N * gq, q / gq, eps);
    if (w->k_norm) norm_forward(n->pool, NORM_RMS, k, b->rstd, k, w->k_norm, NULL, N * gk, kv / gk, eps);
    if (rope->cos) {
        rope_apply(n->pool, b->q, rope->cos, rope->sin, N, N, l->n_heads, l->head_dim, rope->half, false);
        rope_apply(n->pool, k, rope->cos, rope->sin, N, N, l->n_kv_heads, l->head_dim, rope->half, false);
    }
    temper(n->pool, l, b->q, at, N, N);
    Attention a = {.heads = l->n_heads,
                   .kv_heads = l->n_kv_heads,
                   .dim = l->head_dim,
                   .queries = N,
                   .keys = c->n,
                   .first_query = at,
                   .first_key = c->first,
                   .window = l->window,
                   .chunked = l->chunked,
                   .scale = (float)l->softmax_scale,
                   .softcap = (float)l->softcap,
                   .sinks = w->sinks,
                   .q = b->q,
                   .k = c->k,
                   .v = c->v,
                   .out = b->out};
    attention_forward(n->pool, &a, 1);
    project(n->pool, b->branch, b->out, w->o, w->o_bias, N, q, C);
}

static void run_experts(Net *n, const LayerSpec *l, const LayerParams *w, const float *in, Scratch *b,
                        size_t N) {
    Experts x = layer_experts(l, n->spec->hidden_size, w);
    ExpertRows rows = {
        .in = b->expert_in, .out = b->expert_out, .gate = b->gate, .up = b->up, .wide = b->gate};
    experts_forward(n->pool, &x, &b->routes, &rows, b->branch, in, N);
    if (!l->shared_expert) return;
    MlpParams shared = shared_mlp_params(w);
    mlp_forward(n, l->activation, &shared, b->expert_out, in, b->gate, b->up, b->gate, N, l->ffn_dim);
    add_scaled(n->pool, b->branch, b->expert_out, 1, N * n->spec->hidden_size);
}

/* The same of the MLP. */
static void run_ffn(Net *n, uint32_t i, const LayerParams *w, const float *in, Scratch *b, size_t N) {
    const LayerSpec *l = &n->spec->layers[i];
    MlpParams own = mlp_params(w);
    if (l->n_experts)
        run_experts(n, l, w, in, b, N);
    else
        mlp_forward(n, l->activation, &own, b->branch, in, b->gate, b->up, b->gate, N, l->ffn_dim);
}

/* x += scale * post_norm(branch) */
static void add_branch(Net *n, const float *post_norm, Scratch *b, size_t N) {
    if (post_norm) stream_norm_forward(n, b->branch, b->rstd, b->branch, post_norm, NULL, N);
    add_scaled(n->pool, b->x, b->branch, (float)n->spec->residual_scale, N * n->spec->hidden_size);
}

/* What a branch reads: x, normed if there is a norm. */
static const float *branch_input(Net *n, const float *norm, const float *bias, Scratch *b, size_t N) {
    if (!norm) return b->x;
    stream_norm_forward(n, b->normed, b->rstd, b->x, norm, bias, N);
    return b->normed;
}

static void run_layer(Net *n, uint32_t i, LayerCache *c, const Rope *rope, Scratch *b, size_t at, size_t N) {
    LayerParams w = layer_params(n, n->weights, i);
    ResidualLayout residual_layout = n->spec->layers[i].residual_layout;
    const float *in = branch_input(n, w.attn_norm, w.attn_norm_bias, b, N);
    run_attention(n, i, &w, c, rope, in, b, at, N);
    if (residual_layout == RESIDUAL_SEQUENTIAL) {
        add_branch(n, w.attn_post_norm, b, N);
        in = branch_input(n, w.ffn_norm, w.ffn_norm_bias, b, N);
    } else {
        /* the MLP's input is normed before attention's output joins x */
        if (residual_layout == RESIDUAL_PARALLEL) in = branch_input(n, w.ffn_norm, w.ffn_norm_bias, b, N);
        add_branch(n, w.attn_post_norm, b, N);
    }
    run_ffn(n, i, &w, in, b, N);
    add_branch(n, w.ffn_post_norm, b, N);
}

static bool run_head(Net *n, Scratch *b, size_t first, size_t from, size_t N, LogitSink sink, void *context,
                     Error *e) {
    stream_norm_forward(n, b->normed, b->rstd, b->x, net_at(n, n->weights, ROLE_FINAL_NORM, -1),
                        net_at(n, n->weights, ROLE_FINAL_NORM_BIAS, -1), N);
    for (size_t i = from; i < N; i += LOGIT_ROWS) {
        size_t rows = N - i < LOGIT_ROWS ? N - i : LOGIT_ROWS;
        head_logits(n, b->logits, b->normed + i * n->spec->hidden_size, rows);
        if (!sink(context, first + i, rows, b->logits, e)) return false;
    }
    return true;
}

bool net_run(Net *n, KvCache *kv, const int32_t *ids, size_t n_ids, size_t skip, LogitSink sink,
             void *context, Error *e) {
    const ModelSpec *s = n->spec;
    if (n_ids > kv->max_tokens - kv->length)
        return error_set(e, ERR_FAILED, "%zu tokens after %zu pass the %zu the cache was made for", n_ids,
                         kv->length, kv->max_tokens);
    if (!tokens_known(s, ids, n_ids, 0, e)) return false;
    Scratch b = {0};
    bool ok = scratch_new(&b, s, n_ids, e);
    size_t total = kv->length + n_ids;
    for (size_t done = 0; ok && done < n_ids;) {
        size_t N = n_ids - done < CHUNK ? n_ids - done : CHUNK;
        Rope *ropes = ropes_new(s, kv->length, N, total);
        embedding_forward(n->pool, b.x, net_at(n, n->weights, ROLE_EMBED, -1), ids + done,
                          (float)s->embedding_scale, N, s->hidden_size);
        for (uint32_t i = 0; ok && i < s->n_layers; i++) {
            run_layer(n, i, &kv->layers[i], &ropes[i], &b, kv->length, N);
            if (kv->stop && *kv->stop) ok = error_set(e, ERR_INTERRUPTED, "interrupted");
        }
        ropes_free(ropes, s);
        if (ok && sink && done + N > skip)
            ok = run_head(n, &b, done, skip > done ? skip - done : 0, N, sink, context, e);
        kv->length += N;
        done += N;
    }
    scratch_free(&b);
    return ok;
}
