/* A GGUF's keys and rope tables -> spec. */
#ifndef DEROPE_SURGERY_SPEC_GGUF_H
#define DEROPE_SURGERY_SPEC_GGUF_H

#include "surgery/model.h"

/* Fills m->spec from the metadata of a GGUF of m->family, which is set already; the layers are allocated in
 * m->arena. Besides keys, a few tensors take part: the embedding says how large the vocabulary is, and Llama
 * 3's and LongRoPE's scalings are stored as tables of divisors. */
bool spec_from_gguf(Model *m, const Checkpoint *c, Error *e);

#endif
