/* A tokenizer as both of its sources (tokenizer.json, GGUF keys) fill it. Text goes through: added tokens cut
 * out, normalisers, pre-tokenisers, then BPE on each piece. */
#ifndef DEROPE_SURGERY_TOKENIZER_INTERNAL_H
#define DEROPE_SURGERY_TOKENIZER_INTERNAL_H

#include "surgery/tokenizer/tokenizer.h"

struct Cutter;

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
    bool normalized; /* sought in normalised text */
} AddedToken;

/* Added tokens by their bytes. */
typedef struct Trie {
    struct TrieNode *nodes; /* nodes[0] is the root */
    uint32_t n, capacity;
    bool starts[256];
} Trie;

typedef struct Pattern Pattern;
typedef struct Charsmap Charsmap;
typedef struct Unigram Unigram;

typedef struct Normalizer {
    /* changes `text` in place */
    bool (*apply)(const struct Normalizer *z, Buffer *text, Error *e);
    int form;            /* normalize_unicode: utf8proc options */
    Pattern *pattern;    /* normalize_replace */
    const Charsmap *map; /* normalize_charsmap, normalize_precompiled */
    const char *to;      /* normalize_replace, normalize_prepend */
    bool left, right;    /* normalize_strip */
} Normalizer;

typedef enum SplitBehavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS
} SplitBehavior;
typedef enum PrependScheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } PrependScheme;

typedef struct Splitter {
    /* cuts the piece `p` and hands its parts to the step after `step` */
    bool (*apply)(const struct Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                  bool first);
    Pattern *pattern;       /* split_by_pattern */
    SplitBehavior behavior; /* split_by_pattern */
    bool invert;            /* split_by_pattern: what matches is what lies between matches */
    bool metaspace_split;   /* split_metaspace */
    PrependScheme prepend;  /* split_metaspace */
} Splitter;

/* How tokens become bytes. Each token: replacements, then its bytes; the whole: spaces stripped. */
typedef struct Replacement {
    const char *from, *to;
} Replacement;

enum { MAX_STEPS = 16, MAX_SPECIALS = 8, MAX_TOKEN_LENGTH = 1024 };

struct Tokenizer {
    Arena arena;
    bool byte_level;    /* pieces become GPT-2's printable bytes */
    bool printable;     /* pre-tokenisers behind ByteLevel see those, and pieces come as them */
    bool byte_fallback; /* unknown characters become <0xXX> tokens */
    bool ignore_merges; /* a piece that is a token is that token */
    const char **text;  /* by id; NULL: unused */
    uint32_t *len;
    uint32_t vocab_size;
    TextMap vocab;
    MergeMap merges;
    Unigram *unigram;     /* instead of merges; NULL: byte pair encoding */
    int32_t byte_id[256]; /* of a byte's printable character, or <0xXX>; -1: none */
    int32_t unk, bos, eos;
    bool fuse_unk;
    AddedToken *added;
    size_t n_added;
    bool *is_special, *is_added; /* by id */
    Trie in_text, in_normalized;
    Normalizer normalizers[MAX_STEPS];
    size_t n_normalizers;
    Splitter splitters[MAX_STEPS];
    size_t n_splitters;
    Replacement replacements[MAX_STEPS]; /* decoding, each token */
    size_t n_replacements;
    bool as_library;                  /* as sentencepiece itself does, not llama.cpp */
    bool decode_bytes;                /* <0xXX> tokens are bytes */
    bool decode_bars, strip_bars;     /* bars are spaces; those of the first token are dropped */
    uint32_t strip_start, strip_stop; /* spaces dropped at the ends of the decoded text */
    bool bars_start_words;            /* no merge reaches over a bar that follows something else */
    bool newlines_end_words;          /* nor joins a newline to something else that follows */
    int32_t prefix[MAX_SPECIALS], suffix[MAX_SPECIALS];
    size_t n_prefix, n_suffix;
    struct WordCache *cache; /* pieces seen before; only speeds up */
};

/* ---- load_json.c, load_json_steps.c, load_gguf.c ---- */
bool tokenizer_load_json(Tokenizer *t, const Checkpoint *c, Error *e);
bool tokenizer_load_gguf(Tokenizer *t, const Checkpoint *c, Error *e);
/* From tokenizer.model, as the sentencepiece library does. */
bool tokenizer_load_sentencepiece(Tokenizer *t, const Checkpoint *c, Error *e);

/* normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json. */
bool tokenizer_load_steps(Tokenizer *t, const json_t *root, const char *where, Error *e);
/* False with an error if there are MAX_STEPS already. */
bool add_normalizer(Tokenizer *t, Normalizer z, const char *where, Error *e);
bool add_splitter(Tokenizer *t, Splitter s, const char *where, Error *e);
/* Room for `n` tokens, none of which has a text yet. */
void allocate_tokens(Tokenizer *t, size_t n);

/* ---- maps.c ---- */
void text_map_put(TextMap *m, const char *key, uint32_t len, int32_t value);
int32_t text_map_get(const TextMap *m, const char *key, size_t len); /* -1: absent */
/* Of two entries for a pair the first stays, unless `replace`. */
void merge_map_put(MergeMap *m, int32_t left, int32_t right, uint32_t rank, int32_t merged, bool replace);
const struct MergeSlot *merge_map_get(const MergeMap *m, int32_t left, int32_t right);

