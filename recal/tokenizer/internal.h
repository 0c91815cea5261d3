/* A tokenizer as both of its sources (tokenizer.json, GGUF keys) fill it. Text goes through: added tokens cut
 * out, normalisers, pre-tokenisers, then BPE on each piece. */
#ifndef DEROPE_RECAL_TOKENIZER_INTERNAL_H
#define DEROPE_RECAL_TOKENIZER_INTERNAL_H

#include "recal/tokenizer.h"

/* Open addressing; keys are bytes in the arena. */
typedef struct TextMap {
    struct TextSlot {
        const char *key;
        uint32_t len;
        int32_t value;
    } * slots;
    size_t capacity, n;
} TextMap;

typedef struct MergeMap {
    struct MergeSlot {
        uint64_t pair; /* left << 32 | right, plus one; 0: empty */
        uint32_t rank;
        int32_t merged;
    } * slots;
    size_t capacity, n;
} MergeMap;

typedef struct AddedToken {
    const char *text;
    uint32_t len;
    int32_t id;
    bool special, lstrip, rstrip, single_word;
} AddedToken;

typedef enum NormalizerKind {
    NORMALIZE_UNICODE,
    NORMALIZE_LOWERCASE,
    NORMALIZE_PREPEND,
    NORMALIZE_REPLACE,
    NORMALIZE_STRIP
} NormalizerKind;

typedef struct Normalizer {
    NormalizerKind kind;
    int form;              /* NORMALIZE_UNICODE: utf8proc options */
    const char *from, *to; /* PREPEND: to; REPLACE: both */
    bool left, right;      /* STRIP */
} Normalizer;

typedef enum SplitBehavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS
} SplitBehavior;
typedef enum SplitterKind {
    SPLITTER_PATTERN,
    SPLITTER_DIGITS,
    SPLITTER_METASPACE,
    SPLITTER_PREFIX_SPACE
} SplitterKind;
typedef enum PrependScheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } PrependScheme;

typedef struct Splitter {
    SplitterKind kind;
    struct pcre2_real_code_8 *pattern;
    SplitBehavior behavior;
    bool invert, individual_digits, metaspace_split;
    PrependScheme prepend;
} Splitter;

enum { MAX_STEPS = 8, MAX_SPECIALS = 8 };

struct Tokenizer {
    Arena arena;
    bool byte_level;        /* pieces become GPT-2's printable bytes */
    bool byte_fallback;     /* unknown characters become <0xXX> tokens */
    bool ignore_merges;     /* a piece that is a token is that token */
    bool strip_first_space; /* decoding drops the space that encoding put first */
    const char **text;      /* by id; NULL: unused */
    uint32_t *len;
    uint32_t vocab_size;
    TextMap vocab;
    MergeMap merges;
    int32_t byte_id[256]; /* of a byte's printable character, or <0xXX>; -1: none */
    int32_t unk, bos, eos;
    bool fuse_unk;
    AddedToken *added;
    size_t n_added;
    bool *is_special;          /* by id */
    uint8_t starts_added[256]; /* first bytes of added tokens */
    Normalizer normalizers[MAX_STEPS];
    size_t n_normalizers;
    Splitter splitters[MAX_STEPS];
    size_t n_splitters;
    int32_t prefix[MAX_SPECIALS], suffix[MAX_SPECIALS];
    size_t n_prefix, n_suffix;
    struct WordCache *cache; /* pieces seen before; only speeds up */
};

/* ---- load_json.c, load_gguf.c ---- */
bool tokenizer_load_json(Tokenizer *t, const Checkpoint *c, Error *e);
bool tokenizer_load_gguf(Tokenizer *t, const Checkpoint *c, Error *e);

/* ---- maps.c ---- */
void text_map_put(TextMap *m, const char *key, uint32_t len, int32_t value);
int32_t text_map_get(const TextMap *m, const char *key, size_t len); /* -1: absent */
void merge_map_put(MergeMap *m, int32_t left, int32_t right, uint32_t rank,
                   int32_t merged); /* first one stays */
const struct MergeSlot *merge_map_get(const MergeMap *m, int32_t left, int32_t right);

/* ---- pieces.c ---- */
/* The expression ByteLevel itself uses (GPT-2's). */
extern const char gpt2_pattern[];
bool splitter_compile(Splitter *s, const char *pattern, const char *where, Error *e);
/* Normalises `text` into `out` (appended). */
bool normalize(const Tokenizer *t, const char *text, size_t n, Buffer *out, Error *e);
/* Cuts a normalised segment and calls sink for each piece in order; `first`: the segment begins the text. */
typedef bool (*PieceSink)(void *context, const char *piece, size_t n, Error *e);
bool split_pieces(const Tokenizer *t, const char *text, size_t n, bool first, PieceSink sink, void *context,
                  Error *e);
/* Offset of the first byte that is not valid UTF-8, or n. */
size_t utf8_valid(const char *text, size_t n);

/* ---- bpe.c ---- */
/* Appends the tokens of a piece. */
bool bpe_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);
struct WordCache *word_cache_new(void);
void word_cache_free(struct WordCache *c);
/* GPT-2's printable character of a byte (UTF-8, at most 2 bytes, NUL-terminated), and back (-1: none). */
void byte_to_printable(uint8_t byte, char out[3]);
int printable_to_byte(uint32_t code_point);
/* byte_id and vocabulary checks once text, vocab and merges are there. */
bool tokenizer_finish(Tokenizer *t, const char *where, Error *e);

#endif
