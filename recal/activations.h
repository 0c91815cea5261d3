/* The activations of a training step: what the forward pass (forward.c) writes and the backward pass
 * (backward.c) reads.
 *
 * N = B * T is the number of tokens of the batch; sequences lie one after the other. C is the hidden size.
 * Normed inputs and the MLP's activation are not kept but computed again in the backward pass: that costs
 * little time and saves about a third of the memory. */
#ifndef DEROPE_RECAL_ACTIVATIONS_H
#define DEROPE_RECAL_ACTIVATIONS_H

#include "recal/layer_sizes.h"
#include "recal/net.h"
#include "recal/ops/experts.h"
#include "recal/rope_tables.h"
#include "recal/workspace.h"

/* What one layer saves for its backward pass. Pointers are NULL where the layer has no such thing. */
typedef struct SavedActivations {
    float *x;              /* (N, C): the residual stream before the layer */
    float *attn_norm_rstd; /* (N): 1/rms or 1/std of the norm before attention */
    float *q;              /* (N, n_heads * head_dim): as attention reads it: normed, rotated, scaled */
    float *k, *v;          /* (N, n_kv_heads * head_dim) each, as attention reads them */
    float *q_linear;       /* (N, n_heads * head_dim): q before QK-norm */
    float *k_linear;       /* (N, n_kv_heads * head_dim): k before QK-norm */
    float *q_rstd;         /* (N * q_norm_rows): 1/rms of the QK-norm's rows */
    float *k_rstd;         /* (N * k_norm_rows) */
    float *attn_out;       /* (N, n_heads * head_dim): attention's output before w_o */
    float *lse;            /* (B, n_heads, T): log of the softmax's denominators */
    float *attn_branch;    /* (N, C): w_o's output before the post-norm; NULL without post-norms */
    float *attn_post_rstd; /* (N) */
    float *mid;           /* (N, C): the stream that the MLP's norm reads; equal to `x` in parallel layouts */
    float *ffn_norm_rstd; /* (N) */
    float *gate,
        *up; /* (N, ffn_dim) each, or (N * top_k, ffn_dim) with experts; gate NULL if the MLP has none */
    Dispatch dispatch;    /* with experts: which expert read which token */
    float *shared_gate;   /* (N, ffn_dim): of the shared expert */
    float *shared_up;     /* (N, ffn_dim) */
    float *ffn_branch;    /* (N, C): the MLP's output before the post-norm; NULL without post-norms */
    float *ffn_post_rstd; /* (N) */
} SavedActivations;

/* One forward pass of a net over a batch. */
typedef struct ForwardPass {
    const Net *net;
    size_t B, T, N;          /* sequences, tokens of each, tokens of all */
    SavedActivations *saved; /* one per layer */
    RopeTable *ropes;        /* one per layer, for positions 0 .. T - 1 */
    float *x;                /* (N, C): the residual stream; after the pass, the input of the final norm */
    float *normed;           /* (N, C): what a branch reads; after the pass, the final norm's output */
    float *branch;           /* (N, C): what a branch gives */
    float *final_rstd;       /* (N): 1/rms or 1/std of the final norm */
    float *hidden;           /* (N, widest of C, n_heads * head_dim and the MLP): the MLP's activation */
    float *expert_in;        /* (N * top_k, C); NULL without experts */
    float *expert_out;       /* (N * top_k, C); NULL without experts */
    Workspace workspace;     /* holds all arrays above */
} ForwardPass;

/* Memory for a pass over B sequences of T tokens. With `keep` every layer saves its activations for a
 * backward pass; without, all layers use the same memory. False with ERR_FAILED if there is not enough. Free
 * with forward_pass_free, also after a failure. */
bool forward_pass_new(ForwardPass *p, const Net *n, size_t B, size_t T, bool keep, Error *e);
void forward_pass_free(ForwardPass *p);
/* Bytes that forward_pass_new takes, for estimates. */
uint64_t forward_pass_bytes(const ModelSpec *s, size_t B, size_t T, bool keep);

#endif
