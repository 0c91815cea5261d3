/* Keeps the keys of a GGUF for which a Hugging Face folder has no file (licence, languages, origin, keys of
 * other tools) when the GGUF is converted to a folder (gguf_keys.c). They are written to a side file, which
 * is a GGUF without tensors. If the folder is converted to a GGUF later, the keys are copied from it with the
 * same types and values. */
#ifndef DEROPE_SURGERY_GGUF_KEYS_H
#define DEROPE_SURGERY_GGUF_KEYS_H

#include "formats/checkpoint.h"

#define GGUF_KEYS_FILE "derope.gguf_keys"

/* Adds the side file to `folder`, which must already have its tokenizer files. Adds nothing if no key needs
 * it. */
void gguf_keys_keep(const Checkpoint *gguf, Checkpoint *folder);
/* Appends the keys of the side file of `folder`, if it has one, to `gguf`, which has none of them yet; `arch`
 * is its general.architecture. False with an ERR_INPUT if the file is no GGUF. */
bool gguf_keys_return(const Checkpoint *folder, const char *arch, Checkpoint *gguf, Error *e);

#endif
