/* Operations that go over rows once: sums, scaling, biases, embeddings.
 *
 * All files of recal/ops/ share these conventions. Arrays are fp32, row-major, and never owned by the
 * operation. N is the number of rows (tokens of all sequences of a batch), C the hidden size. x_forward
 * computes y from x, x_backward computes from dy (the derivative of the loss by y) the derivatives by the
 * inputs. A comment says for each output whether it is overwritten or added to: gradients of parameters are
 * always added to, because a parameter may be used more than once per step. Functions that take a Pool share
 * their work out over its threads in a way that does not change the result; the others run on the calling
 * thread. */
#ifndef DEROPE_RECAL_OPS_ELEMENTWISE_H
#define DEROPE_RECAL_OPS_ELEMENTWISE_H

#include <stddef.h>
#include <stdint.h>

#include "recal/threads.h"

/* x[i] += scale * y[i], i < n; on the calling thread. */
void row_add(float *x, const float *y, float scale, size_t n);
/* x[i] *= scale, i < n; on the calling thread. */
void row_scale(float *x, float scale, size_t n);
/* Returns the sum of x[i] * y[i], i < n; on the calling thread. */
float row_dot(const float *x, const float *y, size_t n);

/* x[i] += scale * y[i], i < n; shared out over the pool. */
void add_scaled(Pool *p, float *x, const float *y, float scale, size_t n);

/* Adds `bias` (C) to every row of x (N, C). */
void bias_forward(Pool *p, float *x, const float *bias, size_t N, size_t C);
/* dbias (C) += the sum over rows of dy (N, C). */
void bias_backward(Pool *p, float *dbias, const float *dy, size_t N, size_t C);

/* Row i of x (N, C) = scale * row ids[i] of `table` (vocabulary, C). The ids are not checked here. */
void embedding_forward(Pool *p, float *x, const float *table, const int32_t *ids, float scale, size_t N,
                       size_t C);
/* Row ids[i] of dtable (vocabulary, C) += scale * row i of dx (N, C). On the calling thread: two rows may
 * have the same id. */
void embedding_backward(float *dtable, const float *dx, const int32_t *ids, float scale, size_t N, size_t C);

#endif
