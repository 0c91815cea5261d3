/* The way of a text through a tokenizer, in the five steps that tokenizer_state.h lists. tokenizer.c calls
 * this for whole texts and text_stream.c for parts. Each step hands what it makes to a sink, which is the
 * next step, so that nothing is stored between them. The calls are nested in this order: added_tokens_cut on
 * the original text, encode_segment (normalises), added_tokens_cut on the normalised text, encode_normalized,
 * split_pieces, encode_piece, and piece_encode, which appends the tokens. */
#include "surgery/tokenizer/encode.h"

#include <string.h>

#include "formats/text.h"
#include "surgery/tokenizer/byte_level.h"
#include "surgery/tokenizer/piece.h"
#include "surgery/tokenizer/unicode.h"

/* The state of encoding one text, handed to all sinks. */
typedef struct Encoder {
    const Tokenizer *t;
    TokenList *out;
    Buffer normal;  /* the segment at hand, normalised */
    bool continues; /* text came before the part that is encoded */
    bool first;     /* the segment at hand begins the text */
} Encoder;

/* The pieces of a tokenizer whose pre-tokenizers cut GPT-2's printable characters (Falcon's digits): they are
 * turned back into bytes, which is what the model takes. */
static bool encode_printable_piece(const Encoder *x, const char *piece, size_t n, Error *e) {
    Buffer bytes = {0};
    for (size_t i = 0, len; i < n; i += len)
        buffer_byte(&bytes, (uint8_t)printable_to_byte((uint32_t)next_char(piece + i, n - i, &len)));
    bool ok = piece_encode(x->t, (char *)bytes.data, bytes.size, x->out, e);
    buffer_free(&bytes);
    return ok;
}

/* Step 5. A piece of a model without pre-tokenizer is a whole text. Where no token reaches over the start of
 * a word, it is cut before each run of space markers: encoding takes longer than linear time, and words are
 * found in the cache. */
static bool encode_piece(void *context, const char *piece, size_t n, Error *e) {
    const Encoder *x = context;
    if (x->t->printable_pieces) return encode_printable_piece(x, piece, n, e);
    /* The sentencepiece library sums scores in single precision, so they depend on where the sum began: no
     * cutting. */
    bool whole = !x->t->markers_start_words || (x->t->unigram && x->t->like_sentencepiece);
    if (whole) return piece_encode(x->t, piece, n, x->out, e);
    size_t start = 0;
    bool in_markers = true;
    for (size_t i = 0; i < n;) {
        bool marker = starts_with_marker(piece + i, n - i);
        if (marker && !in_markers) {
            if (!piece_encode(x->t, piece + start, i - start, x->out, e)) return false;
            start = i;
        }
        in_markers = marker;
        i += marker ? SPACE_MARKER_SIZE : 1;
    }
    return piece_encode(x->t, piece + start, n - start, x->out, e);
}

/* Step 4, the sink of the second search for added tokens: a token is appended, text between tokens is cut
 * into pieces. */
static bool encode_normalized(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                              Error *e) {
    Encoder *x = context;
    if (!token) return split_pieces(&x->t->splitters, text, n, x->first && first, encode_piece, x, e);
    token_append(x->out, token->id);
    return true;
}

/* Steps 2 and 3, the sink of the first search for added tokens: a token is appended, text between tokens is
 * normalised and searched again. */
static bool encode_segment(void *context, const char *text, size_t n, bool first, const AddedToken *token,
                           Error *e) {
    Encoder *x = context;
    if (token) {
        token_append(x->out, token->id);
        return true;
    }
    x->first = first && !x->continues;
    /* Normalisers change text in place, so the segment is copied first. */
    if (x->t->normalizers.n) {
        x->normal.size = 0;
        buffer_append(&x->normal, text, n);
        if (!normalizers_apply(&x->t->normalizers, &x->normal, first && x->continues, e)) return false;
        text = (char *)x->normal.data;
        n = x->normal.size;
    }
    return added_tokens_cut(&x->t->added, &x->t->added.in_normalized, text, n, encode_normalized, x, e);
}

/* `before` is the number of bytes of the text before this part. It is 0 for the beginning, where markers and
 * spaces are put in front. */
bool encode_part(const Tokenizer *t, const char *text, size_t n, uint64_t before, TokenList *out, Error *e) {
    /* Everything behind this check may rely on valid UTF-8. */
    size_t valid = text_utf8_prefix(text, n);
    if (valid < n)
        return error_set(e, ERR_INPUT, "offset %llu: byte 0x%02x is not valid UTF-8",
                         (unsigned long long)(before + valid), (unsigned)(uint8_t)text[valid]);
    if (n > INT32_MAX) /* positions within a piece are 32-bit numbers */
        return error_set(e, ERR_INPUT, "a text of %zu bytes; at most %d are encoded at once", n, INT32_MAX);
    Encoder x = {.t = t, .out = out, .continues = before > 0};
    bool ok = added_tokens_cut(&t->added, &t->added.in_text, text, n, encode_segment, &x, e);
    buffer_free(&x.normal);
    return ok;
}

void encode_prefix(const Tokenizer *t, TokenList *out) {
    for (size_t i = 0; i < t->n_prefix; i++)
        token_append(out, t->prefix[i]);
}

void encode_suffix(const Tokenizer *t, TokenList *out) {
    for (size_t i = 0; i < t->n_suffix; i++)
        token_append(out, t->suffix[i]);
}
