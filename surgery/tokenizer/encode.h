/* From text to tokens, by all steps of a tokenizer. */
#ifndef DEROPE_SURGERY_TOKENIZER_ENCODE_H
#define DEROPE_SURGERY_TOKENIZER_ENCODE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Appends the tokens of a part of a text, without the special tokens around it. `before`: bytes of the text
 * that came before this part; if there are any, nothing is put in front of it, and offsets in messages count
 * from the text's start. */
bool encode_part(const Tokenizer *t, const char *text, size_t n, uint64_t before, TokenList *out, Error *e);

/* Append the special tokens that begin, and that end, a text. */
void encode_prefix(const Tokenizer *t, TokenList *out);
void encode_suffix(const Tokenizer *t, TokenList *out);

#endif
