/* Writes tensors without a known role (ROLE_OTHER), such as rotary inv_freq buffers or the head of another
 * task. If source and output have the same format, they are copied. llama.cpp refuses a GGUF with tensors
 * that it does not know, so small tensors of a folder are stored in keys of a GGUF, and become tensors again
 * when that GGUF is converted to a folder. */
#ifndef DEROPE_SURGERY_EXPORT_OTHER_H
#define DEROPE_SURGERY_EXPORT_OTHER_H

#include "surgery/export_state.h"

/* Copies the tensor, puts it into a key, or leaves it out with a notice. */
bool export_add_other(Export *x, const Tensor *t);
/* For an HF output of a GGUF: adds the tensors that are stored in keys of the GGUF. */
bool export_restore_carried(Export *x);

#endif
