/* Escaping and formatting of everything that reports write (report_text.h). Names and texts in results come
 * from files that others may have made, so they are escaped for each format: XML, CSV, Markdown and YAML.
 * Except for CSV, escaping walks over code points, so that invalid UTF-8 cannot hide a character from it.
 * The second half formats numbers as readers expect them. */
#include "cmd/report/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD in UTF-8 */

/* Appends text that needs no escaping. */
void text_put(Buffer *out, const char *s) {
    buffer_append(out, s, strlen(s));
}

/* ---- code points ---- */

/* Takes the next code point off the string. Bytes that are not UTF-8 give U+FFFD, one for each byte. */
static uint32_t next_code(const char **s) {
    utf8proc_int32_t code;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)*s, (utf8proc_ssize_t)strnlen(*s, 4), &code);
    *s += n > 0 ? n : 1;
    return n > 0 ? (uint32_t)code : 0xfffd;
}

/* The inverse of next_code. */
static void put_code(uint32_t code, Buffer *out) {
    utf8proc_uint8_t bytes[4];
    buffer_append(out, bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)code, bytes));
}

/* Direction overrides, isolates and marks: a name that contains one could rearrange the text after it, e.g.
 * show another file name than the real one. */
static bool turns_direction(uint32_t c) {
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f;
}

/* Whether a code point may appear in the text: not a control character (XML 1.0 section 2.2), not a
 * non-character, no change of direction. */
static bool printable(uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return true;
    return c >= 0x20 && !(c >= 0x7f && c <= 0x9f) && c != 0xfffe && c != 0xffff && !turns_direction(c);
}

/* ---- escaping ---- */

/* Escapes what ends text or an attribute value: & < > and the double quote. */
void text_xml(const char *s, Buffer *out) {
    while (*s) {
        uint32_t c = next_code(&s);
        if (!printable(c))
            text_put(out, REPLACEMENT);
        else if (c == '&')
            text_put(out, "&amp;");
        else if (c == '<')
            text_put(out, "&lt;");
        else if (c == '>')
            text_put(out, "&gt;");
        else if (c == '"')
            text_put(out, "&quot;");
        else
            put_code(c, out);
    }
}

/* Quotes a field only where it must be, so that ordinary names stay readable in the file. */
void text_csv(const char *s, Buffer *out) {
    /* Spreadsheets run fields that begin like a formula; an apostrophe in front makes them text (OWASP, "CSV
     * injection"). */
    bool formula = *s && strchr("=+-@\t\r", *s);
    if (!formula && !strpbrk(s, ",\"\r\n")) {
        text_put(out, s);
        return;
    }
    text_put(out, formula ? "\"'" : "\"");
    for (; *s; s++) {
        if (*s == '"') buffer_byte(out, '"');
        buffer_byte(out, (uint8_t)*s);
    }
    buffer_byte(out, '"');
}

/* Everything that starts markup is escaped with a backslash or as an entity; line breaks become spaces. */
void text_markdown(const char *s, Buffer *out) {
    while (*s) {
        uint32_t c = next_code(&s);
        if (c == '\t' || c == '\n' || c == '\r')
            buffer_byte(out, ' ');
        else if (!printable(c))
            text_put(out, REPLACEMENT);
        else if (c == '&')
            text_put(out, "&amp;");
        else if (c == '<')
            text_put(out, "&lt;");
        else if (c == '>')
            text_put(out, "&gt;");
        else if (c == '@') /* would mention a user, or link an e-mail address */
            text_put(out, "&#64;");
        else if (c == ':' && *s == '/') /* would link an address: http:// */
            text_put(out, "&#58;");
        else if (c < 0x80 && strchr("\\`*_{}[]#|~!$", (int)c))
            buffer_printf(out, "\\%c", (char)c);
        else
            put_code(c, out);
    }
}

void text_markdown_block(const char *s, Buffer *out) {
    /* A fence of one backtick more than the longest run in the text cannot be ended by it. */
    size_t longest = 2, run = 0;
    for (const char *p = s; *p; p++) {
        run = *p == '`' ? run + 1 : 0;
        if (run > longest) longest = run;
    }
    for (size_t i = 0; i <= longest; i++)
        buffer_byte(out, '`');
    buffer_byte(out, '\n');
    for (const char *p = s; *p;) {
        uint32_t c = next_code(&p);
        if (printable(c))
            put_code(c, out);
        else
            text_put(out, REPLACEMENT);
    }
    buffer_byte(out, '\n');
    for (size_t i = 0; i <= longest; i++)
        buffer_byte(out, '`');
    buffer_byte(out, '\n');
}

/* Whether a string is a YAML scalar without quotes: letters, digits and ._/- after a letter, and none of the
 * words that YAML reads as a boolean, null or a number. */
