/* From HF's tokenizer files to the keys of a GGUF. */
#ifndef DEROPE_SURGERY_TOKENIZER_HF_TO_GGUF_H
#define DEROPE_SURGERY_TOKENIZER_HF_TO_GGUF_H

#include "formats/checkpoint.h"
#include "surgery/tokenizer/conversion.h"

/* Writes the keys tokenizer.ggml.* and tokenizer.chat_template of `out` from the files of `source`: from
 * tokenizer.json, else from tokenizer.model. A source without a tokenizer, or with one that no key can
 * express, gives a notice and tokenizer.ggml.model = "none". False with an ERR_INPUT if a file is damaged. */
bool tokenizer_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e);

#endif
