/* The layers, each as a pair x_forward / x_backward over plain row-major fp32 arrays. N is rows (tokens of
 * all sequences), C the hidden size. Backward functions add to parameter gradients and overwrite input
 * gradients unless they say otherwise. */
#ifndef DEROPE_RECAL_OPS_OPS_H
#define DEROPE_RECAL_OPS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"
#include "recal/threads.h"
#include "surgery/spec.h"

/* ---- norms: RMSNorm (arXiv 1910.07467) y = x / rms(x) * w; LayerNorm (1607.06450) y = (x - mean) / std * w
 * + b ---- */

/* y, x (N, C), y may be x; w (C); b (C) or NULL; rstd (N) receives 1/rms or 1/std. */
void norm_forward(Pool *p, NormKind kind, float *y, float *rstd, const float *x, const float *w,
                  const float *b, size_t N, size_t C, float eps);
/* dx (N, C), dw and db (C; NULL: none) are added to. */
void norm_backward(Pool *p, NormKind kind, float *dx, float *dw, float *db, const float *dy, const float *x,
                   const float *w, const float *rstd, size_t N, size_t C);

/* ---- rotary position embedding (arXiv 2104.09864), half-split pairs ---- */

/* cos and sin of positions first .. first+n, (n, half), times `scale`. */
void rope_table(float *cos, float *sin, const double *inv_freq, double scale, size_t first, size_t n,
                size_t half);
/* Rotates in place the first 2*half dimensions of each head; x (N, heads * dim), row i at table row i % T.
 * The gradient is the rotation back: `inverse`. */
void rope_apply(Pool *p, float *x, const float *cos, const float *sin, size_t N, size_t T, size_t heads,
                size_t dim, size_t half, bool inverse);

/* ---- attention: grouped queries, causal, optional window and sinks; blocks of queries, never T x T ---- */

typedef struct Attention {
    size_t heads, kv_heads, dim;
    size_t queries, keys;          /* rows of one sequence */
    size_t first_query, first_key; /* their positions */
    size_t window;                 /* 0: none */
    bool chunked;                  /* windows begin at its multiples, whatever the query */
    float scale;
    float softcap;      /* scores become softcap * tanh(score / softcap); 0: they stay */
    const float *sinks; /* (heads) or NULL */
    const float *q;     /* (queries, heads * dim) */
    const float *k, *v; /* (keys, kv_heads * dim) */
    float *out;         /* (queries, heads * dim) */
    float *lse;         /* (heads, queries): log of the softmax's denominator; NULL: not wanted */
} Attention;

/* `n` sequences, each its own description. */
void attention_forward(Pool *p, const Attention *a, size_t n);
/* dq, dk, dv like q, k, v (overwritten); dsinks (heads) is added to, NULL if there are none. `dout` and the
 * rest per sequence; arrays of n. */
typedef struct AttentionGrad {
    const float *dout;
    float *dq, *dk, *dv, *dsinks;
} AttentionGrad;
void attention_backward(Pool *p, const Attention *a, const AttentionGrad *g, size_t n);

/* ---- the MLP's middle: y = act(gate) * up (SwiGLU, GeGLU: arXiv 2002.05202), or y = act(up) ---- */

/* NULL `gate`: there is none. y may be gate or up. */
void activation_forward(Pool *p, Activation act, float *y, const float *gate, const float *up, size_t n);
/* dgate and dup may alias gate and up. */
void activation_backward(Pool *p, Activation act, float *dgate, float *dup, const float *dy,
                         const float *gate, const float *up, size_t n);
/* The same by the thread that asks. */
void activation_row(Activation act, float *y, const float *gate, const float *up, size_t n);
void activation_row_backward(Activation act, float *dgate, float *dup, const float *dy, const float *gate,
                             const float *up, size_t n);

/* ---- a mixture of experts (arXiv 1701.06538): y = sum of share_e * MLP_e(x) over the `used` experts for
 * which the router's logits are highest; or of MLP_e(share_e * x) (Routing) ---- */

