/* Texts and token ids that a person names on the command line, as tokens of a model. */
#ifndef DEROPE_CMD_TOKEN_INPUT_H
#define DEROPE_CMD_TOKEN_INPUT_H

#include "recal/perplexity.h"
#include "surgery/tokenizer/tokenizer.h"

/* Opens the tokenizer of the model at `path`. A folder may lack its weights. `*model` is the opened
 * checkpoint, which must outlive the tokenizer; the caller closes it, on failure too. NULL with an error. */
Tokenizer *model_tokenizer_open(const char *path, Checkpoint **model, Error *e);

/* Appends the whole of a file to `out`; "-" is standard input. At most 16 GiB. */
bool text_file_read(const char *path, Buffer *out, Error *e);
/* Appends the tokens of a text file ("-": standard input) by the checkpoint's tokenizer, with the special
 * tokens that it adds to a text. */
bool text_file_tokens(const Checkpoint *c, const char *path, TokenList *out, Error *e);
/* Appends the ids in a file ("-": standard input): whole numbers from 0 on, separated by white space, commas
 * or brackets. Errors name the offset. */
bool token_ids_read(const char *path, TokenList *out, Error *e);

/* Appends the tokens of the texts that perplexity is measured on. `paths` (n) are files or folders, whose
 * texts (recal/text_data.h) are joined by a newline; `field` is the JSONL member
 * that holds the text. With `drop_newline` the very last newline is left out. At most `max` tokens; 0: all.
 * If the tokenizer puts a BOS token before a text, it stands once at the start, and
 * `*bos` is its id; otherwise `*bos` is -1. */
bool perplexity_tokens(const Tokenizer *t, const char *const *paths, size_t n, const char *field,
                       bool drop_newline, uint64_t max, TokenList *out, int32_t *bos, Error *e);

/* Reads which tokens of a window are scored, "all" or "half". ERR_USAGE for anything else. */
bool perplexity_score_parse(const char *text, Score *out, Error *e);
/* Fills `names` with the names that perplexity_score_parse knows, at most `max`, and returns how many. */
size_t perplexity_score_names(const char **names, size_t max);

#endif
