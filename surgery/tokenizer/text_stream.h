/* Encoding a text that comes in parts, with the tokens that it has as a whole. */
#ifndef DEROPE_SURGERY_TOKENIZER_TEXT_STREAM_H
#define DEROPE_SURGERY_TOKENIZER_TEXT_STREAM_H

#include "formats/buffer.h"
#include "surgery/tokenizer/tokenizer.h"

/* The caller sets the first three members and leaves the others zero. */
typedef struct TextStream {
    const Tokenizer *t;
    bool add_special; /* put BOS and EOS around the whole text, as tokenizer_encode does */
    size_t piece;     /* bytes that are collected before a place to cut is looked for; 0: 1 MB */
    Buffer waiting;   /* text that is not encoded yet */
    uint64_t done;    /* bytes of the text that were encoded before it */
    size_t wanted;    /* bytes to collect before the next search; doubles while no place is found */
} TextStream;

/* Adds a part of the text and appends the tokens that are certain by now. A part may end anywhere, also
 * inside a character. 64 MB without a place to cut, and invalid UTF-8, are an ERR_INPUT with the offset in
 * the whole text. */
bool text_stream_add(TextStream *s, const char *text, size_t n, TokenList *out, Error *e);
/* Ends the text and appends the remaining tokens. The stream is then ready for another text. */
bool text_stream_end(TextStream *s, TokenList *out, Error *e);
void text_stream_free(TextStream *s);

#endif
