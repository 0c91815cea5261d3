/* From tokenizer.model to the keys of a GGUF. */
#ifndef DEROPE_SURGERY_TOKENIZER_SENTENCEPIECE_TO_GGUF_H
#define DEROPE_SURGERY_TOKENIZER_SENTENCEPIECE_TO_GGUF_H

#include "formats/checkpoint.h"
#include "surgery/tokenizer/conversion.h"

/* Writes the keys of `out` from tokenizer.model, added_tokens.json and tokenizer_config.json of `source`, the
 * same keys that llama.cpp's converter writes. What llama.cpp cannot do gives a notice and
 * tokenizer.ggml.model = "none". */
bool sentencepiece_to_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e);

/* Does so for a tokenizer that is to be run and not written (load_sentencepiece.c). The vocabulary is then as
 * large as the files say, and what cannot be run is an ERR_INPUT. `config`: config.json, or NULL. */
bool sentencepiece_to_keys(const Checkpoint *source, const json_t *config, Checkpoint *out, Error *e);

#endif
