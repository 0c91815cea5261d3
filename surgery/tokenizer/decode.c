/* From tokens to bytes: the two steps that tokenizer_decode (tokenizer.c) is made of. HF's decoders run over
 * the whole list of tokens one after the other; here each token goes through all of them at once, which gives
 * the same bytes for those that are supported. */
#include "surgery/tokenizer/decode.h"

#include <string.h>

#include "surgery/tokenizer/byte_level.h"
#include "surgery/tokenizer/unicode.h"

/* Appends the bytes that GPT-2's printable characters stand for. A character that is not in the alphabet is
 * appended as it is. */
static void decode_printable(const char *s, size_t n, Buffer *out) {
    for (size_t i = 0, len; i < n; i += len) {
        int byte = printable_to_byte((uint32_t)next_char(s + i, n - i, &len));
        if (byte >= 0)
            buffer_byte(out, (uint8_t)byte);
        else
            buffer_append(out, s + i, len);
    }
}

/* The value of a hexadecimal digit; -1 for other characters. */
static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte of a token <0xXX>; -1 for other tokens. */
static int byte_of(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex_digit(s[3]) < 0 || hex_digit(s[4]) < 0)
        return -1;
    return hex_digit(s[3]) << 4 | hex_digit(s[4]);
}

/* Replaces r->from by r->to in the text from `start` on, which is the text of one token. */
static void replace_all(const Replacement *r, Buffer *text, size_t start) {
    size_t n = strlen(r->from);
    Buffer out = {0};
    for (size_t i = start; i < text->size;) {
        if (text->size - i >= n && memcmp(text->data + i, r->from, n) == 0) {
            buffer_append(&out, r->to, strlen(r->to));
            i += n;
        } else {
            buffer_byte(&out, text->data[i++]);
        }
    }
    text->size = start;
    buffer_append(text, out.data, out.size);
    buffer_free(&out);
}

/* HF's decoder Metaspace: appends a token's text with markers as spaces. `drop`: markers are left out,
 * because this is the first token and encoding put a marker in front. */
static void decode_markers(const char *s, size_t n, bool drop, Buffer *out) {
    for (size_t i = 0; i < n;) {
        bool marker = starts_with_marker(s + i, n - i);
        if (!marker) buffer_byte(out, (uint8_t)s[i]);
        if (marker && !drop) buffer_byte(out, ' ');
        i += marker ? SPACE_MARKER_SIZE : 1;
    }
}

/* The steps of HF's decoders in their usual order: ByteFallback turns <0xXX> into a byte; ByteLevel or
 * Metaspace turn the alphabet of the vocabulary back into text; Replace changes what is left, mostly markers
 * into spaces. Text of added tokens is not in the byte-level alphabet and is copied. */
void decode_token(const Tokenizer *t, int32_t id, bool first, Buffer *out) {
    const char *s = t->text[id];
    size_t n = t->len[id], start = out->size;
    /* 1. A token of byte fallback is one byte, and nothing else happens to it. */
    int byte = t->decode_bytes ? byte_of(s, n) : -1;
    if (byte >= 0) {
        buffer_byte(out, (uint8_t)byte);
        return;
    }
    /* 2. From the alphabet of the vocabulary to text. */
    if (t->byte_level && !t->is_added[id])
        decode_printable(s, n, out);
    else if (t->decode_markers)
        decode_markers(s, n, first && t->drop_first_markers, out);
    else
        buffer_append(out, s, n);
    /* 3. Replacements. Most tokens have nothing to replace, so it is looked for before anything is copied. */
    for (size_t i = 0; i < t->n_replacements; i++)
        if (memmem(out->data + start, out->size - start, t->replacements[i].from,
                   strlen(t->replacements[i].from)))
            replace_all(&t->replacements[i], out, start);
}

/* HF's decoder Strip: removes up to strip_start spaces at the beginning, one of which encoding put there, and
 * up to strip_stop at the end. `start` is where the decoded text begins in `out`. */
void decode_strip_ends(const Tokenizer *t, Buffer *out, size_t start) {
    size_t from = start;
    for (uint32_t i = 0; i < t->strip_start && from < out->size && out->data[from] == ' '; i++)
        from++;
    memmove(out->data + start, out->data + from, out->size - from);
    out->size -= from - start;
    /* Spaces that were in the buffer before this text stay. */
    for (uint32_t i = 0; i < t->strip_stop && out->size > start && out->data[out->size - 1] == ' '; i++)
        out->size--;
}
