/* Parsing of JSON with errors that name the place, and a printer that formats as Python does: see
 * formats/json.h. jansson has the parser and the values. Its own printer is not used, because it writes more
 * digits of reals than the configurations have that we copy. */
#include "formats/json.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void json_use_own_memory(void) {
    json_set_alloc_funcs(xmalloc, free);
}

/* True if the decimal integer of `n` characters does not fit in int64_t. */
static bool beyond_64_bits(const char *digits, size_t n) {
    char text[24];
    /* int64_t has at most 19 digits and a sign, so a longer text cannot fit. */
    if (n >= sizeof text) return true;
    /* strtoll needs a terminated string, and reports an overflow through errno. */
    memcpy(text, digits, n);
    text[n] = 0;
    errno = 0;
    strtoll(text, NULL, 10);
    return errno == ERANGE;
}

/* Copies JSON text to `out` with ".0" after each integer that does not fit in 64 bits, which makes it a real.
 * jansson refuses such integers, but published tokenizer configurations contain them: transformers writes "no
 * limit" as the integer value of the double 1e30. Returns false if there is nothing to change.
 *
 * The loop distinguishes three states: inside a string, where an escaped quotation mark does not end it; at
 * the start of a number; anywhere else. It need not understand more of the grammar, because jansson parses
 * the result. */
static bool widen_long_integers(const char *s, size_t n, Buffer *out) {
    bool found = false, in_string = false;
    for (size_t i = 0; i < n;) {
        /* Inside a string: copy a character, or a backslash with what it escapes. */
        if (in_string) {
            size_t step = s[i] == '\\' && i + 1 < n ? 2 : 1;
            if (s[i] == '"') in_string = false;
            buffer_append(out, s + i, step);
            i += step;
        } else if (isdigit((unsigned char)s[i]) || s[i] == '-') {
            /* A number: its integer part, then either ".0" or the rest of a real. */
            size_t j = i + 1;
            while (j < n && isdigit((unsigned char)s[j]))
                j++;
            bool integer = j == n || (s[j] != '.' && s[j] != 'e' && s[j] != 'E');
            buffer_append(out, s + i, j - i);
            /* Only an integer that is too long is changed. */
            if (integer && beyond_64_bits(s + i, j - i)) {
                buffer_append(out, ".0", 2);
                found = true;
            } else if (!integer) {
                i = j;
                while (j < n && (isalnum((unsigned char)s[j]) || strchr(".+-", s[j])))
                    j++;
                buffer_append(out, s + i, j - i);
            }
            i = j;
        } else {
            /* Anything else is copied; a quotation mark begins a string. */
            in_string = s[i] == '"';
            buffer_byte(out, (uint8_t)s[i++]);
        }
    }
    return found;
}

/* Numbers are widened only after jansson has failed on one, so ordinary files are parsed once. `line` is the
 * number of the first line, for JSON that begins inside a larger file. Duplicate keys are refused, because
 * readers would disagree on which one counts. */
json_t *json_parse_line(const char *where, size_t line, const void *bytes, size_t n, Error *e) {
    json_error_t je;
    if (!n) bytes = ""; /* an empty buffer may be a null pointer, which jansson does not take */
    /* The ordinary case. */
    json_t *v = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!v && json_error_code(&je) == json_error_numeric_overflow) {
        Buffer wide = {0};
        if (widen_long_integers(bytes, n, &wide))
            v = json_loadb((char *)wide.data, wide.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
        buffer_free(&wide);
    }
    if (!v)
        error_set(e, ERR_INPUT, "%s:%zu:%d: not valid JSON: %s", where, line + (size_t)je.line - 1, je.column,
                  je.text);
    return v;
}

/* For JSON that begins at the first line of its file. */
json_t *json_parse(const char *where, const void *bytes, size_t n, Error *e) {
    return json_parse_line(where, 1, bytes, n, e);
}

/* Prints a string in quotation marks. Quotation marks, backslashes and control characters are escaped as RFC
 * 8259, section 7, requires; all other characters are written as UTF-8. */
static void print_string(const char *s, size_t n, Buffer *out) {
    buffer_byte(out, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        switch (c) {
        /* The characters that have a short escape. */
        case '"':
            buffer_append(out, "\\\"", 2);
            break;
        case '\\':
            buffer_append(out, "\\\\", 2);
            break;
        case '\n':
            buffer_append(out, "\\n", 2);
            break;
        case '\r':
            buffer_append(out, "\\r", 2);
            break;
        case '\t':
            buffer_append(out, "\\t", 2);
            break;
        case '\b':
            buffer_append(out, "\\b", 2);
            break;
        case '\f':
            buffer_append(out, "\\f", 2);
            break;
        default:
            /* Other control characters need the numeric escape. */
            if (c < 0x20)
                buffer_printf(out, "\\u%04x", c);
            else
                buffer_byte(out, c);
        }
    }
    buffer_byte(out, '"');
}

