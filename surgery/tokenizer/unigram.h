/* The unigram model of SentencePiece (Kudo 2018, arXiv 1804.10959): of all ways to write a piece as tokens,
 * the one with the highest sum of scores, which are log-probabilities. */
#ifndef DEROPE_SURGERY_TOKENIZER_UNIGRAM_H
#define DEROPE_SURGERY_TOKENIZER_UNIGRAM_H

#include "surgery/tokenizer/tokenizer_state.h"

/* A model without tokens, for ids below `vocab_size`. `single`: sums are taken in single precision as the
 * sentencepiece library takes them; which of two almost equal ways wins depends on it. */
Unigram *unigram_new(uint32_t vocab_size, bool single);
void unigram_free(Unigram *u);
/* Adds a token with its score. */
void unigram_add(Unigram *u, const char *text, size_t n, int32_t id, double score);
/* Sets what an unknown character costs, from the least score of all tokens. */
void unigram_set_unknown(Unigram *u, double least_score);
/* Appends the tokens of a piece. False with an error if memory is short. */
bool unigram_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);

#endif
