/* GPT-2's byte-level alphabet: each of the 256 bytes has a printable character, so that vocabularies and
 * merges are text (bytes_to_unicode in GPT-2's encoder.py). GPT-2 builds it as a table; the ranges are
 * regular enough to be computed. Loaders, encoder and decoder use it. */
#include "surgery/tokenizer/byte_level.h"

#include <string.h>

/* The bytes that stand for themselves: "!" to "~", and the printable ones of Latin-1. */
static bool is_visible(int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

/* The code point that stands for a byte. Bytes that are not visible get 256 and the following, in their
 * order: first 0 to 32 (33 of them), then 127 to 160 (34), then 173. */
static uint32_t printable_code(uint8_t byte) {
    if (is_visible(byte)) return byte;
    return 256 + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33 : 67);
}

/* The character in UTF-8, with a terminating NUL. */
void byte_to_printable(uint8_t byte, char out[3]) {
    uint32_t code = printable_code(byte); /* below 0x800, so at most two bytes of UTF-8 */
    if (code < 0x80) {
        out[0] = (char)code;
        out[1] = 0;
    } else {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        out[2] = 0;
    }
}

/* Appends each of n bytes as its character. */
void append_printable(Buffer *out, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char c[3];
        byte_to_printable((uint8_t)bytes[i], c);
        buffer_append(out, c, strlen(c));
    }
}

/* The inverse of printable_code; -1 for a character that is not in the alphabet. */
int printable_to_byte(uint32_t code) {
    if (code < 256) return is_visible((int)code) ? (int)code : -1;
    return code <= 256 + 32   ? (int)code - 256
           : code <= 256 + 66 ? (int)code - 256 - 33 + 127
           : code == 256 + 67 ? 173
                              : -1;
}