static bool yaml_plain(const char *s) {
    static const char *const taken[] = {"y",  "n",   "yes",  "no",  "true", "false",
                                        "on", "off", "null", "nan", "inf",  "~"};
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))) return false;
    if (s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-")]) return false;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!strcasecmp(s, taken[i])) return false;
    return true;
}

/* In a double-quoted scalar only backslash, quote and characters that are not printable need an escape (YAML
 * 1.2 section 5.7). */
void text_yaml(const char *s, Buffer *out) {
    if (yaml_plain(s)) {
        text_put(out, s);
        return;
    }
    buffer_byte(out, '"');
    while (*s) {
        uint32_t c = next_code(&s);
        if (c == '"' || c == '\\')
            buffer_printf(out, "\\%c", (char)c);
        else if (c == '\n')
            text_put(out, "\\n");
        else if (!printable(c) || c == '\t' || c == '\r' || c == 0x2028 || c == 0x2029 || c == 0xfeff)
            buffer_printf(out, "\\u%04x", c);
        else
            put_code(c, out);
    }
    buffer_byte(out, '"');
}

/* ---- widths ---- */

/* utf8proc knows the East Asian widths; combining and control characters count as 0. */
static size_t code_width(uint32_t c) {
    int width = utf8proc_charwidth((utf8proc_int32_t)c);
    return width > 0 ? (size_t)width : 0;
}

/* The number of columns that a text takes in a monospaced font. */
size_t text_width(const char *s) {
    size_t columns = 0;
    while (*s)
        columns += code_width(next_code(&s));
    return columns;
}

/* Shortens a text to that many columns, the last of which is an ellipsis. A text of no more bytes than
 * columns cannot be too wide and is returned as it is. */
const char *text_clip(Arena *a, const char *s, size_t columns) {
    if (strlen(s) <= columns) return s;
    size_t used = 0, keep = 0;
    const char *p = s;
    /* Combining characters take no columns, so a limit on bytes keeps thousands of them from piling up. */
    while (*p && (size_t)(p - s) < 8 * columns) {
        used += code_width(next_code(&p));
        if (used > columns) break;
        /* `keep` stays one column short, which the ellipsis takes. */
        if (used < columns) keep = (size_t)(p - s);
    }
    return *p || used > columns ? arena_printf(a, "%.*s\xe2\x80\xa6", (int)keep, s) : s;
}

/* ---- numbers ---- */

/* Digits are grouped from the right, from five digits on. */
const char *text_count(Arena *a, double n) {
    char digits[48], grouped[160];
    if (!(fabs(n) < 1e15)) return arena_printf(a, "%.3g", n);
    snprintf(digits, sizeof digits, "%.0f", n);
    size_t length = strlen(digits), at = 0;
    if (length <= 4) return arena_strdup(a, digits);
    for (size_t i = 0; i < length; i++) {
        grouped[at++] = digits[i];
        size_t left = length - 1 - i;
        if (left && left % 3 == 0 && digits[i] != '-') {
            memcpy(grouped + at, "\xe2\x80\xaf", 3); /* U+202F, a narrow space that does not break */
            at += 3;
        }
    }
    return arena_strndup(a, grouped, at);
}

/* Three significant digits in words: "1.24 billion" parameters. */
const char *text_large(Arena *a, double n) {
    if (n >= 1e9) return arena_printf(a, "%.3g billion", n / 1e9);
    if (n >= 1e6) return arena_printf(a, "%.3g million", n / 1e6);
    return text_count(a, n);
}

/* Four significant digits where that reads well, the exponent form where it does not. The limits are those at
 * which rounding would add a digit: 9.9996 is 10.00. */
const char *text_value(Arena *a, double v) {
    double size = fabs(v);
    if (v == 0) return "0";
    if (size < 0.001 || size >= 1e6) return arena_printf(a, "%.2e", v);
    return arena_printf(a, "%.*f", size < 9.9995 ? 3 : size < 99.995 ? 2 : size < 999.95 ? 1 : 0, v);
}

/* A share of 0 to 1 as a whole number of percent; the caller adds the sign. */
const char *text_share(Arena *a, double v) {
    return arena_printf(a, "%.0f", 100 * v);
}

/* Two units at most: nobody needs the seconds of an hour. */
const char *text_seconds(Arena *a, double s) {
    if (s < 10) return arena_printf(a, "%.1f s", s);
    double whole = round(s);
    if (whole < 120) return arena_printf(a, "%.0f s", whole);
    if (whole < 7200) return arena_printf(a, "%.0f min %.0f s", floor(whole / 60), fmod(whole, 60));
    return arena_printf(a, "%s h %.0f min", text_count(a, floor(whole / 3600)),
                        floor(fmod(whole, 3600) / 60));
}

/* A ratio with the multiplication sign: "2x". */
const char *text_times(Arena *a, double ratio) {
    return arena_printf(a, "%.3g\xc3\x97", ratio);
}
