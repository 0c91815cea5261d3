/* Runs a sequence with a KV cache. The tokens are processed in chunks of at most KV_CHUNK, so the memory
 * needed is that of the activations of one chunk plus the cache. Each layer overwrites the activations of the
 * layer before, because there is no backward pass that would need them. C is the hidden size, N the number of
 * tokens of a chunk. */
#include "recal/inference.h"

#include "recal/layer_sizes.h"
#include "recal/mlp.h"
#include "recal/ops/attention.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/experts.h"
#include "recal/ops/linear.h"
#include "recal/output_head.h"
#include "recal/rope_tables.h"
#include "recal/transformer_layer.h"
#include "recal/workspace.h"

enum { LOGIT_ROWS = 64 }; /* rows of logits that are computed at a time */

/* Activations of one chunk of up to N tokens; all layers use the same memory. */
typedef struct ChunkBuffers {
    float *x;         /* (N, C): the residual stream */
    float *normed;    /* (N, C): input of a branch */
    float *branch;    /* (N, C): output of a branch */
    float *rstd;      /* (N * heads): 1 / RMS, written by norms for a backward pass; not used here */
    float *q, *out;   /* (N, n_heads * head_dim): queries, and attention's output */
    float *gate, *up; /* (N, MLPs of a token * ffn_dim) */
    float *logits;    /* (LOGIT_ROWS, vocabulary) */
    float *expert_in, *expert_out; /* (N * top_k, C); NULL without experts */
    Dispatch dispatch;             /* large enough for the layer with the most experts */
    Workspace workspace;           /* holds all of these */
} ChunkBuffers;

/* Counts or carves the buffers (workspace.h). */
static void lay_out(ChunkBuffers *b, const ModelSpec *s, size_t N) {
    Workspace *w = &b->workspace;
    LayerSizes z = layer_sizes_largest(s);
    b->x = workspace_floats(w, N, z.C);
    b->normed = workspace_floats(w, N, z.C);
    b->branch = workspace_floats(w, N, z.C);
    b->rstd = workspace_floats(w, N, z.heads);
    b->q = workspace_floats(w, N, z.q);
    b->out = workspace_floats(w, N, z.q);
    /* gate also holds the output of the activation, so MLPs without a gate need it too. */
    b->gate = workspace_floats(w, N, z.up);
    b->up = workspace_floats(w, N, z.up);
    b->expert_in = workspace_floats(w, N, z.top_k * z.C);
    b->expert_out = workspace_floats(w, N, z.top_k * z.C);
    if (z.n_experts) b->dispatch = dispatch_lay_out(w, z.n_experts, z.top_k, N);
    b->logits = workspace_floats(w, N < LOGIT_ROWS ? N : LOGIT_ROWS, s->vocab);
}

/* The tokens of the current chunk. */
typedef struct Chunk {
    size_t first; /* position of the first token in the sequence */
    size_t n;     /* number of tokens */
} Chunk;

/* Attention of one layer: b->branch (n, C) of `in` (n, C). The new keys and values are appended to the
 * cache. */
static void run_attention(const Net *n, uint32_t layer, const LayerParams *w, KvLayer *c,
                          const RopeTable *rope, const float *in, ChunkBuffers *b, Chunk at) {
    const LayerSpec *l = &n->spec->layers[layer];
    /* Step 1: compute the queries, and the keys and values directly in the next rows of the cache. QK-norm
     * can work in place, because no backward pass needs its input. */
    kv_make_room(c, at.n);
    float *k = c->k + c->n * c->row, *v = c->v + c->n * c->row;
    QkvBuffers qkv = {
        .q = b->q, .q_linear = b->q, .k = k, .k_linear = k, .v = v, .q_rstd = b->rstd, .k_rstd = b->rstd};
    qkv_forward(n, layer, w, &qkv, in, rope, at.first, at.n, at.n);
    c->n += at.n;
    /* Step 2: attention of the chunk's queries to all rows of the cache. Row 0 of the queries has the
     * position first_query, and row 0 of the keys has the position first_key. */
    Attention a = layer_attention(l, w->sinks);
    a.queries = at.n;
    a.keys = c->n;
    a.first_query = at.first;
    a.first_key = c->first;
    a.q = b->q;
    a.k = c->k;
    a.v = c->v;
    a.out = b->out;
    attention_forward(n->pool, &a, 1);
    /* Step 3: the output projection w_o. */
    linear_forward(n->pool, b->branch, b->out, w->o, w->o_bias, at.n, (size_t)l->n_heads * l->head_dim,
                   n->spec->hidden_size);
}

/* Computes a mixture of experts, with the shared expert if there is one: b->branch (N, C) from `in` (N, C).
 */
static void run_experts(const Net *n, const LayerSpec *l, const LayerParams *w, const float *in,
                        ChunkBuffers *b, size_t N) {
    Experts x = layer_experts(l, n->spec->hidden_size, w);
    ExpertActivations a = {
        .in = b->expert_in, .out = b->expert_out, .gate = b->gate, .up = b->up, .hidden = b->gate};
    experts_forward(n->pool, &x, &b->dispatch, &a, b->branch, in, N);
    /* The shared expert reads the same input. Its output is written to the memory of the routed experts'
     * outputs, which are no longer needed. */
    if (!l->shared_expert) return;
    MlpParams shared = shared_mlp_params(w);
    mlp_forward(n, l->activation, &shared, b->expert_out, in, b->gate, b->up, b->gate, N, l->ffn_dim);
    add_scaled(n->pool, b->branch, b->expert_out, 1, N * n->spec->hidden_size);
}

