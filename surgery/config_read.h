/* Reads typed values from a config.json (config_read.c), for spec_config.c and the families' hooks
 * (HfClass.read). Keys are those of transformers' configuration classes.
 *
 * Unless its comment says otherwise, a function does not change `*out` if the key is absent or null, so the
 * caller sets the default first. A value of another type or out of range is an error that begins with
 * "config.json: KEY". */
#ifndef DEROPE_SURGERY_CONFIG_READ_H
#define DEROPE_SURGERY_CONFIG_READ_H

#include "surgery/family.h"

/* True if the key is there and not null. */
bool config_has(const json_t *config, const char *key);
/* True if the configuration states a rope scaling, in either of its forms. */
bool config_scales_rope(const json_t *config);
/* The family's own name for a key ("layer_norm_eps" for "rms_norm_eps"), or `usual` itself. */
const char *config_key(const Family *f, const char *usual);

/* A number. */
bool config_read_real(const json_t *config, const char *key, double *out, Error *e);
/* A whole number from `low` to `high`. */
bool config_read_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e);
/* A whole number from `low` to `high` that has to be there: an absent key is an error. */
bool config_need_u32(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out,
                     Error *e);
/* true or false. A number is accepted as well, because Python treats every number but 0 as true. */
bool config_read_bool(const json_t *config, const char *key, bool *out, Error *e);
/* A window in tokens, 1 to 2^31 - 1. Null sets 0, which means that there is none. */
bool config_read_window(const json_t *config, const char *key, uint32_t *out, Error *e);
/* A list of layer numbers: sets listed[i] for all n_layers. Numbers beyond the last layer are ignored, as
 * transformers does. */
bool config_read_layer_list(const Model *m, const json_t *config, const char *key, bool *listed, Error *e);
/* layer_types, a list with "sliding_attention" or "full_attention" for each layer: gives the layers their
 * window of `window` tokens. An error if a layer is "sliding_attention" and `window` is 0, because
 * transformers fails on such a file. */
bool config_read_layer_types(Model *m, const json_t *config, uint32_t window, Error *e);
/* no_rope_layers (SmolLM3, Llama 4), a list with 1 for each layer with RoPE and 0 for each layer without. If
 * it is absent or empty, every no_rope_layer_interval-th layer has no RoPE and all others have it. Sets
 * rotates[n_layers]. */
bool config_read_no_rope_layers(const Model *m, const json_t *config, bool *rotates, Error *e);
/* Sets n_experts and top_k of all layers. n_experts is read from `key`, whose name differs between classes,
 * and top_k from num_experts_per_tok. */
bool config_read_experts(Model *m, const json_t *config, const char *key, Error *e);

/* Sets the error "config.json: KEY: expected EXPECTED, found ..." and returns false. */
bool config_unexpected(const json_t *config, const char *key, const char *expected, Error *e);

#endif
