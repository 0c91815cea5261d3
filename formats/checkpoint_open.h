/* Opens a checkpoint of any supported kind (checkpoint_open.c).
 *
 * The kind is found from the content: a folder is a Hugging Face folder; a file is what its first bytes say
 * (formats/container.h), and a zip file is what its entries say. File names play no part, so a GGUF called
 * "model.bin" opens as well. */
#ifndef DEROPE_FORMATS_CHECKPOINT_OPEN_H
#define DEROPE_FORMATS_CHECKPOINT_OPEN_H

#include "formats/checkpoint.h"

/* Opens a GGUF file, a Hugging Face folder (safetensors or PyTorch weights), a zip of such a folder, a
 * .safetensors file or a PyTorch zip file. A single weights file brings the configuration and tokenizer
 * files that lie beside it. Tensor data is mapped, not read. NULL with an error: ERR_INPUT for whatever is
 * wrong with the input, ERR_FAILED for trouble of the machine. The caller closes the result with
 * checkpoint_close. */
Checkpoint *checkpoint_open(const char *path, Error *e);

/* Does the same, or, if `without_weights`, reads only configuration and tokenizer of a folder or a zip of
 * one; the folder then need not hold weights (training from scratch). */
Checkpoint *checkpoint_open_config(const char *path, bool without_weights, Error *e);

/* Adds the content of a zip file to the empty `c`: a PyTorch checkpoint if there is a NAME/data.pkl, else a
 * Hugging Face folder, of which `without_weights` reads configuration and tokenizer alone. Used by the two
 * functions above and by the fuzzer. */
bool checkpoint_read_zip(Checkpoint *c, const char *path, bool without_weights, Error *e);

#endif
