/* Regular expressions of tokenizers, matched by PCRE2. They are written for Oniguruma, and most of their
 * syntax is the same in both. What is not, is rewritten (translate) before PCRE2 compiles it:
 *
 *   \s \w \d \h     stand for other sets of characters; each becomes an explicit class
 *   \p{L} etc.      get the characters that newer versions of Unicode added (unicode.h)
 *   [a[b]] [a&&b]   nested and intersected classes are refused, since PCRE2 would read them differently
 *   ^ $             match at lines in Oniguruma, which is an option of PCRE2
 */
#include "surgery/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "formats/buffer.h"
#include "surgery/tokenizer/unicode.h"

struct Pattern {
    pcre2_code *code;
    pcre2_match_data *match;     /* the last match, which makes a pattern usable by one thread only */
    pcre2_match_context *limits; /* on steps and memory */
    pcre2_jit_stack *stack;      /* NULL: PCRE2 cannot compile to machine code here */
    struct Steps *steps;         /* of an expression that is not trusted; NULL: not counted */
};

/* What an expression that is not trusted has cost so far. PCRE2's own limit is not enough: it begins anew at
 * each place of the text, and machine code does not count the places that a repeated character tries. Instead
 * PCRE2 calls count_step at each part of the expression that it tries. */
typedef struct Steps {
    uint64_t spent;   /* parts that were tried, and characters that were passed over between them */
    uint64_t allowed; /* grows with the texts that are searched */
    size_t place;     /* in the text, of the last part */
} Steps;

/* Expressions come from files. These limits end one whose backtracking explodes, and are far above what those
 * of published tokenizers need: GPT-2's takes 5 steps for each byte. The first steps are granted without any
 * text, for they take a fraction of a second. */
enum { STEPS_AT_FIRST = 64 * 1000 * 1000, STEPS_PER_BYTE = 1000 };
enum { MATCH_LIMIT = 100 * 1000 * 1000 }; /* steps of one match */
enum { HEAP_LIMIT_KB = 1 << 18 };
enum { MAX_EXPRESSION = 16384, MAX_LITERAL = 1024 };          /* bytes */
enum { JIT_STACK_START = 1 << 15, JIT_STACK_MAX = 16 << 20 }; /* bytes */

/* ---- rewriting Oniguruma's syntax ---- */

/* The members of an escape in Oniguruma with UTF-8. Its \s is Unicode's White_Space, its \w includes marks
 * and numeric letters, its \d is any decimal digit, and its \h is a hexadecimal digit (in PCRE2: horizontal
 * white space). */
static const struct {
    char escape;
    const char *members;
} classes[] = {
    {'s',
     "\\t-\\r\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"},
    {'w', "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
          "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"},
    {'d', "\\p{Nd}"},
    {'h', "0-9a-fA-F"},
};

/* The members that an escape stands for in Oniguruma; NULL if PCRE2 means the same by it, or if it is no
 * class. */
static const char *class_members(char escape) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (classes[i].escape == escape) return classes[i].members;
    return NULL;
}

static size_t translate_escape(const char *p, size_t n, bool in_class, Buffer *out);

/* Appends the members of a class. Those that are properties get the additions of newer versions of Unicode
 * too. */
static void expand(const char *members, Buffer *out) {
    size_t n = strlen(members);
    for (size_t i = 0; i < n;)
        if (members[i] == '\\')
            i += translate_escape(members + i, n - i, true, out);
        else
            buffer_byte(out, (uint8_t)members[i++]);
}

/* Appends the escape at p[0] == '\\' as PCRE2 has to read it, and returns how many bytes of the expression it
 * takes. n is the length of the rest of the expression. */
