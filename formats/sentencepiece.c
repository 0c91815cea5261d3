/* Reads tokenizer.model: see formats/sentencepiece.h. surgery/tokenizer/ makes a tokenizer of the result. The
 * first part of this file reads protobuf's wire format (protobuf.dev, "Encoding"), so that no protobuf
 * library is needed; the second part reads the messages of sentencepiece_model.proto, whose field numbers
 * appear below. */
#include "formats/sentencepiece.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "formats/text.h"

/* ---- protobuf: a message is a sequence of fields, each with a field number, a wire type and a value ---- */

/* Wire types of protobuf. They say how the value of a field is encoded: as a varint, as 8 bytes, as a length
 * followed by that many bytes, or as 4 bytes. Types 3 and 4 (groups) are obsolete and refused. */
typedef enum Wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 } Wire;

/* The position of the reader in a message. A message that is nested in another has a Message of its own. */
typedef struct Message {
    const uint8_t *start; /* of the file; offsets in error texts count from here */
    const uint8_t *at;    /* the next byte */
    const uint8_t *end;   /* of this message */
    const char *where;    /* path of the file, for error texts */
    Error *e;
} Message;

/* A field of a message. Which of `value` and `bytes` is set depends on the wire type. */
typedef struct Field {
    uint32_t number;
    Wire wire;
    uint64_t value;       /* the number, if `wire` is WIRE_VARINT, WIRE_64 or WIRE_32 */
    const uint8_t *bytes; /* (size) the content, if `wire` is WIRE_BYTES; points into the file */
    size_t size;
    const uint8_t *at; /* first byte of the field, for error texts */
} Field;

/* Reports an error at `at`; always false. */
static bool refuse(const Message *m, const uint8_t *at, const char *what) {
    return error_set(m->e, ERR_INPUT, "%s: offset %zu: %s", m->where, (size_t)(at - m->start), what);
}

/* Reads a varint: 7 bits in each byte, lowest first; the eighth bit says that another byte follows. 64 bits
 * take at most 10 bytes, the last of which may only be 0 or 1. */
static bool read_varint(Message *m, uint64_t *out) {
    const uint8_t *from = m->at;
    /* Each byte adds 7 bits above those before it. */
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (m->at == m->end) return refuse(m, from, "a number is cut off");
        uint8_t byte = *m->at++;
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = v;
            return true;
        }
    }
    return refuse(m, from, "a number of more than 64 bits");
}

/* Reads a little-endian number of `size` bytes, 4 or 8, into f->value. */
static bool read_fixed(Message *m, Field *f, size_t size) {
    if ((size_t)(m->end - m->at) < size) return refuse(m, f->at, "a field is cut off");
    f->value = 0;
    for (size_t i = 0; i < size; i++)
        f->value |= (uint64_t)m->at[i] << (8 * i);
    m->at += size;
    return true;
}

/* Reads the length of a field, notes its bytes and steps over them. */
static bool read_bytes(Message *m, Field *f) {
    uint64_t size;
    if (!read_varint(m, &size)) return false;
    if (size > (uint64_t)(m->end - m->at))
        return error_set(m->e, ERR_INPUT, "%s: offset %zu: field %u has %llu bytes, its message has %zu left",
                         m->where, (size_t)(f->at - m->start), f->number, (unsigned long long)size,
                         (size_t)(m->end - m->at));
    f->bytes = m->at;
    f->size = (size_t)size;
    m->at += size;
    return true;
}

/* Reads the next field. Returns false both at the end of the message and after an error; the caller tells
 * them apart by m->e->code. */
static bool next_field(Message *m, Field *f) {
    if (m->at == m->end) return false;
    /* The key of a field is a varint: the field number in the upper bits, the wire type in the lower
     * three. */
    uint64_t key;
    *f = (Field){.at = m->at};
    if (!read_varint(m, &key)) return false;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) return refuse(m, f->at, "an invalid protobuf field number");
    /* A key is the field's number times 8 plus its wire type. */
    f->number = (uint32_t)(key >> 3);
    f->wire = (Wire)(key & 7);
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(m, &f->value);
    case WIRE_64:
        return read_fixed(m, f, 8);
    case WIRE_32:
        return read_fixed(m, f, 4);
    case WIRE_BYTES:
        return read_bytes(m, f);
    default:
        return error_set(m->e, ERR_INPUT, "%s: offset %zu: wire type %u, which protobuf 3 does not have",
                         m->where, (size_t)(f->at - m->start), (unsigned)f->wire);
    }
}

