/* Reads the texts and token ids that are given on the command line, and converts them to tokens of a model.
 */
#ifndef DEROPE_CMD_TOKEN_INPUT_H
#define DEROPE_CMD_TOKEN_INPUT_H

#include "recal/perplexity.h"
#include "surgery/tokenizer/tokenizer.h"

/* Opens the tokenizer of the model at `path`. A folder does not need to have weights. `*model` is the opened
 * checkpoint, which must outlive the tokenizer; the caller closes it, also on failure. NULL with an error. */
Tokenizer *model_tokenizer_open(const char *path, Checkpoint **model, Error *e);

/* Appends the contents of a file to `out`; "-" is standard input. At most 16 GiB. */
bool text_file_read(const char *path, Buffer *out, Error *e);
/* Tokenizes a text file ("-": standard input) with the checkpoint's tokenizer, and appends the tokens to
 * `out`, including the special tokens (BOS, EOS) that the tokenizer adds to a text. */
bool text_file_tokens(const Checkpoint *c, const char *path, TokenList *out, Error *e);
/* Appends the token ids in a file ("-": standard input). They are non-negative integers, separated by white
 * space, commas or brackets. Errors name the offset in the file. */
bool token_ids_read(const char *path, TokenList *out, Error *e);

/* Appends the tokens of the texts that perplexity is measured on. `paths` (n) are files or folders, whose
 * texts (recal/text_data.h) are joined by a newline; `field` is the JSONL member
 * that holds the text. With `drop_newline` the newline at the end of the last text is left out. At most `max`
 * tokens; 0: all. If the tokenizer adds BOS to a text, there is a single BOS at the start of all tokens, and
 * `*bos` is its id. Otherwise `*bos` is -1. */
bool perplexity_tokens(const Tokenizer *t, const char *const *paths, size_t n, const char *field,
                       bool drop_newline, uint64_t max, TokenList *out, int32_t *bos, Error *e);

/* Reads which tokens of a window are scored, "all" or "half". ERR_USAGE for anything else. */
bool perplexity_score_parse(const char *text, Score *out, Error *e);
/* Fills `names` with the names that perplexity_score_parse knows, at most `max`, and returns how many. */
size_t perplexity_score_names(const char **names, size_t max);

#endif
