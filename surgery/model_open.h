/* Opening a model: from a checkpoint to a spec and bound tensors. */
#ifndef DEROPE_SURGERY_MODEL_OPEN_H
#define DEROPE_SURGERY_MODEL_OPEN_H

#include "surgery/model.h"

/* Reads which family it is and what its layers compute: from config.json, or from a GGUF's keys, or from the
 * config.json that a GGUF of ours carries in a key. Then binds the tensors. NULL with an ERR_INPUT that names
 * the tensor or the key, what was found and what was expected. `source` is borrowed. */
Model *model_open(Checkpoint *source, Error *e);
/* Reads the configuration alone: a model without tensors, for training from random weights. */
Model *model_open_config(Checkpoint *source, Error *e);

#endif
