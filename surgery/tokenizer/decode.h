/* From tokens to text. */
#ifndef DEROPE_SURGERY_TOKENIZER_DECODE_H
#define DEROPE_SURGERY_TOKENIZER_DECODE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Appends the bytes of one token, whose id has to be valid. `first`: no token was decoded before it. */
void decode_token(const Tokenizer *t, int32_t id, bool first, Buffer *out);
/* Removes spaces at the ends of the text that begins at `start`, as the tokenizer's decoder says. */
void decode_strip_ends(const Tokenizer *t, Buffer *out, size_t start);

#endif
