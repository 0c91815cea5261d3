/* Rotary position embedding (RoPE, arXiv 2104.09864). Each head's first 2 * half dimensions form `half`
 * pairs, and pair j of a token at position t is rotated by the angle t * inv_freq[j]. The pairs are
 * half-split, as in transformers' Llama: dimension j is paired with dimension j + half. (The paper and GGUF's
 * "normal" RoPE pair 2j with 2j + 1; models stored that way are permuted when they are read.) */
#ifndef DEROPE_RECAL_OPS_ROPE_H
#define DEROPE_RECAL_OPS_ROPE_H

#include <stdbool.h>
#include <stddef.h>

#include "recal/threads.h"

/* Fills `cos` and `sin` (n, half) for the positions first .. first + n - 1, both times `scale` (the attention
 * factor of YaRN and LongRoPE, otherwise 1). inv_freq (half) is in radians per position. */
void rope_table(float *cos, float *sin, const double *inv_freq, double scale, size_t first, size_t n,
                size_t half);
/* Rotates x (N, heads * dim) in place; dimensions from 2 * half on stay as they are. Row i takes row i % T of
 * the tables (T, half): N is a multiple of T if several sequences lie one after the other. A rotation is
 * orthogonal, so the backward pass is the rotation by the opposite angle: `inverse`, applied to the gradient.
 */
void rope_apply(Pool *p, float *x, const float *cos, const float *sin, size_t N, size_t T, size_t heads,
                size_t dim, size_t half, bool inverse);

#endif
