/* From tokens to bytes. */
#include <string.h>

#include "surgery/tokenizer/internal.h"

static void decode_printable(const char *s, size_t n, Buffer *out) {
    for (size_t i = 0, len; i < n; i += len) {
        int byte = printable_to_byte((uint32_t)next_char(s + i, n - i, &len));
        if (byte >= 0)
            buffer_byte(out, (uint8_t)byte);
        else
            buffer_append(out, s + i, len);
    }
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte that <0xXX> stands for, else -1. */
static int byte_of(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex_digit(s[3]) < 0 || hex_digit(s[4]) < 0)
        return -1;
    return hex_digit(s[3]) << 4 | hex_digit(s[4]);
}

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

static void decode_bars(const char *s, size_t n, bool first, Buffer *out) {
    for (size_t i = 0; i < n;) {
        bool bar = n - i >= 3 && memcmp(s + i, space_bar, 3) == 0;
        if (!bar) buffer_byte(out, (uint8_t)s[i]);
        if (bar && !first) buffer_byte(out, ' ');
        i += bar ? 3 : 1;
    }
}

static void decode_token(const Tokenizer *t, int32_t id, bool first, Buffer *out) {
    const char *s = t->text[id];
    size_t n = t->len[id], start = out->size;
    int byte = t->decode_bytes ? byte_of(s, n) : -1;
    if (byte >= 0) {
        buffer_byte(out, (uint8_t)byte);
        return;
    }
    if (t->byte_level && !t->is_added[id])
        decode_printable(s, n, out);
    else if (t->decode_bars)
        decode_bars(s, n, first && t->strip_bars, out);
    else
        buffer_append(out, s, n);
    for (size_t i = 0; i < t->n_replacements; i++)
        if (memmem(out->data + start, out->size - start, t->replacements[i].from,
                   strlen(t->replacements[i].from)))
            replace_all(&t->replacements[i], out, start);
}

static void strip_ends(const Tokenizer *t, Buffer *out, size_t start) {
    size_t from = start;
    for (uint32_t i = 0; i < t->strip_start && from < out->size && out->data[from] == ' '; i++)
        from++;
    memmove(out->data + start, out->data + from, out->size - from);
    out->size -= from - start;
    for (uint32_t i = 0; i < t->strip_stop && out->size > start && out->data[out->size - 1] == ' '; i++)
        out->size--;
}

bool tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, bool keep_special, Buffer *out,
                      Error *e) {
    size_t start = out->size;
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || (uint32_t)id >= t->vocab_size || !t->text[id])
            return error_set(e, ERR_INPUT, "token %zu: there is no id %d (the vocabulary has %u)", i, id,
                             t->vocab_size);
        if (t->is_special[id] && !keep_special) continue;
        decode_token(t, id, first, out);
        first = false;
    }
    if (out->size > start) strip_ends(t, out, start);
    return true;
}
