/* From HF's tokenizer files to the keys of a GGUF. */
#ifndef DEROPE_SURGERY_TOKENIZER_HF_TO_GGUF_H
#define DEROPE_SURGERY_TOKENIZER_HF_TO_GGUF_H

#include "formats/checkpoint.h"
#include "surgery/tokenizer/conversion.h"

/* Writes the keys tokenizer.ggml.* of `out` from the files of `source`: from tokenizer.json, else from
 * tokenizer.model, else from vocab.json and merges.txt; and its chat templates as tokenizer.chat_template and
 * tokenizer.chat_template.NAME. A source without a tokenizer, or with one that no key can express, gives a
 * notice and tokenizer.ggml.model = "none". Added tokens without a row in the model's embedding are left out
 * with a notice. False with an ERR_INPUT if a file is damaged. */
bool tokenizer_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e);

#endif
