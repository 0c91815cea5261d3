/* Reads tokenizer.model: the ModelProto message of SentencePiece (sentencepiece.c).
 *
 * The message is defined in sentencepiece_model.proto of google/sentencepiece. The few fields that tokenizers
 * need are read; all other fields are skipped, as protobuf prescribes. surgery/tokenizer/ turns the result
 * into a tokenizer. */
#ifndef DEROPE_FORMATS_SENTENCEPIECE_H
#define DEROPE_FORMATS_SENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

/* ModelProto.SentencePiece.Type. GGUF's tokenizer.ggml.token_type uses the same numbers. */
typedef enum PieceType {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2, /* stands for characters that no piece covers */
    PIECE_CONTROL = 3, /* <s>, </s>: never matched in text */
    PIECE_USER = 4,    /* matched in text as a whole, before segmentation */
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6 /* <0x00> to <0xFF>, for byte fallback */
} PieceType;

typedef struct Piece {
    const char *text; /* UTF-8 of `len` > 0 bytes without zero bytes; not terminated */
    uint32_t len;
    float score; /* log probability (unigram) or minus the rank of the merge (BPE); finite */
    PieceType type;
} Piece;

/* TrainerSpec.ModelType. */
typedef enum PieceModel { PIECES_UNIGRAM = 1, PIECES_BPE = 2, PIECES_WORD = 3, PIECES_CHAR = 4 } PieceModel;

typedef struct SentencePiece {
    Piece *pieces; /* (n), by token id */
    size_t n;
    PieceModel model;
    bool byte_fallback;         /* characters without a piece become PIECE_BYTE pieces */
    bool space_behind;          /* treat_whitespace_as_suffix: words end with the mark of a space */
    int32_t unk, bos, eos, pad; /* token ids; -1: none */
    bool dummy_prefix;          /* add_dummy_prefix: a space is put before the text */
    bool squeeze_spaces;        /* remove_extra_whitespaces */
    bool mark_spaces;           /* escape_whitespaces: spaces become U+2581 */
    const uint8_t *charsmap;    /* (charsmap_size) precompiled_charsmap of the normalizer; NULL: none */
    size_t charsmap_size;       /* bytes */
    const char
        *decodes_otherwise; /* a part of the model that changes decoding and is not supported; NULL: none */
} SentencePiece;

/* Reads the message `bytes`, which texts and charsmap point into afterwards. Errors are ERR_INPUT, begin with
 * `where` and name the offset. After success the caller frees `m` with sentencepiece_free. */
bool sentencepiece_read(SentencePiece *m, const uint8_t *bytes, size_t n, const char *where, Error *e);
void sentencepiece_free(SentencePiece *m);

#endif
