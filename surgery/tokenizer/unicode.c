/* Characters and their properties. Tokens may not depend on which version of Unicode an installed library
 * knows. HF `tokenizers` matches by Oniguruma (Unicode 16), normalises by a crate with the tables of Unicode
 * 9 and lower-cases by Rust's standard library (up to Unicode 17); PCRE2 and utf8proc of the systems that
 * derope runs on are of other years. The tables below hold the differences; tests/peers/test_tokenizer.py
 * compares tokens with HF on 27 scripts and on random text. */
#include "surgery/tokenizer/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

/* For a property, the characters that Unicode 15 and 16 added to it, as members of a character class. Where
 * PCRE2 knows them already, naming them again changes nothing. */
static const struct {
    const char *property, *ranges;
} additions[] = {
    {"L", "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}"
          "\\x{10d4a}-\\x{10d65}\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}"
          "\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}"
          "\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}\\x{11f12}-\\x{11f33}"
          "\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"
          "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}"
          "\\x{1e030}-\\x{1e06d}\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}"
          "\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    {"Lu", "\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"},
    {"Ll", "\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{10d70}-\\x{10d85}\\x{1df25}-\\x{1df2a}"},
    {"Lm", "\\x{10d4e}\\x{10d6f}\\x{16d40}-\\x{16d42}\\x{16d6b}-\\x{16d6c}\\x{1e030}-\\x{1e06d}"
           "\\x{1e4eb}"},
    {"Lo", "\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d4d}\\x{10d4f}\\x{10ec2}-\\x{10ec4}"
           "\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}"
           "\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"
           "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}"
           "\\x{16100}-\\x{1611d}\\x{16d43}-\\x{16d6a}\\x{18cff}\\x{1b132}\\x{1b155}"
           "\\x{1e4d0}-\\x{1e4ea}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}"
           "\\x{31350}-\\x{323af}"},
    {"M", "\\x{897}\\x{cf3}\\x{ece}\\x{10d69}-\\x{10d6d}\\x{10efc}-\\x{10eff}\\x{11241}"
          "\\x{113b8}-\\x{113c0}\\x{113c2}\\x{113c5}\\x{113c7}-\\x{113ca}\\x{113cc}-\\x{113d0}"
          "\\x{113d2}\\x{113e1}-\\x{113e2}\\x{11f00}-\\x{11f01}\\x{11f03}\\x{11f34}-\\x{11f3a}"
          "\\x{11f3e}-\\x{11f42}\\x{11f5a}\\x{13440}\\x{13447}-\\x{13455}\\x{1611e}-\\x{1612f}"
          "\\x{1e08f}\\x{1e4ec}-\\x{1e4ef}\\x{1e5ee}-\\x{1e5ef}"},
    {"N", "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}"
          "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}"
          "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"},
    {"Nd", "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}"
           "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}"
           "\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"},
    {"P", "\\x{1b4e}-\\x{1b4f}\\x{1b7f}\\x{10d6e}\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}"
          "\\x{11b00}-\\x{11b09}\\x{11be1}\\x{11f43}-\\x{11f4f}\\x{16d6d}-\\x{16d6f}\\x{1e5ff}"},
    {"S", "\\x{2427}-\\x{2429}\\x{2ffc}-\\x{2fff}\\x{31e4}-\\x{31e5}\\x{31ef}\\x{10d8e}-\\x{10d8f}"
          "\\x{1cc00}-\\x{1ccef}\\x{1cd00}-\\x{1ceb3}\\x{1f6dc}\\x{1f774}-\\x{1f776}"
          "\\x{1f77b}-\\x{1f77f}\\x{1f7d9}\\x{1f8b2}-\\x{1f8bb}\\x{1f8c0}-\\x{1f8c1}"
          "\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}\\x{1faad}-\\x{1faaf}"
          "\\x{1fabb}-\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}\\x{1fada}-\\x{1fadc}\\x{1fadf}"
          "\\x{1fae8}-\\x{1fae9}\\x{1faf7}-\\x{1faf8}\\x{1fbcb}-\\x{1fbef}"},
};

/* ---- look-ups in the tables ---- */

/* `name` is not terminated: it stands within an expression, between braces. */
const char *property_additions(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof additions / sizeof *additions; i++)
        if (strlen(additions[i].property) == n && memcmp(additions[i].property, name, n) == 0)
            return additions[i].ranges;
    return NULL;
}

