/* From the tokenizer keys of a GGUF to HF's files. */
#ifndef DEROPE_SURGERY_TOKENIZER_GGUF_TO_HF_H
#define DEROPE_SURGERY_TOKENIZER_GGUF_TO_HF_H

#include "formats/checkpoint.h"
#include "surgery/tokenizer/conversion.h"

/* Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json of `out` from the keys of the GGUF
 * `source`. A kind of tokenizer that cannot be written gives a notice and no files. False with an ERR_INPUT
 * if the keys are damaged. */
bool tokenizer_from_gguf(const Checkpoint *source, const ConversionTarget *to, Checkpoint *out, Error *e);

/* Sets bos_token_id, eos_token_id and pad_token_id of a config.json from the keys of a GGUF; null where it
 * has none. */
void tokenizer_ids_to_config(const Checkpoint *c, json_t *config);

#endif