static size_t translate_escape(const char *p, size_t n, bool in_class, Buffer *out) {
    /* \s becomes [members], or just the members if it stands inside a class. */
    const char *members = n > 1 ? class_members(p[1]) : NULL;
    if (members) {
        if (!in_class) buffer_byte(out, '[');
        expand(members, out);
        if (!in_class) buffer_byte(out, ']');
        return 2;
    }
    /* \S becomes [^members]. Inside a class it keeps PCRE2's meaning. */
    const char *complement = n > 1 && !in_class ? class_members((char)(p[1] | 0x20)) : NULL;
    if (complement) {
        buffer_append(out, "[^", 2);
        expand(complement, out);
        buffer_byte(out, ']');
        return 2;
    }
    /* \p{NAME} gets the additions of newer versions of Unicode. */
    const char *end = n > 3 && p[1] == 'p' && p[2] == '{' ? memchr(p, '}', n) : NULL;
    const char *added = end ? property_additions(p + 3, (size_t)(end - p - 3)) : NULL;
    if (added) {
        int length = (int)(end + 1 - p);
        buffer_printf(out, in_class ? "%.*s%s" : "[%.*s%s]", length, p, added);
        return (size_t)length;
    }
    /* Anything else, such as \r or \[, is the same in both. */
    size_t length = n > 1 ? 2 : 1;
    buffer_append(out, p, length);
    return length;
}

/* Appends a whole expression as PCRE2 has to read it. Returns NULL, or the name of something that PCRE2 would
 * read differently and that cannot be rewritten. */
static const char *translate(const char *p, size_t n, Buffer *out) {
    bool in_class = false;
    for (size_t i = 0; i < n;) {
        if (p[i] == '\\') {
            i += translate_escape(p + i, n - i, in_class, out);
            continue;
        }
        if (in_class && p[i] == '[' && !(i + 1 < n && p[i + 1] == ':')) return "a class inside a class";
        if (in_class && p[i] == '&' && i + 1 < n && p[i + 1] == '&') return "an intersection of classes";
        if (in_class &&
            p[i] == '[') { /* [:name:] is copied up to its bracket, which does not end the class */
            const char *close = memchr(p + i, ']', n - i);
            size_t length = close ? (size_t)(close + 1 - (p + i)) : n - i;
            buffer_append(out, p + i, length);
            i += length;
            continue;
        }
        if (!in_class &&
            p[i] == '[') { /* a bracket at the start of a class, after an optional ^, is a member of it */
            in_class = true;
            buffer_byte(out, '[');
            if (i + 1 < n && p[i + 1] == '^') buffer_byte(out, (uint8_t)p[++i]);
            if (i + 1 < n && p[i + 1] == ']') buffer_byte(out, (uint8_t)p[++i]);
            i++;
            continue;
        }
        if (p[i] == ']') in_class = false;
        buffer_byte(out, (uint8_t)p[i++]);
    }
    return NULL;
}

/* ---- compiling and matching ---- */

/* Called by PCRE2 at each part of an expression that is not trusted. A result other than 0 ends the search,
 * and pcre2_match returns it. */
static int count_step(pcre2_callout_block *at, void *context) {
    Steps *s = context;
    size_t place = at->current_position;
    s->spent += 1 + (place > s->place ? place - s->place : s->place - place);
    s->place = place;
    return s->spent > s->allowed ? PCRE2_ERROR_CALLOUT : 0;
}

/* Compiles an expression in PCRE2's syntax, with limits, and to machine code where PCRE2 can. `text` is also
 * named in messages. NULL with an error. */
static Pattern *compile(const char *text, size_t n, uint32_t options, const char *where, Error *e) {
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)text, n, PCRE2_UTF | options, &code, &offset, NULL);
    if (!compiled && code == PCRE2_ERROR_HEAP_FAILED) memory_used_up();
    if (!compiled) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(code, message, sizeof message);
        error_set(e, ERR_INPUT, "%s: pattern '%.80s': %s", where, text, (char *)message);
        return NULL;
    }
    Pattern *p = xcalloc(1, sizeof *p);
    p->code = compiled;
    p->match = allocated(pcre2_match_data_create(1, NULL));
    p->limits = allocated(pcre2_match_context_create(NULL));
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KB);
    if (pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) ==
        0) { /* without machine code matching is only slower */
        p->stack = allocated(pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL));
        pcre2_jit_stack_assign(p->limits, NULL, p->stack);
    }
    if (options & PCRE2_AUTO_CALLOUT) {
        p->steps = xcalloc(1, sizeof *p->steps);
        p->steps->allowed = STEPS_AT_FIRST;
        pcre2_set_callout(p->limits, count_step, p->steps);
    }
    return p;
}

