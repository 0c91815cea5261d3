/* Small functions on strings, UTF-8 and paths that several readers need: see formats/text.h. UTF-8 is decoded
 * by utf8proc, which follows RFC 3629 and so refuses surrogates and overlong forms. */
#include "formats/text.h"

#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

/* Case matters. */
bool text_ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The number of bytes from the beginning that are valid UTF-8. */
size_t text_utf8_prefix(const void *text, size_t n) {
    const uint8_t *p = text;
    for (size_t i = 0; i < n;) {
        /* Most text is ASCII: eight bytes without a high bit are eight valid characters. */
        uint64_t eight;
        while (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u)))
            i += 8;
        if (i == n) break;
        /* One character, which may be of several bytes. */
        utf8proc_int32_t code;
        utf8proc_ssize_t length = utf8proc_iterate(p + i, (utf8proc_ssize_t)(n - i), &code);
        if (length <= 0) return i;
        i += (size_t)length;
    }
    return n;
}

/* An empty text is valid. */
bool text_is_utf8(const void *text, size_t n) {
    return text_utf8_prefix(text, n) == n;
}

/* The length without slashes at the end, where "/" itself keeps its slash. */
size_t path_length(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}
