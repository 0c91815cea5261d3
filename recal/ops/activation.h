/* The elementwise middle of the MLP:
 *   gated     y = act(gate) * up   (SwiGLU with SiLU, GeGLU with GELU: arXiv 2002.05202)
 *   ungated   y = act(up)
 * where gate = x w_gate^T and up = x w_up^T. The activation functions are listed in surgery/spec.h. */
#ifndef DEROPE_RECAL_OPS_ACTIVATION_H
#define DEROPE_RECAL_OPS_ACTIVATION_H

#include <stddef.h>

#include "recal/threads.h"
#include "surgery/spec.h"

/* y, gate and up have n elements; `gate` NULL: ungated. y may be gate or up. */
void activation_forward(Pool *p, Activation act, float *y, const float *gate, const float *up, size_t n);
/* From dy and the forward pass's gate and up, all of n elements:
 *   dgate = dy * up * act'(gate)    dup = dy * act(gate)    or, ungated,  dup = dy * act'(up)
 * Both are overwritten; dgate may be gate and dup may be up. */
void activation_backward(Pool *p, Activation act, float *dgate, float *dup, const float *dy,
                         const float *gate, const float *up, size_t n);

/* activation_forward and activation_backward on the calling thread, for a task that is itself one of a
 * pool's. */
void activation_row(Activation act, float *y, const float *gate, const float *up, size_t n);
void activation_row_backward(Activation act, float *dgate, float *dup, const float *dy, const float *gate,
                             const float *up, size_t n);

#endif
