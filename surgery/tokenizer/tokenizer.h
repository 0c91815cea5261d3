/* Text to tokens and back: from tokenizer.json as HF `tokenizers` does, from GGUF metadata as llama.cpp, from
 * tokenizer.model as sentencepiece; on valid UTF-8. What has no token becomes the unknown
 * one, or nothing where there is none. A Tokenizer remembers words it has seen: one thread at a time. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_H

#include "formats/checkpoint.h"

typedef struct Tokenizer Tokenizer;

/* From tokenizer.json if the checkpoint has one, else from a GGUF's keys tokenizer.ggml.*, else from
 * tokenizer.model; NULL with an error. */
Tokenizer *tokenizer_open(const Checkpoint *c, Error *e);
void tokenizer_close(Tokenizer *t);

typedef struct TokenList {
    int32_t *ids;
    size_t n, capacity;
} TokenList;

/* Appends the tokens of `text`. With `add_special`, BOS/EOS are added as the model's own tokenizer does.
 * Added/special tokens written out in the text are recognised, as HF does. Invalid UTF-8 is an ERR_INPUT
 * with the byte's offset. */
bool tokenizer_encode(const Tokenizer *t, const char *text, size_t n, bool add_special, TokenList *out,
                      Error *e);

/* The tokens of a text that comes in parts: the same as of the whole, while no more of it is kept than it
 * takes to find a place where it may be cut. 64 MB without any is an ERR_INPUT. */
typedef struct TextStream {
    const Tokenizer *t;
    bool add_special;
    size_t piece; /* look for a cut when this much waits; 0: 1 MB */
    /* zero to start */
    Buffer waiting; /* text that is not encoded yet */
    uint64_t done;  /* bytes of the text before it */
    size_t enough;  /* what `piece` has grown to where no cut was found */
} TextStream;

/* Appends the tokens that are certain by now. */
bool text_stream_add(TextStream *s, const char *text, size_t n, TokenList *out, Error *e);
/* Appends the rest; the stream is ready for another text. */
bool text_stream_end(TextStream *s, TokenList *out, Error *e);
void text_stream_free(TextStream *s);

/* Appends the bytes of the tokens as they are (HF replaces what is not UTF-8), those of special tokens only
 * with `keep_special`. */
bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool keep_special, Buffer *out,
                      Error *e);
/* Tokens that a text takes by itself, without special ones; text that cannot be encoded has 0. */
size_t tokenizer_count(const Tokenizer *t, const char *text);
uint32_t tokenizer_vocab_size(const Tokenizer *t);
/* -1 where there is none. */
int32_t tokenizer_bos(const Tokenizer *t);
int32_t tokenizer_eos(const Tokenizer *t);
/* True if encode with add_special would put BOS first. */
bool tokenizer_adds_bos(const Tokenizer *t);
void token_append(TokenList *l, int32_t id);
void token_list_free(TokenList *l);

#endif
