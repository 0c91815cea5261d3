/* The state of a tokenizer, shared by the files of this folder that load and run it. The loaders
 * (load_json.h, load_gguf.h, load_sentencepiece.h) fill this struct so that the tokenizer behaves like HF's
 * tokenizers, llama.cpp or the sentencepiece library. encode.c and decode.c then run it. Encoding has these
 * steps:
 *
 *   1. find added tokens in the original text               added_tokens.c
 *   2. normalize the text between them                      normalize.c, charsmap.c
 *   3. find added tokens in the normalized text             added_tokens.c
 *   4. split the text between them into pieces              split.c
 *   5. convert each piece to tokens                         piece.c, then bpe.c or unigram.c
 *
 * Code outside this folder uses tokenizer.h, in which the struct is opaque. */
#ifndef DEROPE_SURGERY_TOKENIZER_TOKENIZER_STATE_H
#define DEROPE_SURGERY_TOKENIZER_TOKENIZER_STATE_H

#include "surgery/tokenizer/added_tokens.h"
#include "surgery/tokenizer/maps.h"
#include "surgery/tokenizer/split.h"
#include "surgery/tokenizer/tokenizer.h"

typedef struct Unigram Unigram; /* unigram.h */

/* A step of decoding: replaces `from` by `to` wherever it occurs in the text of a token. */
typedef struct Replacement {
    const char *from, *to;
} Replacement;

enum { MAX_REPLACEMENTS = 16 }; /* the most replacements that a tokenizer can have */
enum { MAX_AROUND = 8 };        /* the most special tokens before a text, and the most after it */

struct Tokenizer {
    Arena arena; /* owns the texts of the tokens, the arrays below and the texts of the steps */

    /* ---- vocabulary ---- */
    uint32_t vocab_size; /* the largest token id + 1 */
    const char **text;   /* [vocab_size] text of the token with each id; NULL: the id is not used */
    uint32_t *len;       /* [vocab_size] length of that text in bytes */
    bool *is_special;    /* [vocab_size] decoding can leave the token out, as it does not stand for text */
    bool *is_added;      /* [vocab_size] an added token; its text is plain text even with `byte_level` */
    TextMap vocab;       /* maps the text of a token to its id */
    int32_t unk;         /* id of the token for characters that the vocabulary lacks; -1: none, they vanish */
    int32_t bos, eos;    /* ids of the tokens for the beginning and the end of a text; -1: none */

    /* ---- steps 1 to 4 of encoding ---- */
    AddedTokens added;          /* steps 1 and 3 */
    NormalizerList normalizers; /* step 2, applied in order */
    SplitterList splitters;     /* step 4, applied in order; an empty list makes the whole text one piece */

    /* ---- step 5 of encoding, which HF calls the model ---- */
    Unigram *unigram; /* token scores of a unigram model; NULL: byte pair encoding (BPE) with `merges` */
    MergeMap merges;  /* the merges of byte pair encoding */
    bool byte_level;  /* the texts of tokens use GPT-2's alphabet, one printable character for each byte */
    /* The splitters already convert text to GPT-2's alphabet, because one of them works on converted text.
     * The pieces are converted back to bytes before step 5. */
    bool printable_pieces;
    bool byte_fallback;      /* a character without a token becomes one token <0xXX> for each of its bytes */
    bool ignore_merges;      /* a piece whose text is a token becomes this token, whatever the merges are */
    bool fuse_unk;           /* consecutive characters without a token become a single `unk` */
    bool like_sentencepiece; /* follow the sentencepiece library where llama.cpp differs from it */

    /* ---- special tokens around a text, and decoding ---- */
    /* Ids of the special tokens that are added before and after a text; n_prefix and n_suffix of them. */
    int32_t prefix[MAX_AROUND], suffix[MAX_AROUND];
    size_t n_prefix, n_suffix;
    Replacement replacements[MAX_REPLACEMENTS]; /* n_replacements steps of decoding, applied in order */
    size_t n_replacements;
    bool decode_bytes;       /* a token <0xXX> is decoded to the byte 0xXX */
    bool decode_markers;     /* space markers (U+2581) in the texts of tokens are decoded to spaces */
    bool drop_first_markers; /* with decode_markers: markers in the first token are dropped instead */
    /* At most this many spaces are removed at the start and at the end of the decoded text. */
    uint32_t strip_start, strip_stop;

    /* ---- computed by tokenizer_derive from the fields above ---- */
    /* For each byte, the id of the token that stands for this byte alone: its printable character if
     * byte_level is set, and <0xXX> otherwise. -1: the vocabulary has no such token. */
    int32_t byte_id[256];
    /* Pieces are whole texts, and no token that encoding can produce contains a space marker after another
     * character. A text may then be cut before each run of markers without changing its tokens. */
    bool markers_start_words;
    /* Pieces are whole texts, and no token that encoding can produce contains a newline before another
     * character. A text may then be cut after each run of newlines without changing its tokens. */
    bool newlines_end_words;
    struct PieceCache *cache; /* tokens of pieces that were encoded before (piece.c); it only saves time */
};

/* Sets vocab_size to `n` and allocates the arrays of the vocabulary, in which no id has a text yet. */
void tokenizer_allocate(Tokenizer *t, size_t n);
/* Refuses a vocabulary with a token of more than MAX_TOKEN_LENGTH bytes: false with an error that begins with
 * `where`. For models that try all parts of a token, or all tokens at each place of a text. */
bool tokenizer_limit_lengths(const Tokenizer *t, const char *where, Error *e);
/* Computes byte_id, markers_start_words and newlines_end_words. tokenizer_open calls it after the loader,
 * when the vocabulary, the merges and the added tokens are complete. */
void tokenizer_derive(Tokenizer *t);

#endif
