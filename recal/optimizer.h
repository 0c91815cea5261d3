/* AdamW (arXiv 1711.05101), as torch.optim.AdamW computes it, after clipping by the gradient's global norm as
 * torch.nn.utils.clip_grad_norm_ does:
 *
 *     g = grads * min(1, clip / (|grads| + 1e-6))
 *     m = beta1 m + (1 - beta1) g          v = beta2 v + (1 - beta2) g^2
 *     w = w (1 - lr * weight_decay) - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Weight decay is applied to matrices only, not to norms and biases. */
#ifndef DEROPE_RECAL_OPTIMIZER_H
#define DEROPE_RECAL_OPTIMIZER_H

#include "recal/net.h"
#include "recal/workspace.h"

typedef struct AdamW {
    double lr;           /* may change from step to step */
    double beta1, beta2; /* decay of the moments, 0 .. 1 */
    double eps;
    double weight_decay;
    double clip;         /* the gradient's largest global norm; 0: not clipped */
    uint64_t step;       /* t: steps taken so far */
    float *m, *v;        /* first and second moment, laid out like the net's weights */
    Workspace workspace; /* holds m and v */
} AdamW;

/* Allocates the moments, as 0. The caller has set the other fields. False with ERR_FAILED if there is not
 * enough memory. */
bool adamw_init(AdamW *o, const Net *n, Error *e);
/* One step with the gradients `grads`, laid out like the weights. Returns their global norm before clipping.
 * If that is not finite, nothing changes. The result does not depend on the number of threads. */
double adamw_step(AdamW *o, Net *n, const float *grads);
void adamw_free(AdamW *o);

#endif
