/* Loading tokenizer.json, the file format of HF `tokenizers`. */
#ifndef DEROPE_SURGERY_TOKENIZER_LOAD_JSON_H
#define DEROPE_SURGERY_TOKENIZER_LOAD_JSON_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Fills an empty tokenizer from tokenizer.json, and finds BOS and EOS in tokenizer_config.json and
 * config.json. False with an ERR_INPUT that names the file and what in it is wrong or not supported. */
bool tokenizer_load_json(Tokenizer *t, const Checkpoint *c, Error *e);

#endif