/* Computes the MLP or the mixture of experts of one layer: b->branch (N, C) from `in` (N, C). */
static void run_ffn(const Net *n, uint32_t layer, const LayerParams *w, const float *in, ChunkBuffers *b,
                    size_t N) {
    const LayerSpec *l = &n->spec->layers[layer];
    MlpParams own = mlp_params(w);
    if (l->n_experts)
        run_experts(n, l, w, in, b, N);
    else
        mlp_forward(n, l->activation, &own, b->branch, in, b->gate, b->up, b->gate, N, l->ffn_dim);
}

/* Runs one layer: adds the outputs of attention and MLP to the residual stream b->x. */
static void run_layer(const Net *n, uint32_t layer, KvLayer *c, const RopeTable *rope, ChunkBuffers *b,
                      Chunk at) {
    LayerParams w = layer_params(n, n->weights, layer);
    ResidualLayout residual_layout = n->spec->layers[layer].residual_layout;
    const float *in = branch_input(n, b->normed, b->rstd, b->x, w.attn_norm, w.attn_norm_bias, at.n);
    run_attention(n, layer, &w, c, rope, in, b, at);
    if (residual_layout == RESIDUAL_SEQUENTIAL) {
        branch_add(n, b->x, b->branch, b->rstd, b->branch, w.attn_post_norm, at.n);
        in = branch_input(n, b->normed, b->rstd, b->x, w.ffn_norm, w.ffn_norm_bias, at.n);
    } else {
        /* Both branches read the layer's input, so the MLP's norm is computed before attention's output joins
         * x. With a shared norm, `in` is already what the MLP reads. */
        if (residual_layout == RESIDUAL_PARALLEL)
            in = branch_input(n, b->normed, b->rstd, b->x, w.ffn_norm, w.ffn_norm_bias, at.n);
        branch_add(n, b->x, b->branch, b->rstd, b->branch, w.attn_post_norm, at.n);
    }
    run_ffn(n, layer, &w, in, b, at.n);
    branch_add(n, b->x, b->branch, b->rstd, b->branch, w.ffn_post_norm, at.n);
}

/* Computes the final norm and the logits of rows from .. N - 1 of the chunk, and passes the logits to the
 * sink in blocks of LOGIT_ROWS. `first` is the index of the chunk's first token in the `ids` of net_run. */
static bool run_head(const Net *n, ChunkBuffers *b, size_t first, size_t from, size_t N, LogitSink sink,
                     void *context, Error *e) {
    residual_norm_forward(n, b->normed, b->rstd, b->x, net_at(n, n->weights, ROLE_FINAL_NORM, -1),
                          net_at(n, n->weights, ROLE_FINAL_NORM_BIAS, -1), N);
    for (size_t i = from; i < N; i += LOGIT_ROWS) {
        size_t rows = N - i < LOGIT_ROWS ? N - i : LOGIT_ROWS;
        head_logits(n, b->logits, b->normed + i * n->spec->hidden_size, rows);
        if (!sink(context, first + i, rows, b->logits, e)) return false;
    }
    return true;
}

/* Runs the embedding and all layers on one chunk. `total` is the length of the sequence at the end of the
 * call of net_run. */
static bool run_layers(const Net *n, KvCache *kv, const int32_t *ids, ChunkBuffers *b, Chunk at, size_t total,
                       Error *e) {
    const ModelSpec *s = n->spec;
    bool ok = true;
    RopeTable *tables = rope_tables_new(s, at.first, at.n, total);
    embedding_forward(n->pool, b->x, net_at(n, n->weights, ROLE_EMBED, -1), ids, (float)s->embedding_scale,
                      at.n, s->hidden_size);
    for (uint32_t i = 0; ok && i < s->n_layers; i++) {
        run_layer(n, i, &kv->layers[i], &tables[i], b, at);
        if (kv->stop && *kv->stop) ok = error_set(e, ERR_INTERRUPTED, "interrupted");
    }
    rope_tables_free(tables, s);
    return ok;
}

bool net_run(const Net *n, KvCache *kv, const int32_t *ids, size_t n_ids, size_t skip, LogitSink sink,
             void *context, Error *e) {
    /* Check the arguments before the cache changes, so that a call with wrong arguments leaves it unchanged.
     */
    if (n_ids > kv->max_tokens - kv->length)
        return error_set(e, ERR_FAILED, "%zu tokens after %zu pass the %zu the cache was made for", n_ids,
                         kv->length, kv->max_tokens);
    if (!tokens_known(n->spec, ids, n_ids, 0, e)) return false;
    /* RoPE scaling that depends on the sequence length (dynamic NTK, LongRoPE) uses `total` for all chunks of
     * this call. The size of the buffers is that of the largest chunk. */
    size_t total = kv->length + n_ids, largest = n_ids < KV_CHUNK ? n_ids : KV_CHUNK;
    ChunkBuffers b = {0};
    lay_out(&b, n->spec, largest);
    bool ok = workspace_alloc(&b.workspace, "activations", e);
    if (ok) lay_out(&b, n->spec, largest);
    for (size_t done = 0; ok && done < n_ids;) {
        Chunk at = {.first = kv->length, .n = n_ids - done < KV_CHUNK ? n_ids - done : KV_CHUNK};
        ok = run_layers(n, kv, ids + done, &b, at, total, e);
        /* Logits are only computed for the tokens after the first `skip`. For a prompt, of which only the
         * last logits are needed, this saves nearly all of the head's work. */
        if (ok && sink && done + at.n > skip)
            ok = run_head(n, &b, done, skip > done ? skip - done : 0, at.n, sink, context, e);
        kv->length += at.n;
        done += at.n;
    }
    workspace_free(&b.workspace);
    return ok;
}
