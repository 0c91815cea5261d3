/* Groups of GGUF keys that more than one family or carrier writes. Single keys are written by arch_keys.h. */
#ifndef DEROPE_SURGERY_ARCH_WRITE_H
#define DEROPE_SURGERY_ARCH_WRITE_H

#include "surgery/arch_keys.h"
#include "surgery/model.h"

/* ARCH.rope.*: base, rotated dimensions and scaling of `l`, a layer that stands for all. Keys of another kind
 * of scaling, which the source may have had, are removed. */
void arch_set_rope(const Model *m, Checkpoint *out, const LayerSpec *l);
/* Whether arch_set_rope can say the rotation: one base for all layers that rotate, no scaling by the length
 * of the text, and YaRN only as llama.cpp computes it, with a ramp from 32 turns to 1. On false the reason is
 * in `why` (surgery/model_traits.h). */
bool arch_can_scale_rope(const Model *m, char *why, size_t why_size);
/* ARCH.attention.sliding_window and .sliding_window_pattern, a flag for each layer. If no layer has a window,
 * layer 0 gets one that is longer than any text (GGUF_NO_WINDOW), because llama.cpp demands a windowed layer.
 */
void arch_set_window_pattern(const Model *m, Checkpoint *out);
/* Removes the keys of windows, for architectures in which their absence means that no layer has one. */
void arch_remove_windows(Checkpoint *out);
/* Granite's four multipliers: embedding_scale, residual_scale, logit_scale (which divides the logits) and
 * attention.scale (the softmax scale). */
void arch_set_multipliers(const Model *m, Checkpoint *out);

#endif