/* ---- unicode.c ---- */
extern const char space_bar[]; /* SentencePiece's space, U+2581: three bytes */
/* The character at text (n > 0), or the one that ends before `at` > 0; -1 if it is none. */
int32_t next_char(const char *text, size_t n, size_t *len);
int32_t previous_char(const char *text, size_t at, size_t *len);
/* Moves on by one character; false at the end. */
bool next_position(const char *text, size_t n, size_t *at);
bool is_space_char(int32_t code);
bool is_word_char(int32_t code);
bool is_unnormalized(int32_t code);
int32_t lower_char(int32_t code);
/* A mark since Unicode 16, unknown to utf8proc: part of the character before it. */
bool is_new_mark(int32_t code);
/* Ranges to add to a class that has \p{name}, or NULL. */
const char *property_additions(const char *name, size_t n);

/* ---- pattern.c ---- */
/* Patterns are Oniguruma's; `where` begins the message of one that cannot be compiled. */
Pattern *pattern_compile(const char *text, const char *where, Error *e);
Pattern *pattern_literal(const char *text, const char *where, Error *e);
void pattern_free(Pattern *p);
/* The next match in text[at, n): 1 and its span, 0 none, -1 an error. */
int pattern_find(const Pattern *p, const char *text, size_t n, size_t at, size_t span[2], Error *e);

/* ---- tokenizer.c ---- */
/* The tokens of a part of a text; `before` bytes of it have gone before. */
bool encode_part(const Tokenizer *t, const char *text, size_t n, uint64_t before, TokenList *out, Error *e);
void append_prefix(const Tokenizer *t, TokenList *out);
void append_suffix(const Tokenizer *t, TokenList *out);

/* ---- normalize.c ---- */
/* `goes_on`: the text before this segment belongs to it. */
bool normalize(const Tokenizer *t, Buffer *text, bool goes_on, Error *e);
bool normalize_unicode(const Normalizer *z, Buffer *text, Error *e);
bool normalize_lowercase(const Normalizer *z, Buffer *text, Error *e);
bool normalize_prepend(const Normalizer *z, Buffer *text, Error *e);
/* Only if there is something but spaces. */
bool normalize_prepend_words(const Normalizer *z, Buffer *text, Error *e);
bool normalize_replace(const Normalizer *z, Buffer *text, Error *e);
bool normalize_strip(const Normalizer *z, Buffer *text, Error *e);
/* `to` is dropped at the end, however often it stands there. */
bool normalize_strip_end(const Normalizer *z, Buffer *text, Error *e);
/* No spaces at the ends, one between words. */
bool normalize_squeeze(const Normalizer *z, Buffer *text, Error *e);

/* ---- charsmap.c ---- */
/* A copy of a precompiled_charsmap in the arena, or NULL with an error. */
const Charsmap *charsmap_open(Arena *a, const uint8_t *bytes, size_t n, const char *where, Error *e);
/* As the sentencepiece library: the longest match everywhere. */
bool normalize_charsmap(const Normalizer *z, Buffer *text, Error *e);
/* As HF's Precompiled: grapheme clusters. */
bool normalize_precompiled(const Normalizer *z, Buffer *text, Error *e);

/* ---- split.c ---- */
/* The expression ByteLevel itself uses (GPT-2's). */
extern const char gpt2_pattern[];
/* Cuts a normalised segment and calls sink for each piece in order; `first`: the segment begins the text. */
typedef bool (*PieceSink)(void *context, const char *piece, size_t n, Error *e);
bool split_pieces(const Tokenizer *t, const char *text, size_t n, bool first, PieceSink sink, void *context,
                  Error *e);
bool split_by_pattern(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                      bool first);
bool split_metaspace(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                     bool first);
/* Bytes become their printable characters. */
bool split_to_printable(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                        bool first);
bool split_prefix_space(const Splitter *s, const struct Cutter *c, size_t step, const char *p, size_t n,
                        bool first);

/* ---- added.c ---- */
/* Builds the tries, once the normalisers are there. */
bool added_finish(Tokenizer *t, Error *e);
/* Calls sink for each added token in `text` and for each stretch between (`token` NULL; `first`: at 0). */
typedef bool (*AddedSink)(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                          Error *e);
bool added_cut(const Tokenizer *t, const Trie *trie, const char *text, size_t n, AddedSink sink,
               void *context, Error *e);

/* ---- unigram.c ---- */
/* `single`: scores are summed up as floats. */
Unigram *unigram_new(uint32_t vocab_size, bool single);
void unigram_free(Unigram *u);
void unigram_add(Unigram *u, const char *text, size_t n, int32_t id, double score);
/* What an unknown character costs follows from the least score of all. */
void unigram_unknown(Unigram *u, double least);
bool unigram_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);

/* ---- bpe.c ---- */
/* Appends the tokens of a piece, of either kind of model. */
bool piece_encode(const Tokenizer *t, const char *piece, size_t n, TokenList *out, Error *e);
struct WordCache *word_cache_new(void);
void word_cache_free(struct WordCache *c);
/* GPT-2's printable character of a byte (UTF-8, at most 2 bytes, NUL-terminated), and back (-1: none). */
void byte_to_printable(uint8_t byte, char out[3]);
void append_printable(Buffer *out, const char *bytes, size_t n);
int printable_to_byte(uint32_t code_point);
/* What follows from vocabulary and merges. */
void bpe_finish(Tokenizer *t);

#endif
