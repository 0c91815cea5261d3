/* What a tokenizer consists of. The loaders (load_json.h, load_gguf.h, load_sentencepiece.h) fill this
 * struct, each with the behaviour of the program that it follows; encode.c and decode.c run it. Text goes
 * through these steps:
 *
 *   1. added tokens are cut out of the original text        added_tokens.c
 *   2. what lies between them is normalised                 normalize.c, charsmap.c
 *   3. added tokens are cut out of the normalised text      added_tokens.c
 *   4. what lies between them is cut into pieces            split.c
 *   5. each piece becomes tokens                            piece.c, then bpe.c or unigram.c
 *
 * Only the files of this folder include this header. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_STATE_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_STATE_H

#include "surgery/tokenizer/added_tokens.h"
#include "surgery/tokenizer/maps.h"
#include "surgery/tokenizer/split.h"
#include "surgery/tokenizer/tokenizer.h"

typedef struct Unigram Unigram; /* unigram.h */

/* A step of decoding: in the text of each token, `from` is replaced by `to`. */
typedef struct Replacement {
    const char *from, *to;
} Replacement;

enum { MAX_REPLACEMENTS = 16 };
enum { MAX_AROUND = 8 }; /* special tokens in front of a text, and as many behind it */

struct Tokenizer {
    Arena arena; /* owns the texts of tokens and steps */

    /* ---- vocabulary ---- */
    uint32_t vocab_size; /* largest id + 1 */
    const char **text;   /* (vocab_size), by id; NULL: the id is not used */
    uint32_t *len;       /* (vocab_size): bytes of the text */
    bool *is_special;    /* (vocab_size): left out when tokens are decoded */
    bool *is_added;      /* (vocab_size): an added token, whose text is never in the byte-level alphabet */
    TextMap vocab;       /* text -> id */
    int32_t unk;         /* what a character without a token becomes; -1: nothing */
    int32_t bos, eos;    /* begin and end of a text; -1: none */

    /* ---- steps before the model ---- */
    AddedTokens added;
    NormalizerList normalizers;
    SplitterList splitters;

    /* ---- the model ---- */
    Unigram *unigram;      /* NULL: byte pair encoding by `merges` */
    MergeMap merges;       /* the merges of byte pair encoding */
    bool byte_level;       /* the vocabulary is spelled in GPT-2's alphabet of printable bytes */
    bool printable_pieces; /* pieces arrive in that alphabet already, because steps behind ByteLevel cut it */
    bool byte_fallback;    /* a character without a token becomes the tokens <0xXX> of its bytes */
    bool ignore_merges;    /* a piece that is a token is not merged from its parts */
    bool fuse_unk;         /* unknown characters in a row become one unknown token */
    bool like_sentencepiece; /* behave as the sentencepiece library where llama.cpp differs from it */

    /* ---- special tokens around a text, and decoding ---- */
    int32_t prefix[MAX_AROUND], suffix[MAX_AROUND]; /* ids in front of a text and behind it */
    size_t n_prefix, n_suffix;
    Replacement replacements[MAX_REPLACEMENTS];
    size_t n_replacements;
    bool decode_bytes;                /* the tokens <0xXX> are bytes */
    bool decode_markers;              /* space markers are spaces, */
    bool drop_first_markers;          /* but those of the first token are dropped */
    uint32_t strip_start, strip_stop; /* how many spaces are dropped at the ends of decoded text */

    /* ---- derived by tokenizer_derive ---- */
    int32_t byte_id[256];     /* the token of a byte: its printable character, or <0xXX>; -1: none */
    bool markers_start_words; /* no token reaches over a marker that follows something else, so text may be
                                 cut there */
    bool newlines_end_words; /* no token joins a newline to something else behind it, so text may be cut there
                              */
    struct PieceCache *cache; /* pieces seen before; it only saves time */
};

/* Makes room for `n` tokens, none of which has a text yet. */
void tokenizer_allocate(Tokenizer *t, size_t n);
/* Fills in the members that follow from vocabulary and model, once these are loaded. */
void tokenizer_derive(Tokenizer *t);

#endif
