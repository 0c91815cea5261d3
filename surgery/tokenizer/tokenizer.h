/* Text to tokens and back. A tokenizer is read from one of three sources, and gives the tokens of the program
 * that the source belongs to, so that a model reads what it was trained on:
 *
 *   tokenizer.json        tokens equal those of HF `tokenizers`, with the files beside it (hf_tokenizer.h)
 *   GGUF keys             tokens equal those of llama.cpp
 *   tokenizer.model       tokens equal those of the `sentencepiece` library
 *
 * README.md in this folder lists where these differ. Parts of a source that are not implemented are refused
 * by name when the tokenizer is opened; they are never ignored silently. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_H

#include "formats/checkpoint.h"
#include "surgery/tokenizer/token_list.h"

/* Remembers pieces of text that it has seen, so it may be used by one thread at a time. */
typedef struct Tokenizer Tokenizer;

/* Opens the tokenizer of a checkpoint: tokenizer.json if there is one, else the keys tokenizer.ggml.* of a
 * GGUF, else tokenizer.model, else vocab.json with merges.txt. The checkpoint is not needed afterwards. NULL
 * with an error. */
Tokenizer *tokenizer_open(const Checkpoint *c, Error *e);
void tokenizer_close(Tokenizer *t);

/* Appends the tokens of a text of `n` bytes. With `add_special`, the special tokens that the model's own
 * tokenizer puts around a text (usually BOS in front) are added. Where the text contains the text of an added
 * or special token, such as "<|im_end|>", it becomes that token. A character that has no token becomes the
 * unknown token, or nothing if there is none. Text that is not valid UTF-8 is an ERR_INPUT with the offset of
 * the first wrong byte. */
bool tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool add_special, TokenList *out,
                      Error *e);

/* Appends the text of the tokens. Bytes are appended as they are, even if they do not form valid UTF-8 (HF
 * `tokenizers` replaces such bytes by U+FFFD). Special tokens are left out unless `keep_special`. An id that
 * the vocabulary does not have is an ERR_INPUT. */
bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool keep_special, Buffer *out,
                      Error *e);

/* The number of tokens that a text takes by itself, without special ones; 0 if it cannot be encoded. */
size_t tokenizer_count(const Tokenizer *t, const char *text);

/* The largest id plus one. A model's embedding may have more rows. */
uint32_t tokenizer_vocab_size(const Tokenizer *t);
/* The ids of the tokens that begin and end a text; -1 if there is none. */
int32_t tokenizer_bos(const Tokenizer *t);
int32_t tokenizer_eos(const Tokenizer *t);
/* Whether tokenizer_encode with `add_special` puts BOS first. */
bool tokenizer_adds_bos(const Tokenizer *t);

#endif
