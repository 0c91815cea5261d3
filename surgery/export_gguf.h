/* The keys of a GGUF output: the source's, the architecture's, the tokenizer's, and those in which travels
 * what GGUF has no place for (surgery/derope_keys.h). */
#ifndef DEROPE_SURGERY_EXPORT_GGUF_H
#define DEROPE_SURGERY_EXPORT_GGUF_H

#include "surgery/export_state.h"

/* Sets all keys of x->out, whose tensors are there already. */
bool export_gguf(Export *x);

#endif
