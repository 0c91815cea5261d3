/* Parses sets of layers as flags and recipes give them (layer_set.c). */
#ifndef DEROPE_SURGERY_LAYER_SET_H
#define DEROPE_SURGERY_LAYER_SET_H

#include <jansson.h>
#include <stdint.h>

#include "formats/error.h"

/* Reads a set of layers: "all", "3", "0,3,7", "10-29", "0,4-7", "every:4" (layers i with (i+1) % 4 == 0), an
 * integer, or an array of these. Sets picked[i] for the layers named and leaves the others as they are. */
bool layers_parse(const json_t *value, uint32_t n_layers, bool *picked, Error *e);

#endif
