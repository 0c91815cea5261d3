/* Questions about a model that families and carriers ask before they write it: does one window size serve all
 * layers, do all layers that rotate share one base, are there norms on queries and keys?
 *
 * A question that has the parameters `why` and `why_size` belongs to an architecture that can say only the
 * plain answer: on false it writes the reason there, as the end of the sentence "this architecture ..." ("has
 * no windows"). The reasons are what `derope plan` prints and what a refused conversion tells. */
#ifndef DEROPE_SURGERY_MODEL_TRAITS_H
#define DEROPE_SURGERY_MODEL_TRAITS_H

#include "surgery/family.h"

/* Writes the reason and returns false. */
bool refuse_because(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- layers ---- */

/* True if every layer passes the test. */
bool model_all_layers(const Model *m, bool (*test)(const Model *m, const LayerSpec *l));
bool layer_rotates(const Model *m, const LayerSpec *l); /* all of head_dim rotates */
bool layer_is_nope(const Model *m, const LayerSpec *l); /* nothing rotates */
/* It has no window, or one that is no shorter than the context and so hides nothing. */
bool layer_is_global(const Model *m, const LayerSpec *l);
/* The first layer with experts; layer 0 if none has any. */
const LayerSpec *model_moe_layer(const Model *m);

/* ---- windows ---- */

/* The first layer that has a window, or that has none; NULL if there is no such layer. */
const LayerSpec *model_layer_by_window(const Model *m, bool windowed);
/* The window of the first layer that has one, in tokens; 0 if none has. */
uint32_t model_window(const Model *m);
/* All layers that have a window have the same. */
bool model_has_one_window_size(const Model *m, char *why, size_t why_size);
/* All layers have the same window, or none has one. */
bool model_has_one_window(const Model *m, char *why, size_t why_size);

/* ---- rotation ---- */

/* All layers that rotate agree on base, rotated dimensions and scaling. `*first` (may be NULL) becomes the
 * first of them either way; NULL if none rotates. */
bool model_has_one_rotation(const Model *m, const LayerSpec **first);
/* All layers that rotate by the main rotation agree, as above. In families whose windowed layers have a base
 * of their own that is not scaled (Family.window_base) those layers are left out; in all others every layer
 * takes part. `first` must not be NULL. */
bool model_has_one_main_rotation(const Model *m, const LayerSpec **first);
/* The first layer whose rotation a scaling applies to; layer 0 if there is none. */
const LayerSpec *model_scaled_layer(const Model *m);
/* A scaling that makes all angles 0 would turn off the rotation of just the layers in which it is off. */
bool model_rotation_can_be_scaled_away(const Model *m, char *why, size_t why_size);
/* The layers that rotate are those that rotate in the family as it was published. */
bool model_keeps_family_rotation(const Model *m, char *why, size_t why_size);

/* ---- the rest of the block ---- */

/* The norms on queries and keys are the family's: custom code may have more of them than the stock class. */
bool model_keeps_family_norms(const Model *m, char *why, size_t why_size);
bool model_has_qk_norm(const Model *m);
/* There are attention sinks, and some of them change the output. */
bool model_has_sinks(const Model *m);
bool model_has_one_softmax_scale(const Model *m);
/* Embedding, residual and logit scales are all 1. */
bool model_has_no_multipliers(const Model *m);
/* The layers are of the common kind: RMSNorms before attention and before the MLP, which come one after the
 * other, SwiGLU, no soft caps, no chunks, no attention temperature. They may have experts. */
bool model_has_standard_layers(const Model *m, char *why, size_t why_size);
/* The layers are of the common kind, as model_has_standard_layers has it, and none has experts. */
bool model_has_standard_dense_layers(const Model *m, char *why, size_t why_size);
/* Every layer has the same number of experts, weighted by a softmax over the chosen ones; there is no shared
 * expert, and no bias in router or experts. */
bool model_has_uniform_experts(const Model *m, char *why, size_t why_size);

#endif
