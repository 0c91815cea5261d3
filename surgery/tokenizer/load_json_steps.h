/* Loading the steps around the model of a tokenizer.json. */
#ifndef DEROPE_SURGERY_TOKENIZER_LOAD_JSON_STEPS_H
#define DEROPE_SURGERY_TOKENIZER_LOAD_JSON_STEPS_H

#include <jansson.h>

#include "surgery/tokenizer/tokenizer_state.h"

/* Reads "normalizer", "pre_tokenizer", "post_processor" and "decoder" of the file's object. The vocabulary
 * has to be loaded. `where` begins messages. */
bool tokenizer_load_steps(Tokenizer *t, const json_t *root, const char *where, Error *e);

#endif
