/* The linear layer: y = x w^T + bias, with the weight stored (out, in) as checkpoints store it. */
#ifndef DEROPE_RECAL_OPS_LINEAR_H
#define DEROPE_RECAL_OPS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>

#include "recal/gemm.h"
#include "recal/threads.h"

/* y (rows, out) = x (rows, in) w^T + bias, w (out, in), bias (out) or NULL. */
void linear_forward(Pool *p, float *y, const float *x, const float *w, const float *bias, size_t rows,
                    size_t in, size_t out);
/* From dy (rows, out), each output NULL if it is not wanted:
 *   dx (rows, in)  = dy w     added to what is there if `add_dx`, overwritten otherwise
 *   dw (out, in)  += dy^T x
 *   dbias (out)   += the sum over rows of dy */
void linear_backward(Pool *p, float *dx, bool add_dx, float *dw, float *dbias, const float *dy,
                     const float *x, const float *w, size_t rows, size_t in, size_t out);

/* The three matrix products of the layer as descriptions, for code that runs many small ones on the calling
 * thread with gemm_one (the experts) and not one large one over the pool. */

/* y = x w^T. */
Gemm linear_product(float *y, const float *x, const float *w, size_t rows, size_t in, size_t out);
/* dx = dy w, or dx += dy w if `add`. */
Gemm linear_input_gradient(float *dx, bool add, const float *dy, const float *w, size_t rows, size_t in,
                           size_t out);
/* dw += dy^T x. */
Gemm linear_weight_gradient(float *dw, const float *dy, const float *x, size_t rows, size_t in, size_t out);

#endif
