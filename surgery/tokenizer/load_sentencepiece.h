/* Loading tokenizer.model, the file format of the sentencepiece library. */
#ifndef DEROPE_SURGERY_TOKENIZER_LOAD_SENTENCEPIECE_H
#define DEROPE_SURGERY_TOKENIZER_LOAD_SENTENCEPIECE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Fills an empty tokenizer from tokenizer.model and the files beside it. False with an ERR_INPUT that names
 * the file and what in it is wrong or not supported. */
bool tokenizer_load_sentencepiece(Tokenizer *t, const Checkpoint *c, Error *e);

#endif