/* Prints like Python's repr(float), which wrote the configurations that we copy: the fewest digits that read
 * back as the same double, in positional notation for exponents from -4 to 15 and always with a decimal
 * point, else in scientific notation. */
static void print_real(double x, Buffer *out) {
    char text[40];
    /* Find the fewest digits, up to the 17 that any double needs. */
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, x);
        if (strtod(text, NULL) == x) break;
    }
    snprintf(text, sizeof text, "%.*e", digits - 1, x);
    /* The decimal exponent decides between positional and scientific notation. */
    const char *exponent = strchr(text, 'e');
    int power = exponent ? atoi(exponent + 1) : 0;
    /* Infinities and NaN have no 'e' and are printed as snprintf has them. */
    if (exponent && power >= -4 && power < 16) {
        int decimals = digits - 1 - power;
        buffer_printf(out, "%.*f", decimals > 1 ? decimals : 1, x);
    } else {
        buffer_append(out, text, strlen(text));
    }
}

/* Prints a line break and the indentation of level `depth`; nothing if `indent` is 0, which means that the
 * output is one line. */
static void newline(int indent, int depth, Buffer *out) {
    if (indent) buffer_printf(out, "\n%*s", indent * depth, "");
}

/* Prints a value; `depth` is the level of nesting. The recursion is bounded, because jansson limits the depth
 * of what it parses to 2048. Separators are those of Python's json.dumps. */
static void print_value(const json_t *v, int indent, int depth, Buffer *out) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        /* Keys keep the order in which they were added. */
        const char *key;
        json_t *item;
        bool first = true;
        buffer_byte(out, '{');
        json_object_foreach((json_t *)v, key, item) {
            if (!first) buffer_append(out, indent ? "," : ", ", indent ? 1 : 2);
            newline(indent, depth + 1, out);
            print_string(key, strlen(key), out);
            buffer_append(out, ": ", 2);
            print_value(item, indent, depth + 1, out);
            first = false;
        }
        if (!first) newline(indent, depth, out);
        buffer_byte(out, '}');
        break;
    }
    case JSON_ARRAY: {
        size_t n = json_array_size(v);
        buffer_byte(out, '[');
        for (size_t i = 0; i < n; i++) {
            if (i) buffer_append(out, indent ? "," : ", ", indent ? 1 : 2);
            newline(indent, depth + 1, out);
            print_value(json_array_get(v, i), indent, depth + 1, out);
        }
        if (n) newline(indent, depth, out);
        buffer_byte(out, ']');
        break;
    }
    case JSON_STRING:
        print_string(json_string_value(v), json_string_length(v), out);
        break;
    case JSON_INTEGER:
        buffer_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        print_real(json_real_value(v), out);
        break;
    case JSON_TRUE:
        buffer_append(out, "true", 4);
        break;
    case JSON_FALSE:
        buffer_append(out, "false", 5);
        break;
    case JSON_NULL:
        buffer_append(out, "null", 4);
        break;
    }
}

/* `indent` is the number of spaces for each level; 0 prints one line. */
void json_print(const json_t *value, int indent, Buffer *out) {
    print_value(value, indent, 0, out);
}

/* Makes a JSON string of any bytes: each byte that does not begin a valid UTF-8 sequence becomes one U+FFFD,
 * because jansson refuses invalid UTF-8. Paths and names from files may contain such bytes. */
json_t *json_text(const char *s) {
    Buffer b = {0};
    /* Copy valid sequences, and replace bytes that begin none. */
    for (size_t n = strlen(s), step; n; s += step, n -= step) {
        utf8proc_int32_t code;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
        step = length > 0 ? (size_t)length : 1;
        if (length > 0)
            buffer_append(&b, s, step);
        else
            buffer_append(&b, "\xef\xbf\xbd", 3);
    }
    json_t *text = json_stringn((const char *)b.data, b.size);
    buffer_free(&b);
    return text ? text : json_string("");
}

/* The four getters return false or NULL if the key is absent or has another type, and then leave `*out` as it
 * is, so that callers can initialize it with a default. jansson keeps integers as int64_t; values above 2^63
 * - 1 have become reals (widen_long_integers) and are refused here. */
bool json_get_u64(const json_t *object, const char *key, uint64_t *out) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* An integer is accepted as a number, because Python writes 1e4 as 10000 if it was given so. */
bool json_get_f64(const json_t *object, const char *key, double *out) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v)) return false;
    *out = json_number_value(v);
    return true;
}

bool json_get_bool(const json_t *object, const char *key, bool *out) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_boolean(v)) return false;
    *out = json_is_true(v);
    return true;
}

/* The string belongs to `object`; NULL if the key is absent or has another type. */
const char *json_get_string(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}