/* Only characters that utf8proc takes for unassigned (category Cn) are looked up. */
bool is_new_mark(int32_t code) {
    if (utf8proc_category(code) != UTF8PROC_CATEGORY_CN) return false;
    /* The table is read as it is written: "\x{from}-\x{to}" or "\x{one}". The number begins 3 bytes behind
     * the backslash. */
    for (const char *p = property_additions("M", 1); p && *p;) {
        char *end;
        long from = strtol(p + 3, &end, 16), to = from;
        if (end[1] == '-') to = strtol(end + 5, &end, 16);
        if (code >= from && code <= to) return true;
        p = end + 1;
    }
    return false;
}

/* Characters that got a decomposition or a combining class in Unicode 10 or later, in ascending order. HF's
 * normalisation leaves them as they are, and composes nothing across them. */
static const struct {
    int32_t from, to;
} unnormalized[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
    {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9},
};

/* A binary search, because this is asked for every character beyond ASCII of a text that is normalised. */
bool is_unnormalized(int32_t code) {
    size_t from = 0, to = sizeof unnormalized / sizeof *unnormalized;
    while (from < to) {
        size_t middle = (from + to) / 2;
        if (code < unnormalized[middle].from)
            to = middle;
        else if (code > unnormalized[middle].to)
            from = middle + 1;
        else
            return true;
    }
    return false;
}

/* Capitals that Unicode 14 to 17 added, and the distance to their lower-case letters. */
static const struct {
    int32_t from, to, distance;
} lowered[] = {
    {0x1c89, 0x1c89, 1},      {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
    {0xa7cc, 0xa7cc, 1},      {0xa7ce, 0xa7ce, 1},
    {0xa7d2, 0xa7d2, 1},      {0xa7d4, 0xa7d4, 1},
    {0xa7da, 0xa7da, 1},      {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
    {0x10d50, 0x10d65, 0x20}, {0x16ea0, 0x16eb8, 0x1b},
};

/* The lower-case form by Unicode's simple mapping, for normalize_lowercase. The table comes first, because
 * utf8proc leaves a capital that it does not know as it is. */
int32_t lower_char(int32_t code) {
    for (size_t i = 0; i < sizeof lowered / sizeof *lowered; i++)
        if (code >= lowered[i].from && code <= lowered[i].to) return code + lowered[i].distance;
    return utf8proc_tolower(code);
}

/* ---- UTF-8 ---- */

const char space_marker[] = "\xe2\x96\x81";

/* A wrong byte is a character of length 1, so that a loop over text always goes on. */
int32_t next_char(const char *text, size_t n, size_t *len) {
    uint8_t first = (uint8_t)text[0];
    if (first < 0x80) { /* ASCII, the most frequent case, needs no library */
        *len = 1;
        return first;
    }
    /* utf8proc_iterate returns a negative number for invalid UTF-8. */
    utf8proc_int32_t code;
    utf8proc_ssize_t l = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n, &code);
    *len = l > 0 ? (size_t)l : 1;
    return l > 0 ? code : -1;
}

/* The character that ends at `at`: goes back over continuation bytes (10xxxxxx) to its first byte. */
int32_t previous_char(const char *text, size_t at, size_t *len) {
    size_t start = at;
    while (start > 0 && ((uint8_t)text[--start] & 0xc0) == 0x80) {}
    return next_char(text + start, at - start, len);
}

/* Used behind an empty match of an expression, where the search has to go on one character later. */
bool next_position(const char *text, size_t n, size_t *at) {
    if (*at >= n) return false;
    do
        ++*at;
    while (*at < n && ((uint8_t)text[*at] & 0xc0) == 0x80);
    return true;
}

/* ---- properties ---- */

/* Unicode's property White_Space, which has not changed since Unicode 6.3. */
bool is_space_char(int32_t code) {
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
           code == 0x205f || code == 0x3000;
}

/* Rust's regex crate follows UTS #18, Annex C: Alphabetic, marks, decimal digits, connecting punctuation and
 * joiners. utf8proc has categories but not the property Alphabetic, so the characters outside the categories
 * of letters are listed. */
bool is_word_char(int32_t code) {
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and letters in circles and squares, which have the property Alphabetic without being
                letters */
        return code == 0x200c || code == 0x200d || (code >= 0x24b6 && code <= 0x24e9) ||
               (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
               (code >= 0x1f170 && code <= 0x1f189);
    }
}
