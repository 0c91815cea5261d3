/* Loading a tokenizer from the keys tokenizer.ggml.* of a GGUF, as llama.cpp does. */
#ifndef DEROPE_SURGERY_TOKENIZER_LOAD_GGUF_H
#define DEROPE_SURGERY_TOKENIZER_LOAD_GGUF_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Fills an empty tokenizer from the keys of `c`. If t->like_sentencepiece is set before, the keys are read as
 * the sentencepiece library would treat the tokenizer.model that they came from. False with an ERR_INPUT that
 * names the key. */
bool tokenizer_load_gguf(Tokenizer *t, const Checkpoint *c, Error *e);

#endif
