/* Tensors that no role describes (ROLE_OTHER): rotary inv_freq buffers, a task head, what somebody added.
 * They are copied where the format stays the same. llama.cpp refuses a GGUF with tensors that it does not ask
 * for, so small ones travel from a folder to a GGUF in keys, and come back as tensors. */
#ifndef DEROPE_SURGERY_EXPORT_OTHER_H
#define DEROPE_SURGERY_EXPORT_OTHER_H

#include "surgery/export_state.h"

/* Copies the tensor, puts it into a key, or leaves it out with a notice. */
bool export_add_other(Export *x, const Tensor *t);
/* HF output of a GGUF: adds the tensors that travelled in keys. */
bool export_restore_carried(Export *x);

#endif
