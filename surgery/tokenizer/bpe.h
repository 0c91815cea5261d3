/* Byte pair encoding (Sennrich et al. 2016, arXiv 1508.07909) of one piece of text. */
#ifndef DEROPE_SURGERY_TOKENIZER_BPE_H
#define DEROPE_SURGERY_TOKENIZER_BPE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* Appends the tokens of a piece. False with an error if memory is short. */
bool bpe_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);

#endif
