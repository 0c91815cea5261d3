/* RMSNorm (arXiv 1910.07467):  y = x / rms(x) * w,             rms(x) = sqrt(mean(x^2) + eps)
 * LayerNorm (arXiv 1607.06450): y = (x - mean) / std(x) * w + b, std(x) = sqrt(mean((x - mean)^2) + eps) */
#ifndef DEROPE_RECAL_OPS_NORM_H
#define DEROPE_RECAL_OPS_NORM_H

#include <stddef.h>

#include "recal/threads.h"
#include "surgery/spec.h"

/* y (N, C) = norm of each row of x (N, C); y may be x. w (C); b (C) or NULL for no bias. `rstd` (N) receives
 * 1/rms or 1/std of each row, which the backward pass needs. */
void norm_forward(Pool *p, NormKind kind, float *y, float *rstd, const float *x, const float *w,
                  const float *b, size_t N, size_t C, float eps);
/* From dy (N, C), the forward pass's input x (N, C) and its rstd (N). dx (N, C) is added to: it usually
 * already holds the gradient that flows past the norm along the residual stream. dw (C) and db (C) are added
 * to; NULL: not wanted. dx must not be dy. */
void norm_backward(Pool *p, NormKind kind, float *dx, float *dw, float *db, const float *dy, const float *x,
                   const float *w, const float *rstd, size_t N, size_t C);

#endif
