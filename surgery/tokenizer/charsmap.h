/* SentencePiece's precompiled_charsmap: a compiled table of replacements, by which models of T5's kind
 * normalise text. */
#ifndef DEROPE_SURGERY_TOKENIZER_CHARSMAP_H
#define DEROPE_SURGERY_TOKENIZER_CHARSMAP_H

#include "surgery/tokenizer/normalize.h"

/* Copies a charsmap into the arena. NULL with an error, which begins with `where`, if its sizes do not fit;
 * its content may be anything, since every step through it is checked. */
const Charsmap *charsmap_open(Arena *a, const uint8_t *bytes, size_t n, const char *where, Error *e);

/* Normalises as the sentencepiece library does: at each place the longest match of the map is replaced. */
bool normalize_charsmap(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Normalises as HF's normalizer "Precompiled" does, by grapheme clusters. */
bool normalize_precompiled(const Normalizer *z, Buffer *text, size_t limit, Error *e);

#endif
