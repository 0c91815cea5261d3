/* Normalisers: the steps that change text before it is cut into pieces (Unicode normal forms, lower case,
 * marked spaces). A tokenizer has a list of them, which are applied in order, each to a whole segment between
 * added tokens. */
#ifndef DEROPE_SURGERY_TOKENIZER_NORMALIZE_H
#define DEROPE_SURGERY_TOKENIZER_NORMALIZE_H

#include "formats/buffer.h"
#include "surgery/tokenizer/pattern.h"

typedef struct Charsmap Charsmap; /* charsmap.h */

/* One step: a function and its parameters. The comment of each parameter names the functions that use it. */
typedef struct Normalizer {
    /* Changes `text` (valid UTF-8) in place. A step that can lengthen a text without bound stops at `limit`
     * bytes with an error (normalize_fits). */
    bool (*apply)(const struct Normalizer *z, Buffer *text, size_t limit, Error *e);
    int form;            /* normalize_unicode: the normal form, as options of utf8proc_map */
    Pattern *pattern;    /* normalize_replace: what is replaced; owned by the list */
    const Charsmap *map; /* normalize_charsmap, normalize_precompiled: the replacements */
    const char *to;      /* normalize_replace: the replacement; normalize_prepend: what is put in front;
                            normalize_strip_end: what is removed */
    bool left, right;    /* normalize_strip: the ends at which spaces are removed */
} Normalizer;

enum { MAX_NORMALIZERS = 16 };

typedef struct NormalizerList {
    Normalizer steps[MAX_NORMALIZERS];
    size_t n;
} NormalizerList;

/* Appends a step. If the list is full, frees the step's pattern and returns false with an error that begins
 * with `where`. */
bool normalizers_add(NormalizerList *l, Normalizer z, const char *where, Error *e);
void normalizers_free(NormalizerList *l);

/* Applies all steps to a segment. `continues` is true if the segment continues text that was normalised
 * before; the steps that put something in front of the text are then left out. The steps come from a file,
 * and each of them may multiply the text, so a segment that grows to more than 32 times its size (and 256
 * bytes) is refused with ERR_INPUT. The largest growth that published tokenizers cause is 11 times: NFKC
 * writes the 3 bytes of U+FDFA as 33. */
bool normalizers_apply(const NormalizerList *l, Buffer *text, bool continues, Error *e);

/* ---- the steps; charsmap.h has two more ---- */

/* For steps: false with an error if a text of `size` bytes is longer than `limit`. */
bool normalize_fits(size_t size, size_t limit, Error *e);

/* NFC, NFD, NFKC or NFKD, with the tables of Unicode 9 (see is_unnormalized). */
bool normalize_unicode(const Normalizer *z, Buffer *text, size_t limit, Error *e);
bool normalize_lowercase(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Puts `to` in front, unless the text is empty. */
bool normalize_prepend(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Puts `to` in front, unless the text consists of spaces only. */
bool normalize_prepend_words(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Replaces each match of `pattern` by `to`. */
bool normalize_replace(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Removes white space at the ends. */
bool normalize_strip(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Removes all copies of `to` at the end of the text. */
bool normalize_strip_end(const Normalizer *z, Buffer *text, size_t limit, Error *e);
/* Removes spaces at the ends and leaves one of several in a row (SentencePiece's
 * remove_extra_whitespaces). */
bool normalize_squeeze(const Normalizer *z, Buffer *text, size_t limit, Error *e);

#endif
