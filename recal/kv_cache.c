/* The KV cache of inference.c: memory for the keys and values of the tokens that have run, dropping the rows
 * that have left a layer's window, snapshot and restore. Layers without a window keep a row for every token.
 * Layers with one keep the window and one chunk, so their memory does not grow with the text. Questions of
 * an evaluation (recal/evaluate/evaluate_scene.c) use snapshots to read a long text only once. See
 * kv_cache.h for the interface. */
#include "recal/kv_cache.h"

#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"

/* Rows that a layer needs room for: the window's and those of a chunk, or all. */
static size_t capacity_of(const LayerSpec *l, size_t max_tokens) {
    size_t windowed = (size_t)l->window + KV_CHUNK;
    return l->window && windowed < max_tokens ? windowed : max_tokens;
}

/* Sets up all layers for an empty sequence; counts or carves their rows (workspace.h). */
static void lay_out(KvLayer *layers, Workspace *w, const ModelSpec *s, size_t max_tokens) {
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const LayerSpec *l = &s->layers[i];
        KvLayer *c = &layers[i];
        *c = (KvLayer){.row = (size_t)l->n_kv_heads * l->head_dim,
                       .window = l->window,
                       .capacity = capacity_of(l, max_tokens)};
        c->k = workspace_floats(w, c->capacity, c->row);
        c->v = workspace_floats(w, c->capacity, c->row);
    }
}

/* The layout is counted without allocating anything, so the result is exactly what kv_new takes. */
uint64_t kv_bytes(const ModelSpec *s, size_t max_tokens) {
    Workspace w = {0};
    KvLayer *layers = xcalloc(s->n_layers, sizeof *layers);
    lay_out(layers, &w, s, max_tokens);
    free(layers);
    return workspace_bytes(&w);
}

/* The rows are not cleared: those beyond KvLayer.n are never read. */
KvCache *kv_new(const Net *n, size_t max_tokens, Error *e) {
    const ModelSpec *s = n->spec;
    KvCache *kv = xcalloc(1, sizeof *kv);
    kv->n_layers = s->n_layers;
    kv->max_tokens = max_tokens;
    kv->layers = xcalloc(s->n_layers, sizeof *kv->layers);
    lay_out(kv->layers, &kv->workspace, s, max_tokens);
    if (!workspace_alloc(&kv->workspace, "KV cache", e)) {
        kv_free(kv);
        return NULL;
    }
    /* The first call counted the memory; this one sets the pointers. */
    lay_out(kv->layers, &kv->workspace, s, max_tokens);
    return kv;
}

void kv_free(KvCache *kv) {
    if (!kv) return;
    workspace_free(&kv->workspace);
    free(kv->layers);
    free(kv);
}

size_t kv_length(const KvCache *kv) {
    return kv->length;
}

void kv_watch(KvCache *kv, const volatile int *stop) {
    kv->stop = stop;
}

/* Rows stay where they are and are overwritten by the next sequence. */
void kv_clear(KvCache *kv) {
    kv->length = 0;
    for (size_t i = 0; i < kv->n_layers; i++)
        kv->layers[i].first = kv->layers[i].n = 0;
}

/* How many of the layer's last rows a later query can still reach: the query sees itself and window - 1
 * before it. */
static size_t reachable_rows(const KvLayer *c) {
    return c->window && c->window - 1 < c->n ? c->window - 1 : c->n;
}

void kv_make_room(KvLayer *c, size_t n) {
    if (c->n + n <= c->capacity) return;
    /* Only windowed layers get here: global ones have room for every token of the sequence. */
    size_t keep = reachable_rows(c), drop = c->n - keep;
    /* The rows that are still visible move to the beginning. This happens about once in KV_CHUNK tokens. */
    memmove(c->k, c->k + drop * c->row, keep * c->row * sizeof(float));
    memmove(c->v, c->v + drop * c->row, keep * c->row * sizeof(float));
    /* Row 0 is now the oldest row that was kept. */
    c->first += drop;
    c->n = keep;
}

/* ---- snapshot and restore ---- */

struct KvSnapshot {
    size_t length, n_layers;
    KvLayer *layers; /* first and n say which rows the layer gets back; k and v are copies, NULL where none
                        are needed */
    Workspace workspace;
};

/* True if rows can leave the layer, so that a snapshot needs a copy of them. */
static bool drops_rows(const KvCache *kv, const KvLayer *c) {
    return c->capacity != kv->max_tokens;
}

/* For each layer the rows that a query after the snapshot can reach; counts or carves their copies
 * (workspace.h). */
static void lay_out_snapshot(KvSnapshot *s, const KvCache *kv) {
    for (size_t i = 0; i < s->n_layers; i++) {
        const KvLayer *c = &kv->layers[i];
        size_t keep = reachable_rows(c), copied = drops_rows(kv, c) ? keep : 0;
        s->layers[i] = (KvLayer){.row = c->row, .first = c->first + c->n - keep, .n = keep};
        s->layers[i].k = workspace_floats(&s->workspace, copied, c->row);
        s->layers[i].v = workspace_floats(&s->workspace, copied, c->row);
    }
}

KvSnapshot *kv_snapshot(const KvCache *kv, Error *e) {
    KvSnapshot *s = xcalloc(1, sizeof *s);
    s->length = kv->length;
    s->n_layers = kv->n_layers;
    s->layers = xcalloc(s->n_layers, sizeof *s->layers);
    lay_out_snapshot(s, kv);
    if (!workspace_alloc(&s->workspace, "a snapshot of the KV cache", e)) {
        kv_snapshot_free(s);
        return NULL;
    }
    lay_out_snapshot(s, kv);
    for (size_t i = 0; i < s->n_layers; i++) {
        const KvLayer *from = &kv->layers[i], *to = &s->layers[i];
        /* The snapshot keeps the last to->n rows of the layer. */
        size_t skip = (from->n - to->n) * from->row, bytes = to->n * to->row * sizeof(float);
        if (!to->k) continue; /* nothing was copied for this layer */
        memcpy(to->k, from->k + skip, bytes);
        memcpy(to->v, from->v + skip, bytes);
    }
    return s;
}

void kv_snapshot_free(KvSnapshot *s) {
    if (!s) return;
    workspace_free(&s->workspace);
    free(s->layers);
    free(s);
}

void kv_restore(KvCache *kv, const KvSnapshot *s) {
    /* The cache may only have grown since the snapshot was taken. Full layers then still hold the old rows
     * at their places; windowed layers may have dropped some and get them back from the copy. */
    kv->length = s->length;
    for (size_t i = 0; i < s->n_layers; i++) {
        const KvLayer *from = &s->layers[i];
        KvLayer *c = &kv->layers[i];
        size_t bytes = from->n * from->row * sizeof(float);
        if (!drops_rows(kv, c)) {
            c->n = s->length; /* row 0 is still position 0; later rows are forgotten */
            continue;
        }
        if (from->k) {
            memcpy(c->k, from->k, bytes);
            memcpy(c->v, from->v, bytes);
        }
        c->first = from->first;
        c->n = from->n;
    }
}