/* Checks that a field of a known number has the wire type of its definition; `name` is for the message. */
static bool expect(const Message *m, const Field *f, Wire wire, const char *name) {
    return f->wire == wire ||
           error_set(m->e, ERR_INPUT, "%s: offset %zu: %s has wire type %u, expected %u", m->where,
                     (size_t)(f->at - m->start), name, (unsigned)f->wire, (unsigned)wire);
}

/* The message that is the content of a field; offsets in its errors still count from the start of the file.
 */
static Message submessage(const Message *m, const Field *f) {
    return (Message){m->start, f->bytes, f->bytes + f->size, m->where, m->e};
}

/* ---- the messages ---- */

/* The text of a piece: valid UTF-8, not empty, without zero bytes. */
static bool is_text(const uint8_t *p, size_t n) {
    return n > 0 && text_is_utf8(p, n) && !memchr(p, 0, n);
}

/* Reads one piece (ModelProto.SentencePiece: 1 piece, 2 score, 3 type) and appends it to m->pieces, whose
 * allocated size is `*capacity`. The text is required; the other fields have defaults. A text beyond
 * MAX_PIECE bytes is treated as missing. */
static bool read_piece(SentencePiece *m, size_t *capacity, const Message *file, const Field *field) {
    enum { MAX_PIECE = 1 << 16 };
    Message in = submessage(file, field);
    Piece p = {.type = PIECE_NORMAL};
    Field f;
    /* Unknown fields are skipped, as protobuf prescribes. */
    while (next_field(&in, &f)) {
        if (f.number == 1) {
            if (!expect(&in, &f, WIRE_BYTES, "a piece's text")) return false;
            p.text = (const char *)f.bytes;
            p.len = f.size <= MAX_PIECE ? (uint32_t)f.size : 0;
        } else if (f.number == 2) {
            if (!expect(&in, &f, WIRE_32, "a piece's score")) return false;
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p.score, &bits, sizeof p.score);
        } else if (f.number == 3) {
            if (!expect(&in, &f, WIRE_VARINT, "a piece's type")) return false;
            if (f.value < PIECE_NORMAL || f.value > PIECE_BYTE)
                return error_set(in.e, ERR_INPUT, "%s: offset %zu: piece %zu has type %llu, types are 1 to 6",
                                 in.where, (size_t)(f.at - in.start), m->n, (unsigned long long)f.value);
            p.type = (PieceType)f.value;
        }
    }
    if (in.e->code) return false;
    /* The checks come after all fields were read, because protobuf allows the fields in any order. */
    if (!p.text || !is_text((const uint8_t *)p.text, p.len))
        return error_set(in.e, ERR_INPUT,
                         "%s: offset %zu: the text of piece %zu is missing, too long or not valid UTF-8",
                         in.where, (size_t)(field->at - in.start), m->n);
    if (!isfinite(p.score))
        return error_set(in.e, ERR_INPUT, "%s: offset %zu: the score of piece %zu is not a finite number",
                         in.where, (size_t)(field->at - in.start), m->n);
    /* Append. */
    if (m->n == *capacity) {
        *capacity = 2 * *capacity + 1024;
        m->pieces = xrealloc(m->pieces, *capacity * sizeof *m->pieces);
    }
    m->pieces[m->n++] = p;
    return true;
}

/* Reads the settings of training that matter for tokenization (TrainerSpec: 3 model_type, 24
 * treat_whitespace_as_suffix, 35 byte_fallback, 40 to 43 unk_id, bos_id, eos_id and pad_id). Negative ids
 * arrive as large numbers and mean that there is no such token. */
