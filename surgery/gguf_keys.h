/* The keys of a GGUF that no file of an HF folder has a place for (licence, languages, origin, keys of other
 * tools) travel in a side file. It is a GGUF without tensors, so that the keys come back with their types,
 * bit for bit, when the folder is made a GGUF again. */
#ifndef DEROPE_SURGERY_GGUF_KEYS_H
#define DEROPE_SURGERY_GGUF_KEYS_H

#include "formats/checkpoint.h"

#define GGUF_KEYS_FILE "derope.gguf_keys"

/* Adds the side file to `folder`, whose tokenizer files are there already. If every key has a place, there is
 * none. */
void gguf_keys_keep(const Checkpoint *gguf, Checkpoint *folder);
/* Appends the keys of the side file of `folder`, if it has one, to `gguf`, which has none of them yet; `arch`
 * is its general.architecture. False with an ERR_INPUT if the file is no GGUF. */
bool gguf_keys_return(const Checkpoint *folder, const char *arch, Checkpoint *gguf, Error *e);

#endif
