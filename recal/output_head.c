/* The output head: logits from the final norm's output, and the gradients of that step. Used by head_loss.c
 * in training and by inference.c. The logits of a long text would not fit into memory, so callers pass a few
 * rows at a time. */
#include "recal/output_head.h"

#include "recal/gemm.h"
#include "recal/ops/elementwise.h"
#include "recal/ops/softcap.h"

/* The head's matrix (vocabulary, C) in `block`, which is n->weights or laid out like it. With tied embeddings
 * it is the embedding matrix, whose gradient then collects both uses. */
static float *head_matrix(const Net *n, float *block) {
    return net_at(n, block, n->spec->tied_head ? ROLE_EMBED : ROLE_HEAD, -1);
}

void head_logits(const Net *n, float *logits, const float *normed, size_t rows) {
    size_t C = n->spec->hidden_size, V = n->spec->vocab;
    /* logits = logit_scale * normed w^T + bias, then cap * tanh(logits / cap) where the model has a soft cap
     * (Gemma 2). */
    const float *bias = net_at(n, n->weights, ROLE_HEAD_BIAS, -1);
    gemm(n->pool, &(Gemm){.b_transposed = true,
                          .m = rows,
                          .n = V,
                          .k = C,
                          .alpha = (float)n->spec->logit_scale,
                          .a = normed,
                          .lda = C,
                          .b = head_matrix(n, n->weights),
                          .ldb = C,
                          .c = logits,
                          .ldc = V});
    if (bias) bias_forward(n->pool, logits, bias, rows, V);
    if (n->spec->logit_softcap > 0) softcap_forward(n->pool, logits, (float)n->spec->logit_softcap, rows * V);
}

void head_backward(const Net *n, float *grads, float *dnormed, float *dlogits, const float *capped,
                   const float *normed, size_t rows) {
    size_t C = n->spec->hidden_size, V = n->spec->vocab;
    float *dbias = net_at(n, grads, ROLE_HEAD_BIAS, -1), cap = (float)n->spec->logit_softcap;
    /* In reverse order: first through the soft cap, then the bias, which collects the rows, then the
     * product. */
    if (cap > 0) softcap_backward(n->pool, dlogits, capped, cap, rows * V);
    if (dbias) bias_backward(n->pool, dbias, dlogits, rows, V);
    /* dnormed = logit_scale * dlogits w */
    gemm(n->pool, &(Gemm){.m = rows,
                          .n = C,
                          .k = V,
                          .alpha = (float)n->spec->logit_scale,
                          .a = dlogits,
                          .lda = V,
                          .b = head_matrix(n, n->weights),
                          .ldb = C,
                          .c = dnormed,
                          .ldc = C});
    /* dw += logit_scale * dlogits^T normed */
    gemm(n->pool, &(Gemm){.a_transposed = true,
                          .m = V,
                          .n = C,
                          .k = rows,
                          .alpha = (float)n->spec->logit_scale,
                          .beta = 1,
                          .a = dlogits,
                          .lda = V,
                          .b = normed,
                          .ldb = C,
                          .c = head_matrix(n, grads),
                          .ldc = C});
}
