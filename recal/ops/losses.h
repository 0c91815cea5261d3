/* Losses over a block of logits, and their gradients, which replace the logits: a block of logits is the
 * largest array of a training step, and a second one for the gradient would double it. */
#ifndef DEROPE_RECAL_OPS_LOSSES_H
#define DEROPE_RECAL_OPS_LOSSES_H

#include <stddef.h>
#include <stdint.h>

#include "recal/threads.h"

/* Cross entropy: nll[i] = -log softmax(logits[i])[target[i]] in nats, for i < N; 0 where target[i] is -1 (the
 * row is not scored). logits (N, V). If `scale` is not 0, the logits are replaced by the gradient of scale *
 * sum(nll), which is scale * (softmax(logits) - onehot(target)), and 0 in rows that are not scored. If it is
 * 0 they are left alone. */
void cross_entropy(Pool *p, float *nll, float *logits, const int32_t *target, float scale, size_t N,
                   size_t V);
/* Distillation (arXiv 1503.02531, temperature 1): kl[i] = KL(t || s) = sum over v of t_v (log t_v - log s_v)
 * in nats, where t and s are the softmax of the teacher's and the model's logits (N, V). Rows with target -1
 * are not scored; the value of other targets is not used. If `scale` is not 0, `logits` is replaced by the
 * gradient of scale * sum(kl), which is scale * (s - t). `teacher` is used as scratch memory and holds t
 * afterwards. */
void kl_divergence(Pool *p, float *kl, float *logits, float *teacher, const int32_t *target, float scale,
                   size_t N, size_t V);

#endif
