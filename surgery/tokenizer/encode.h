/* Encodes text: runs all steps of a tokenizer, from added tokens to the model (encode.c). tokenizer_state.h
 * lists the steps. */
#ifndef DEROPE_SURGERY_TOKENIZER_ENCODE_H
#define DEROPE_SURGERY_TOKENIZER_ENCODE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Appends the tokens of a part of a text, without the special tokens around it. `before` is the number of
 * bytes of the text that come before this part. Only the part at the start of a text (`before` 0) may get a
 * leading space or space marker, and offsets in error texts count from the start of the text. */
bool encode_part(const Tokenizer *t, const char *text, size_t n, uint64_t before, TokenList *out, Error *e);

/* Append the special tokens that begin, and that end, a text. */
void encode_prefix(const Tokenizer *t, TokenList *out);
void encode_suffix(const Tokenizer *t, TokenList *out);

#endif
