/* Builds the ModelSpec of a model that is read from a GGUF (spec_gguf.c). surgery/spec_config.h does it for
 * config.json. */
#ifndef DEROPE_SURGERY_SPEC_GGUF_H
#define DEROPE_SURGERY_SPEC_GGUF_H

#include "surgery/model.h"

/* Fills m->spec from the metadata of a GGUF of m->family, which is set already; the layers are allocated in
 * m->arena. A few facts are in tensors instead of keys: the vocabulary size is the number of rows of the
 * embedding, and the RoPE scalings of Llama 3 and LongRoPE are tables of frequency divisors. */
bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e);

#endif
