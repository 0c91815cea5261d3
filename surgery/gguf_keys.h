/* The keys of a GGUF that an HF folder has no place for (licence, languages, origin, what others put there)
 * travel in a side file: a GGUF without tensors, so that they come back with their types, bit for bit. */
#ifndef DEROPE_SURGERY_GGUF_KEYS_H
#define DEROPE_SURGERY_GGUF_KEYS_H

#include "formats/checkpoint.h"

#define GGUF_KEYS_FILE "derope.gguf_keys"

/* Adds the side file to `folder`, whose tokenizer files are there already. None if every key has a place. */
void gguf_keys_keep(const Checkpoint *gguf, Checkpoint *folder);
/* Appends the keys of the side file of `folder`, if it has one, to `gguf`, which has none of them yet. */
bool gguf_keys_return(const Checkpoint *folder, const char *arch, Checkpoint *gguf, Error *e);

#endif
