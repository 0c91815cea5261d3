/* Soft capping of scores and logits, as in Gemma 2 (arXiv 2408.00118): y = cap * tanh(x / cap). It leaves
 * small values almost as they are and keeps all of them between -cap and cap. */
#ifndef DEROPE_RECAL_OPS_SOFTCAP_H
#define DEROPE_RECAL_OPS_SOFTCAP_H

#include <stddef.h>

#include "recal/threads.h"

/* x (n) = cap * tanh(x / cap), in place; cap > 0. */
void softcap_forward(Pool *p, float *x, float cap, size_t n);
/* d (n) holds the gradient by y and becomes the gradient by x, where `y` (n) is what softcap_forward gave:
 * d *= 1 - (y / cap)^2, the derivative of tanh expressed by its value. */
void softcap_backward(Pool *p, float *d, const float *y, float cap, size_t n);

/* softcap_forward and softcap_backward on the calling thread, for a task that is itself one of a pool's. */
void softcap_row(float *x, float cap, size_t n);
void softcap_row_backward(float *d, const float *y, float cap, size_t n);

#endif
