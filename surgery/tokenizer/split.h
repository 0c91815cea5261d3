/* Pre-tokenizers: the steps that cut normalised text into pieces, within which tokens are found. A tokenizer
 * has a list of them, and each one cuts every piece that the one before it made. */
#ifndef DEROPE_SURGERY_TOKENIZER_SPLIT_H
#define DEROPE_SURGERY_TOKENIZER_SPLIT_H

#include "formats/buffer.h"
#include "surgery/tokenizer/pattern.h"

struct Cutter; /* one run through the list; private to split.c */

/* What becomes of the matches of a pattern (SplitDelimiterBehavior of HF `tokenizers`). */
typedef enum SplitBehavior {
    SPLIT_ISOLATED,      /* a match is a piece of its own */
    SPLIT_REMOVED,       /* a match is dropped */
    SPLIT_WITH_PREVIOUS, /* a match belongs to the piece before it */
    SPLIT_WITH_NEXT,     /* a match belongs to the piece behind it */
    SPLIT_CONTIGUOUS     /* matches that touch form one piece */
} SplitBehavior;

/* When split_metaspace puts a space marker in front. */
typedef enum PrependScheme {
    PREPEND_ALWAYS, /* before each segment */
    PREPEND_FIRST,  /* only at the start of the text */
    PREPEND_NEVER
} PrependScheme;

/* One step: a function and its parameters. The comment of each parameter names the function that uses it. */
typedef struct Splitter {
    /* Cuts the piece p[0, n) and passes each part to the step after number `step`. `first` is true if the
     * piece is the start of the text. */
    bool (*apply)(const struct Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                  bool first);
    Pattern *pattern;       /* split_by_pattern; owned by the list */
    SplitBehavior behavior; /* split_by_pattern */
    bool invert;            /* split_by_pattern: what lies between matches counts as the match */
    bool metaspace_split;   /* split_metaspace: also cut before each marker */
    PrependScheme prepend;  /* split_metaspace */
} Splitter;

enum { MAX_SPLITTERS = 16 };

typedef struct SplitterList {
    Splitter steps[MAX_SPLITTERS];
    size_t n;
} SplitterList;

/* Appends a step. If the list is full, frees the step's pattern and returns false with an error that begins
 * with `where`. */
bool splitters_add(SplitterList *l, Splitter s, const char *where, Error *e);
void splitters_free(SplitterList *l);

/* Receives the pieces in order. Returning false ends the cutting. */
typedef bool (*PieceSink)(void *context, const char *piece, size_t n, Error *e);

/* Cuts a normalised segment by all steps. `first`: the segment begins the text. False with an error of a step
 * or of the sink. */
bool split_pieces(const SplitterList *l, const char *text, size_t n, bool first, PieceSink sink,
                  void *context, Error *e);

/* ---- the steps ---- */

/* The regular expression by which GPT-2, and the pre-tokenizer ByteLevel, cut text. */
extern const char gpt2_pattern[];

/* Cuts at the matches of a pattern. */
bool split_by_pattern(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                      bool first);
/* Writes spaces as markers, one in front as `prepend` says, and cuts before each marker (HF's Metaspace). */
bool split_metaspace(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                     bool first);
/* Writes each byte as its character of GPT-2's alphabet, for steps that cut those. */
bool split_to_printable(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                        bool first);
/* Puts a space in front of a piece that does not begin with one (ByteLevel's add_prefix_space). */
bool split_prefix_space(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                        bool first);

#endif
