/* The keys and values of one sequence, kept so that running the next token needs no earlier token again.
 *
 * A layer with global attention keeps the rows of all tokens. A layer with a sliding window keeps the rows
 * that later queries can still reach, window - 1 of them, and room for the tokens that are run at a time;
 * when it is full, the rows that no query reaches any more are dropped. Memory for windowed layers thus does
 * not grow with the text. */
#ifndef DEROPE_RECAL_KV_CACHE_H
#define DEROPE_RECAL_KV_CACHE_H

#include "recal/net.h"
#include "recal/workspace.h"

/* Tokens that net_run takes through the layers at a time; a windowed layer has room for as many new rows. */
enum { KV_CHUNK = 512 };

/* The cache of one layer; a row is the key or the value of one token. */
typedef struct KvLayer {
    float *k, *v;    /* (capacity, n_kv_heads * head_dim) each; keys are normed and rotated */
    size_t row;      /* floats of a row: n_kv_heads * head_dim */
    size_t window;   /* the layer's window; 0: global */
    size_t capacity; /* rows that there is room for */
    size_t first;    /* the position in the text of row 0 */
    size_t n;        /* rows in use */
} KvLayer;

/* The fields are for inference.c, which fills the cache; others use the functions below. */
typedef struct KvCache {
    size_t n_layers;
    KvLayer *layers;
    size_t max_tokens;        /* the longest sequence */
    size_t length;            /* tokens run so far */
    const volatile int *stop; /* see kv_watch; NULL: not watched */
    Workspace workspace;      /* holds k and v of all layers */
} KvCache;

/* An empty cache for sequences of up to `max_tokens`. NULL with ERR_FAILED if there is not enough memory. */
KvCache *kv_new(const Net *n, size_t max_tokens, Error *e);
void kv_free(KvCache *kv);
/* Bytes that kv_new takes, for estimates. */
uint64_t kv_bytes(const ModelSpec *s, size_t max_tokens);
/* Tokens run so far. */
size_t kv_length(const KvCache *kv);
/* Forgets the sequence; the memory stays, for another one. */
void kv_clear(KvCache *kv);
/* Lets net_run with this cache end with ERR_INTERRUPTED soon after *stop is not 0, for example set by a
 * signal. */
void kv_watch(KvCache *kv, const volatile int *stop);
/* Makes room for `n` more rows in a layer, n <= KV_CHUNK, by dropping rows of a windowed layer that no later
 * query reaches. Global layers have room for max_tokens from the beginning. */
void kv_make_room(KvLayer *c, size_t n);

/* A point in the sequence to come back to, so that prompts with a common beginning need to run it only once.
 * Global layers are restored by cutting them to their earlier length; the rows of windowed layers are copied,
 * because they may have been dropped in the meantime. */
typedef struct KvSnapshot KvSnapshot;
/* The state of the cache now. NULL with ERR_FAILED if there is not enough memory. */
KvSnapshot *kv_snapshot(const KvCache *kv, Error *e);
void kv_snapshot_free(KvSnapshot *s);
/* Brings the cache back to the state in which `s` was made from it. Since then the sequence may only have
 * been continued: tokens before that point must not have been replaced by others (kv_clear and running
 * another text). */
void kv_restore(KvCache *kv, const KvSnapshot *s);

#endif
