/* Says what a config.json means in words that all releases of transformers understand alike (config_amend.c).
 *
 * Some configurations are read differently by transformers 4 and 5, or only by one of them: keys with two
 * names, a model type that stands for another, published values that are known to be wrong, and multimodal
 * models, whose text model is described by a part of the file. Where they differ, transformers 5 is followed.
 * All other code reads the amended configuration, and outputs are written from it. */
#ifndef DEROPE_SURGERY_CONFIG_AMEND_H
#define DEROPE_SURGERY_CONFIG_AMEND_H

#include "surgery/model.h"

/* Finds the family that m->config describes, sets m->family, and amends m->config in place. Also sets
 * m->config_amended, and m->wrapper where m->config was that of a multimodal model. Where an amendment
 * changes what some release computes, m->notices says so. False, with an error that begins with
 * "config.json: ", if derope knows no such family. */
bool config_amend(Model *m, Error *e);

#endif