/* A short escape stands for a class of some hundred characters, so the length is limited before that. */
static bool is_short(const char *text, size_t limit, const char *where, Error *e) {
    size_t n = strlen(text);
    return n <= limit ||
           error_set(e, ERR_INPUT, "%s: pattern '%.40s...' has %zu bytes, at most %zu are supported", where,
                     text, n, limit);
}

/* From Oniguruma's syntax; an expression that cannot be rewritten is refused, because it would cut
 * differently. */
Pattern *pattern_compile(const char *text, bool trusted, const char *where, Error *e) {
    if (!is_short(text, MAX_EXPRESSION, where, e)) return NULL;
    Buffer translated = {0};
    uint32_t counted = trusted ? 0 : PCRE2_AUTO_CALLOUT;
    const char *foreign = translate(text, strlen(text), &translated);
    Pattern *p = NULL;
    if (foreign)
        error_set(e, ERR_INPUT, "%s: pattern '%.80s': %s is not supported", where, text, foreign);
    else /* UCP: properties by Unicode. MULTILINE: ^ and $ match at lines, as in Oniguruma. */
        p = compile(buffer_string(&translated), translated.size, PCRE2_UCP | PCRE2_MULTILINE | counted, where,
                    e);
    buffer_free(&translated);
    return p;
}

/* PCRE2_LITERAL: no character has a meaning of its own, so nothing has to be escaped. */
Pattern *pattern_literal(const char *text, const char *where, Error *e) {
    return is_short(text, MAX_LITERAL, where, e) ? compile(text, strlen(text), PCRE2_LITERAL, where, e)
                                                 : NULL;
}

void pattern_free(Pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    pcre2_jit_stack_free(p->stack);
    free(p->steps);
    free(p);
}

/* Returns 1 with the span of the first match at or behind `at`, 0 if there is none, -1 with an error. The
 * text was checked to be UTF-8 by encode.c, so PCRE2 need not check it for every search. */
int pattern_find(const Pattern *p, const char *text, size_t n, size_t at, size_t span[2], Error *e) {
    if (p->steps) {
        p->steps->place = at;
        if (at == 0) p->steps->allowed += (uint64_t)n * STEPS_PER_BYTE;
    }
    int found = pcre2_match(p->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, p->match, p->limits);
    /* The interpreter keeps its state on the heap, where the limit is higher. */
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(p->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, p->match,
                            p->limits);
    if (found == PCRE2_ERROR_NOMATCH) return 0;
    if (found == PCRE2_ERROR_NOMEMORY) memory_used_up();
    if (found == PCRE2_ERROR_CALLOUT) {
        error_set(
            e, ERR_INPUT,
            "cutting text, %zu bytes into a piece of %zu: an expression of the tokenizer takes more than %d "
            "steps for each byte; refused",
            at, n, STEPS_PER_BYTE);
        return -1;
    }
    if (found < 0) {
        PCRE2_UCHAR message[160];
        pcre2_get_error_message(found, message, sizeof message);
        error_set(e, ERR_INPUT, "cutting text, %zu bytes into a piece of %zu: %s", at, n, (char *)message);
        return -1;
    }
    const PCRE2_SIZE *o = pcre2_get_ovector_pointer(p->match);
    span[0] = o[0];
    span[1] = o[1] > o[0] ? o[1] : o[0]; /* \K may set the start behind the end; that match is empty */
    return 1;
}
