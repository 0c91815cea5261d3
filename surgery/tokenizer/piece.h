/* Encoding one piece by the tokenizer's model, with a cache of short pieces. */
#ifndef DEROPE_SURGERY_TOKENIZER_PIECE_H
#define DEROPE_SURGERY_TOKENIZER_PIECE_H

#include "surgery/tokenizer/tokenizer_state.h"

/* An empty cache: 2 MB, since natural text repeats few words very often. */
struct PieceCache *piece_cache_new(void);
void piece_cache_free(struct PieceCache *c);

/* Appends the tokens of a piece, by byte pair encoding or by the unigram model. */
bool piece_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);

#endif
