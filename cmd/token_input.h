/* Tokens from what a person names on the command line. */
#ifndef DEROPE_CMD_TOKEN_INPUT_H
#define DEROPE_CMD_TOKEN_INPUT_H

#include "recal/perplexity.h"
#include "surgery/tokenizer/tokenizer.h"

/* The tokenizer of a model, whose weights need not be there. `*model` outlives it and is the caller's to
 * close, on failure too. */
Tokenizer *tokenizer_of(const char *path, Checkpoint **model, Error *e);
/* Whole numbers separated by white space, commas or brackets. */
bool ids_read(const char *path, TokenList *out, Error *e);
/* The tokens of a text file ("-": standard input) by the checkpoint's tokenizer, with the special tokens that
 * it adds. */
bool text_tokens(const Checkpoint *c, const char *path, TokenList *out, Error *e);
/* "all" or "half". */
bool score_parse(const char *text, Score *out, Error *e);
/* Fills `names` with the names that score_parse knows, at most `max`, and returns how many. */
size_t score_names(const char **names, size_t max);
/* The whole of a file, "-" being standard input. */
bool text_read(const char *path, Buffer *out, Error *e);

/* Texts for perplexity: joined by newlines, with BOS at the start if the tokenizer adds one; `*bos` is then
 * its id, else -1. `max` 0: all tokens. */
bool ppl_tokens(const Tokenizer *t, const char *const *paths, size_t n, const char *field, bool drop_newline,
                uint64_t max, TokenList *out, int32_t *bos, Error *e);

#endif
