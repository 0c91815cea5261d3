/* Finding the tensors of a model: every role that the spec asks for gets the tensor that the family's table
 * names, in the layout that all models share. */
#ifndef DEROPE_SURGERY_MODEL_BIND_H
#define DEROPE_SURGERY_MODEL_BIND_H

#include "surgery/model.h"

/* Fills m->tensors from m->weights by the table of m->family and the spec, both of which are set. `dtypes` (a
 * GGUF's DEROPE_DTYPES, or NULL) says which types the tensors had before they were widened. Sets the biases
 * of the spec where a GGUF, which has no keys for them, shows them by its tensors, and m->neutral_sinks.
 * Tensors that no row names are kept as ROLE_OTHER, with a notice. Fails (ERR_INPUT, naming the tensor) where
 * one is missing, has another shape than the spec says, or belongs to a layer or expert beyond the stated
 * number. */
bool model_bind(Model *m, const json_t *dtypes, Error *e);

#endif