/* Weights, or gradients laid out alike; NULL where there is no bias. */
typedef struct ExpertParams {
    float *router, *router_bias;            /* (n, hidden_size), (n) */
    float *gate, *up, *down;                /* (n, ffn, hidden_size) twice, (n, hidden_size, ffn) */
    float *gate_bias, *up_bias, *down_bias; /* (n, ffn) twice, (n, hidden_size) */
} ExpertParams;

typedef struct Experts {
    size_t n, used, hidden_size, ffn;
    Activation activation;
    Routing routing;
    ExpertParams w;
} Experts;

/* Which expert reads which token: every token has `used` places, sorted by expert. */
typedef struct Routes {
    float *probs;             /* (N, n): the shares, 0 for experts that have no part in them */
    float *share;             /* (N * used): of each place */
    uint32_t *token;          /* (N * used): of each place */
    uint32_t *expert, *place; /* (N, used): the experts of a token, and its places at them */
    uint32_t *first;          /* (n + 1): the first place of each expert */
} Routes;

/* For up to N tokens; false with an error. */
bool routes_new(Routes *r, const Experts *x, size_t N, Error *e);
void routes_free(Routes *r);
/* Floats of it per token, for estimates. */
size_t routes_floats(size_t n, size_t used);

/* Rows of places, (N * used, ...) each. */
typedef struct ExpertRows {
    float *in, *out;  /* hidden_size */
    float *gate, *up; /* ffn: kept for the way back */
    float *wide;      /* ffn; may be gate where there is no way back */
    float *spare;     /* ffn; for the way back alone */
} ExpertRows;

/* y, in (N, hidden_size). */
void experts_forward(Pool *p, const Experts *x, Routes *r, const ExpertRows *rows, float *y, const float *in,
                     size_t N);
/* din (N, hidden_size) is overwritten, `g` added to; uses up `r` and `rows`. */
void experts_backward(Pool *p, const Experts *x, const ExpertParams *g, Routes *r, const ExpertRows *rows,
                      float *din, const float *dy, const float *in, size_t N);

/* ---- soft caps: x = cap * tanh(x / cap), and the way back, d *= 1 - (y / cap)^2, y what came out ---- */

void softcap_forward(Pool *p, float *x, float cap, size_t n);
void softcap_backward(Pool *p, float *d, const float *y, float cap, size_t n);
/* The same by the thread that asks. */
void softcap_row(float *x, float cap, size_t n);
void softcap_row_backward(float *d, const float *y, float cap, size_t n);

/* ---- small ones ---- */

/* By the thread that asks: x += scale * y; x *= scale; the sum of x * y. n elements. */
void row_add(float *x, const float *y, float scale, size_t n);
void row_scale(float *x, float scale, size_t n);
float row_dot(const float *x, const float *y, size_t n);

/* x (N, C) += bias (C). */
void bias_forward(Pool *p, float *x, const float *bias, size_t N, size_t C);
/* dbias (C) += column sums of dy (N, C). */
void bias_backward(Pool *p, float *dbias, const float *dy, size_t N, size_t C);
/* x += scale * y, n elements. */
void add_scaled(Pool *p, float *x, const float *y, float scale, size_t n);
/* x (N, C) = scale * rows of table; grads the other way (adds). */
void embedding_forward(Pool *p, float *x, const float *table, const int32_t *ids, float scale, size_t N,
                       size_t C);
void embedding_backward(float *dtable, const float *dx, const int32_t *ids, float scale, size_t N, size_t C);

/* ---- losses over a block of logits ---- */

/* Per row: nll[i] = -log softmax(logits[i])[target[i]]; target -1: 0. With `scale` != 0 logits become the
 * gradient of scale * sum nll, otherwise they are left alone. logits (N, V). */
void cross_entropy(Pool *p, float *nll, float *logits, const int32_t *target, float scale, size_t N,
                   size_t V);
/* Same for KL(teacher || model) of rows whose target is not -1; `teacher` (N, V) logits are overwritten. */
void kl_divergence(Pool *p, float *kl, float *logits, float *teacher, const int32_t *target, float scale,
                   size_t N, size_t V);

#endif
