/* Checks that a config.json asks for nothing that derope does not know (config_check.c). */
#ifndef DEROPE_SURGERY_CONFIG_CHECK_H
#define DEROPE_SURGERY_CONFIG_CHECK_H

#include "surgery/model.h"

/* Looks at every key of `config`, a configuration of m->family. False, with an error that begins with
 * "config.json: KEY", if a key has a value that makes transformers compute something derope does not have.
 * Keys that no release of the class reads get one notice for all of them in m->notices. */
bool config_check_keys(const Model *m, const json_t *config, Error *e);

#endif
