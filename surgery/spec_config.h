/* config.json -> spec. */
#ifndef DEROPE_SURGERY_SPEC_CONFIG_H
#define DEROPE_SURGERY_SPEC_CONFIG_H

#include "surgery/model.h"

/* Fills m->spec from a configuration of m->family, which is set already; the layers are allocated in
 * m->arena. Both ways to state rotation are read: the legacy keys rope_theta and rope_scaling, and
 * transformers 5's rope_parameters. The model_type is not looked at. */
bool spec_from_config(Model *m, const json_t *config, Error *e);

#endif
