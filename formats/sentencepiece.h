/* tokenizer.model: SentencePiece's ModelProto, as its sentencepiece_model.proto lays it down. Texts point
 * into the file's bytes; what is not listed here is skipped, as protobuf does. */
#ifndef DEROPE_FORMATS_SENTENCEPIECE_H
#define DEROPE_FORMATS_SENTENCEPIECE_H

#include <stddef.h>
#include <stdint.h>

#include "formats/error.h"

/* The same numbers as in tokenizer.ggml.token_type. */
typedef enum PieceType {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3,
    PIECE_USER = 4,
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6
} PieceType;

typedef struct Piece {
    const char *text; /* UTF-8, not empty, no NUL in it or behind it */
    uint32_t len;
    float score; /* finite */
    PieceType type;
} Piece;

typedef enum PieceModel { PIECES_UNIGRAM = 1, PIECES_BPE = 2, PIECES_WORD = 3, PIECES_CHAR = 4 } PieceModel;

typedef struct SentencePiece {
    Piece *pieces; /* by id */
    size_t n;
    PieceModel model;
    bool byte_fallback;
    bool space_behind;                              /* words end with the mark of a space */
    int32_t unk, bos, eos, pad;                     /* -1: none */
    bool dummy_prefix, squeeze_spaces, mark_spaces; /* normalizer_spec */
    const uint8_t *charsmap;                        /* its replacements, compiled; NULL: none */
    size_t charsmap_size;
    const char *decodes_otherwise; /* what a denormalizer_spec asks for, or NULL */
} SentencePiece;

/* `where` begins the message of an error, an ERR_INPUT that names the offset. */
bool sentencepiece_read(SentencePiece *m, const uint8_t *bytes, size_t n, const char *where, Error *e);
void sentencepiece_free(SentencePiece *m);

#endif
