/* Causal attention with grouped queries (GQA, arXiv 2305.13245), optional sliding window, soft cap and sinks.
 *
 * For a query at position t and the keys at positions s that it may see,
 *
 *     score[s] = scale * (q . k[s]), soft-capped if `softcap` is set
 *     p[s]     = exp(score[s]) / (exp(sink) + sum over s' of exp(score[s']))     exp(sink) only where there
 * are sinks out      = sum over s of p[s] v[s]
 *
 * `heads` query heads share `kv_heads` key/value heads: query head h reads key/value head h / (heads /
 * kv_heads). A sink (arXiv 2309.17453, as GPT-OSS has them) is a learned logit per head that takes part in
 * the denominator and has no value, so that a head can attend to nothing.
 *
 * The T x T matrix of scores never exists: queries meet the keys in tiles (FlashAttention-2, arXiv
 * 2307.08691), and the backward pass computes the probabilities again from the saved log-sum-exp. Memory is
 * linear in T. */
#ifndef DEROPE_RECAL_OPS_ATTENTION_H
#define DEROPE_RECAL_OPS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

#include "recal/threads.h"

/* One sequence: its shapes, its inputs and where its outputs go. */
typedef struct Attention {
    size_t heads;       /* query heads; a multiple of kv_heads */
    size_t kv_heads;    /* key/value heads */
    size_t dim;         /* of a head */
    size_t queries;     /* rows of q and out */
    size_t keys;        /* rows of k and v */
    size_t first_query; /* position of row 0 of q; with a KV cache it is not 0 */
    size_t first_key;   /* position of row 0 of k and v; not 0 once a windowed cache has dropped rows */
    size_t window;      /* a query sees itself and the window - 1 tokens before it; 0: all tokens before it */
    bool chunked;       /* a query sees only its own chunk: positions from its last multiple of `window` on */
    float scale;        /* scores are multiplied by it; usually 1 / sqrt(dim) */
    float softcap;      /* scores become softcap * tanh(score / softcap); 0: they do not */
    const float *sinks; /* (heads); NULL: no sinks */
    const float *q;     /* (queries, heads * dim) */
    const float *k;     /* (keys, kv_heads * dim) */
    const float *v;     /* (keys, kv_heads * dim) */
    float *out;         /* (queries, heads * dim): written by the forward pass, read by the backward pass */
    float *lse;         /* (heads, queries): log of the softmax's denominator; NULL: not wanted. As `out`. */
} Attention;

/* Gradients of one sequence. */
typedef struct AttentionGrad {
    const float *dout; /* (queries, heads * dim) */
    float *dq;         /* (queries, heads * dim), overwritten */
    float *dk, *dv;    /* (keys, kv_heads * dim) each, overwritten */
    float *dsinks;     /* (heads), added to; NULL if there are no sinks */
} AttentionGrad;

/* `n` sequences, each with its own description a[i]; all have the same heads, kv_heads and dim. */
void attention_forward(Pool *p, const Attention *a, size_t n);
/* `a` as the forward pass left it, `lse` included; one g[i] for each sequence, with dsinks of its own, since
 * the sequences run at the same time. */
void attention_backward(Pool *p, const Attention *a, const AttentionGrad *g, size_t n);

#endif
