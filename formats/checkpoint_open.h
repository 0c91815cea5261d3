/* Opens a checkpoint of any kind that is read (checkpoint_open.c). */
#ifndef DEROPE_FORMATS_CHECKPOINT_OPEN_H
#define DEROPE_FORMATS_CHECKPOINT_OPEN_H

#include "formats/checkpoint.h"

/* Opens a GGUF file, an HF folder (safetensors or PyTorch weights), a zip of one, a .safetensors or a torch
 * zip file. */
Checkpoint *checkpoint_open(const char *path, Error *e);
/* The same for a folder that may lack weights: `without_weights` reads configuration and tokenizer alone. */
Checkpoint *checkpoint_open_config(const char *path, bool without_weights, Error *e);
/* Adds to the empty `c` a zip of either kind, told apart by its entries: a PyTorch checkpoint, or a Hugging
 * Face folder (of which `without_weights` reads configuration and tokenizer alone). */
bool checkpoint_read_zip(Checkpoint *c, const char *path, bool without_weights, Error *e);

#endif
