/* Tests of a model that families and carriers run before an export, to find out whether the architecture of
 * the output can express the model. Examples: do all layers have the same window, do all rotated layers have
 * the same base, do queries and keys have norms? The functions are defined in model_traits.c; none of them
 * changes the model.
 *
 * Some functions have the parameters `why` and `why_size`. They are called for an architecture that can
 * express the model only if the result is true. If the result is false, they write the reason into `why`,
 * worded as the end of a sentence that begins with "this architecture", for example "has no windows". `derope
 * plan` prints these reasons, and the error message of a refused conversion contains them. */
#ifndef DEROPE_SURGERY_MODEL_TRAITS_H
#define DEROPE_SURGERY_MODEL_TRAITS_H

#include "surgery/family.h"

/* Formats a reason into `why`, which has `size` bytes, and returns false. */
bool refuse_because(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- layers ---- */

/* Returns true if `test` returns true for every layer. */
bool model_all_layers(const Model *m, bool (*test)(const Model *m, const LayerSpec *l));
/* Returns true if all head_dim dimensions of the layer's heads are rotated (POSITION_ROPE). */
bool layer_rotates(const Model *m, const LayerSpec *l);
/* Returns true if no dimension is rotated (POSITION_NOPE). */
bool layer_is_nope(const Model *m, const LayerSpec *l);
/* Returns true if the layer has no window, or a window at least as long as the context that the output will
 * state, so that every query attends to all tokens before it. */
bool layer_is_global(const Model *m, const LayerSpec *l);
/* Returns the first layer that has experts, or layer 0 if no layer has experts. */
const LayerSpec *model_moe_layer(const Model *m);

/* ---- windows ---- */

/* Returns the first layer with a window if `windowed` is true, or else the first layer without a window.
 * Returns NULL if there is no such layer. */
const LayerSpec *model_layer_by_window(const Model *m, bool windowed);
/* Returns the window, in tokens, of the first layer with a window, or 0 if no layer has a window. */
uint32_t model_window(const Model *m);
/* Returns true if all layers with a window have the same window size. Layers without a window are ignored. */
bool model_has_one_window_size(const Model *m, char *why, size_t why_size);
/* Returns true if all layers have the same window, or if no layer has a window. */
bool model_has_one_window(const Model *m, char *why, size_t why_size);

/* ---- rotation ---- */

/* Returns true if rope_base, rotary_dim and scaling are the same in all layers that rotate, fully or partly.
 * Unless `first` is NULL, `*first` is set to the first layer that rotates, or to NULL if no layer rotates. */
bool model_has_one_rotation(const Model *m, const LayerSpec **first);
/* Returns true if rope_base, rotary_dim and scaling are the same in all layers that use the main rotation,
 * and sets `*first` to the first of these layers, or to NULL if there is none. In families with
 * Family.window_base, layers with a window have a base of their own that is never scaled, so they do not use
 * the main rotation. In all other families every layer that rotates uses it. `first` must not be NULL. */
bool model_has_one_main_rotation(const Model *m, const LayerSpec **first);
/* Returns the first layer to which the rope scaling of the model applies, whether it rotates or not, or layer
 * 0 if there is none. */
const LayerSpec *model_scaled_layer(const Model *m);
/* Returns true if the model can be expressed by a rope scaling that makes all angles practically 0: the
 * layers to which a rope scaling applies are exactly the layers without rotation. */
bool model_rotation_can_be_scaled_away(const Model *m, char *why, size_t why_size);
/* Returns true if exactly those layers rotate, fully or partly, that rotate in the published architecture of
 * the model's family. */
bool model_keeps_family_rotation(const Model *m, char *why, size_t why_size);

/* ---- the rest of the block ---- */

/* Returns true if the layers have the norms of queries and keys that the class of the family in transformers
 * has. A model that came with code of its own may have other norms. */
bool model_keeps_family_norms(const Model *m, char *why, size_t why_size);
/* Returns true if queries or keys have a norm in at least one layer. */
bool model_has_qk_norm(const Model *m);
/* Returns true if the model has attention sinks and at least one of them is high enough to change the
 * output. */
bool model_has_sinks(const Model *m);
/* Returns true if softmax_scale is the same in all layers. */
bool model_has_one_softmax_scale(const Model *m);
/* Returns true if embedding_scale, residual_scale and logit_scale are all 1. */
bool model_has_no_multipliers(const Model *m);
/* Returns true if the model has the block of Llama: attention and then the MLP, each with an RMSNorm before
 * it and none after it, SwiGLU as the MLP or as each expert, no soft caps, no bias of the logits, no
 * attention temperature, and no chunked attention with chunks shorter than the context. */
bool model_has_standard_layers(const Model *m, char *why, size_t why_size);
/* Returns true if model_has_standard_layers returns true and no layer has experts. */
bool model_has_standard_dense_layers(const Model *m, char *why, size_t why_size);
/* Returns true if every layer has experts, with the same n_experts and top_k in all layers, weighted by a
 * softmax over the chosen experts' logits (ROUTING_OF_CHOSEN). A shared expert or a bias in the router or in
 * the experts makes the result false. */
bool model_has_uniform_experts(const Model *m, char *why, size_t why_size);

#endif
