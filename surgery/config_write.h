/* Groups of config.json keys that more than one family or carrier writes. */
#ifndef DEROPE_SURGERY_CONFIG_WRITE_H
#define DEROPE_SURGERY_CONFIG_WRITE_H

#include "surgery/family.h"

/* ---- which class ---- */

void config_set_class(json_t *config, const char *architecture, const char *model_type);
/* States bos_token_id, eos_token_id and pad_token_id as null where they are absent. The defaults of some
 * classes lie outside small vocabularies, and the class then stops. */
void config_set_token_ids(json_t *config);
/* For a configuration that goes to the class of another family: keys that `f` gives names of its own get
 * their usual names, and its private keys are removed. */
void config_leave_family(const Family *f, json_t *config);

/* ---- position ---- */

/* rope_theta and rope_scaling for class `f`: the legacy keys, which transformers 4 and 5 both read, so
 * rope_parameters is removed. `l` is a layer that rotates. NULL: no layer does, and rope_theta becomes
 * `base_if_none`. */
void config_set_rope(const Family *f, json_t *config, const LayerSpec *l, double base_if_none);
/* no_rope_layers: 1 for each layer that rotates, 0 for the others (sic: transformers' own meaning). */
void config_set_no_rope_layers(const Model *m, json_t *config);
/* layer_types and sliding_window. `if_none` is the window that is stated where no layer has one; 0: null. */
void config_set_layer_types(const Model *m, json_t *config, uint32_t if_none);

/* ---- the block ---- */

/* The number of experts under `key`, and num_experts_per_tok. */
void config_set_experts(const Model *m, json_t *config, const char *key);
/* Granite's four multipliers: embedding_multiplier, residual_multiplier, logits_scaling (which divides the
 * logits) and attention_multiplier (the softmax scale). */
void config_set_multipliers(const Model *m, json_t *config);

#endif
