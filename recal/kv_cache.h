/* The KV cache: the keys and values of all tokens of a sequence that later tokens attend to, so that running
 * the next token does not recompute earlier ones.
 *
 * A layer with global attention keeps the rows of all tokens. A layer with a sliding window only needs the
 * last window - 1 rows, and has additional room for the rows of one chunk. When it is full, the rows outside
 * the window are dropped, so its memory does not grow with the length of the sequence. */
#ifndef DEROPE_RECAL_KV_CACHE_H
#define DEROPE_RECAL_KV_CACHE_H

#include "recal/net.h"
#include "recal/workspace.h"

/* The largest number of tokens that net_run runs through the layers at a time. A layer with a window has room
 * for this number of new rows. */
enum { KV_CHUNK = 512 };

/* The cache of one layer; a row is the key or the value of one token. */
typedef struct KvLayer {
    float *k, *v;    /* (capacity, n_kv_heads * head_dim) each; keys are normed and rotated */
    size_t row;      /* floats of a row: n_kv_heads * head_dim */
    size_t window;   /* the layer's window; 0: global */
    size_t capacity; /* rows that k and v have memory for */
    size_t first;    /* the position in the text of row 0 */
    size_t n;        /* rows in use */
} KvLayer;

/* The cache of all layers. Only inference.c, which fills the cache, accesses the fields; other code uses the
 * functions below. */
typedef struct KvCache {
    size_t n_layers;
    KvLayer *layers;
    size_t max_tokens;        /* the longest sequence */
    size_t length;            /* tokens run so far */
    const volatile int *stop; /* set by kv_watch; NULL: runs cannot be interrupted */
    Workspace workspace;      /* holds k and v of all layers */
} KvCache;

/* Creates an empty cache for sequences of up to `max_tokens` tokens. NULL with ERR_FAILED if there is not
 * enough memory. Free with kv_free. */
KvCache *kv_new(const Net *n, size_t max_tokens, Error *e);
void kv_free(KvCache *kv);
/* Bytes that kv_new takes, for estimates. */
uint64_t kv_bytes(const ModelSpec *s, size_t max_tokens);
/* Tokens run so far. */
size_t kv_length(const KvCache *kv);
/* Removes all tokens. The memory is kept for another sequence. */
void kv_clear(KvCache *kv);
/* Makes net_run with this cache return ERR_INTERRUPTED soon after *stop becomes nonzero, for example in a
 * signal handler. */
void kv_watch(KvCache *kv, const volatile int *stop);
/* Makes room for `n` <= KV_CHUNK more rows in a layer, by dropping rows that are outside the window of all
 * later queries. Global layers have room for max_tokens rows from the beginning. */
void kv_make_room(KvLayer *c, size_t n);

/* A snapshot of the cache, so that a common beginning of several prompts only has to be run once. Global
 * layers are restored by resetting their number of rows. The rows of layers with a window are copied into the
 * snapshot, because they may be dropped from the cache afterwards. */
typedef struct KvSnapshot KvSnapshot;
/* Takes a snapshot of the current state. NULL with ERR_FAILED if there is not enough memory. Free with
 * kv_snapshot_free. */
KvSnapshot *kv_snapshot(const KvCache *kv, Error *e);
void kv_snapshot_free(KvSnapshot *s);
/* Restores the state of the snapshot `s` of this cache. Since the snapshot the sequence may only have been
 * continued: the tokens before that point must not have been replaced (by kv_clear and another sequence). */
void kv_restore(KvCache *kv, const KvSnapshot *s);

#endif