static bool read_trainer(SentencePiece *m, const Message *file, const Field *field) {
    Message in = submessage(file, field);
    struct {
        uint32_t number;
        int32_t *id;
    } ids[] = {{40, &m->unk}, {41, &m->bos}, {42, &m->eos}, {43, &m->pad}};
    Field f;
    while (next_field(&in, &f)) {
        bool known = f.number == 3 || f.number == 24 || f.number == 35 || (f.number >= 40 && f.number <= 43);
        if (known && !expect(&in, &f, WIRE_VARINT, "a setting of trainer_spec")) return false;
        if (f.number == 3) {
            if (f.value < PIECES_UNIGRAM || f.value > PIECES_CHAR)
                return refuse(&in, f.at, "the model_type is not one of unigram, bpe, word, char");
            m->model = (PieceModel)f.value;
        }
        if (f.number == 24) m->space_behind = f.value != 0;
        if (f.number == 35) m->byte_fallback = f.value != 0;
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
            if (f.number == ids[i].number) *ids[i].id = f.value <= INT32_MAX ? (int32_t)f.value : -1;
    }
    return !in.e->code;
}

/* Reads how text is normalized (NormalizerSpec: 2 precompiled_charsmap, 3 add_dummy_prefix, 4
 * remove_extra_whitespaces, 5 escape_whitespaces). */
static bool read_normalizer(SentencePiece *m, const Message *file, const Field *field) {
    Message in = submessage(file, field);
    struct {
        uint32_t number;
        bool *flag;
    } flags[] = {{3, &m->dummy_prefix}, {4, &m->squeeze_spaces}, {5, &m->mark_spaces}};
    Field f;
    while (next_field(&in, &f)) {
        if (f.number == 2) {
            if (!expect(&in, &f, WIRE_BYTES, "precompiled_charsmap")) return false;
            m->charsmap = f.size ? f.bytes : NULL;
            m->charsmap_size = f.size;
        }
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
            if (f.number == flags[i].number) {
                if (!expect(&in, &f, WIRE_VARINT, "a setting of normalizer_spec")) return false;
                *flags[i].flag = f.value != 0;
            }
    }
    return !in.e->code;
}

/* Records whether there is a denormalizer, which changes text after decoding (field 2, precompiled_charsmap).
 * None of the supported models has one. */
static bool read_denormalizer(SentencePiece *m, const Message *file, const Field *field) {
    Message in = submessage(file, field);
    Field f;
    while (next_field(&in, &f))
        if (f.number == 2 && f.wire == WIRE_BYTES && f.size) m->decodes_otherwise = "a denormalizer_spec";
    return !in.e->code;
}

/* Reads the whole file (ModelProto: 1 pieces, 2 trainer_spec, 3 normalizer_spec, 5 denormalizer_spec). Field
 * 4 is self_test_data. Ids of special tokens beyond the pieces are treated as absent. */
static bool read_model(SentencePiece *m, Message *file) {
    size_t capacity = 0;
    Field f;
    while (next_field(file, &f)) {
        if (f.number > 5) continue;
        if (!expect(file, &f, WIRE_BYTES, "a part of the model")) return false;
        bool ok = f.number == 1   ? read_piece(m, &capacity, file, &f)
                  : f.number == 2 ? read_trainer(m, file, &f)
                  : f.number == 3 ? read_normalizer(m, file, &f)
                  : f.number == 5 ? read_denormalizer(m, file, &f)
                                  : true;
        if (!ok) return false;
    }
    if (file->e->code) return false;
    if (m->n == 0) return error_set(file->e, ERR_INPUT, "%s: contains no pieces", file->where);
    int32_t *ids[] = {&m->unk, &m->bos, &m->eos, &m->pad};
    for (int i = 0; i < 4; i++)
        if (*ids[i] >= 0 && (size_t)*ids[i] >= m->n) *ids[i] = -1;
    return true;
}

/* Sets the defaults of the proto file, then reads. next_field signals the end and an error in the same way,
 * so an Error of our own is needed even if the caller passes NULL. */
bool sentencepiece_read(SentencePiece *m, const uint8_t *bytes, size_t n, const char *where, Error *e) {
    Error own = {0};
    /* An id of -1 means that there is no such token. */
    *m = (SentencePiece){.model = PIECES_UNIGRAM,
                         .unk = 0,
                         .bos = 1,
                         .eos = 2,
                         .pad = -1,
                         .dummy_prefix = true,
                         .squeeze_spaces = true,
                         .mark_spaces = true};
    Message file = {bytes, bytes, bytes + n, where, &own};
    if (read_model(m, &file)) return true;
    sentencepiece_free(m);
    return error_set(e, own.code, "%s", own.message);
}

void sentencepiece_free(SentencePiece *m) {
    free(m->pieces);
    m->pieces = NULL;
    m->n = 0;
}
