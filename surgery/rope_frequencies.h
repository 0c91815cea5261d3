/* The frequencies of rotary position embeddings, and the ways to scale them for longer contexts. They follow
 * transformers' modeling_rope_utils.py function by function, and the tests compare the two. */
#ifndef DEROPE_SURGERY_ROPE_FREQUENCIES_H
#define DEROPE_SURGERY_ROPE_FREQUENCIES_H

#include "surgery/spec.h"

/* Writes the inverse frequencies of a layer (rotary_dim / 2 of them, in radians per position), with its
 * scaling applied, for a text of `n_tokens`; only "dynamic" and "longrope" depend on the length. Returns the
 * attention factor: what cos and sin are multiplied by. */
double rope_frequencies(const ModelSpec *s, const LayerSpec *l, uint64_t n_tokens, double *inv_freq);

/* The attention factor of a model whose file gives none: YaRN's 0.1 ln(factor) + 1 (arXiv 2309.00071,
 * section 3.4), LongRoPE's sqrt(1 + ln(factor) / ln(original_context)) (arXiv 2402.13753). It is 1 for all
 * other kinds and for factors up to 1. */
double rope_default_attention_factor(const RopeScaling *r);

/* A scaling that makes every angle so small that nothing rotates: kind "linear" with a factor of 1e30, or
 * "llama3" with the same factor and frequency bands that scale every frequency. It serves architectures that
 * have no key to turn rotation off. */
RopeScaling rope_scaling_to_zero(RopeScalingKind kind);
/* True for such scalings (any factor from 1e20). */
bool rope_scaling_is_zero(const RopeScaling *r);

/* True for scalings whose frequencies change when the stated context changes. */
bool rope_depends_on_context(const RopeScaling *r);
/* True if two scalings give the same frequencies. */
bool rope_scaling_equal(const RopeScaling *a, const RopeScaling *b);
/* True if two layers rotate by the same frequencies: base, rotated dimensions and scaling agree. */
bool layer_rope_equal(const LayerSpec *a, const LayerSpec *b);

#endif
