/* The steps that change text before it is cut into pieces. Each is a normalizer of HF `tokenizers` or a rule
 * of SentencePiece's normalizer_spec. The loaders (load_json_steps.c, load_gguf.c) put them into the list of
 * a Tokenizer, and encode.c runs the list over each segment between added tokens. A step receives the text in
 * a buffer and changes that buffer; the text is valid UTF-8 before and after. */
#include "surgery/tokenizer/normalize.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "surgery/tokenizer/unicode.h"

/* ---- the list ---- */

/* The list takes over the step's pattern, also when it is full and the step is refused. */
bool normalizers_add(NormalizerList *l, Normalizer z, const char *where, Error *e) {
    if (l->n == MAX_NORMALIZERS) {
        pattern_free(z.pattern);
        return error_set(e, ERR_INPUT, "%s: more than %d normalizers", where, MAX_NORMALIZERS);
    }
    l->steps[l->n++] = z;
    return true;
}

void normalizers_free(NormalizerList *l) {
    for (size_t i = 0; i < l->n; i++)
        pattern_free(l->steps[i].pattern);
}

/* Whether a step puts something in front of a text, which has to happen only once for a text that comes in
 * parts. */
static bool puts_in_front(const Normalizer *z) {
    return z->apply == normalize_prepend || z->apply == normalize_prepend_words;
}

/* How much a segment may grow: normalize.h says why. */
enum { MAX_GROWTH = 32, GROWTH_BASE = 256 };

/* The message is about the tokenizer, because no text is at fault. */
bool normalize_fits(size_t size, size_t limit, Error *e) {
    return size <= limit ||
           error_set(
               e, ERR_INPUT,
               "the tokenizer's normalizers make a text more than %d times as long, beyond %zu bytes, which "
               "no published tokenizer does; refused",
               MAX_GROWTH, limit);
}

/* `continues`: text came before this part, so nothing is put in front. */
bool normalizers_apply(const NormalizerList *l, Buffer *text, bool continues, Error *e) {
    size_t limit = text->size <= (SIZE_MAX - GROWTH_BASE) / MAX_GROWTH ? text->size * MAX_GROWTH + GROWTH_BASE
                                                                       : SIZE_MAX;
    for (size_t i = 0; i < l->n; i++)
        if (!(continues && puts_in_front(&l->steps[i])) &&
            (!l->steps[i].apply(&l->steps[i], text, limit, e) || !normalize_fits(text->size, limit, e)))
            return false;
    return true;
}

/* Replaces the bytes of `text` by those of `changed` and releases the old ones. */
static void replace_text(Buffer *text, Buffer *changed) {
    buffer_free(text);
    buffer_string(changed); /* its data is not NULL even if the text is empty now */
    *text = *changed;
}

/* ---- Unicode normal forms ---- */

/* Appends the normal form (`form`: options of utf8proc) of a run of n bytes. */
static bool map_run(const char *run, size_t n, int form, Buffer *out, Error *e) {
    /* utf8proc_map allocates its result by malloc. */
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t size =
        utf8proc_map((const utf8proc_uint8_t *)run, (utf8proc_ssize_t)n, &mapped, (utf8proc_option_t)form);
    if (size == UTF8PROC_ERROR_NOMEM) memory_used_up();
    if (size < 0) return error_set(e, ERR_INPUT, "normalising text: %s", utf8proc_errmsg(size));
    buffer_append(out, mapped, (size_t)size);
    free(mapped);
    return true;
}

/* Most text is ASCII, which no normal form changes; an ASCII letter can only compose with a mark behind it.
 * So only runs of other characters are mapped, each together with the ASCII character before it. A character
 * that HF leaves alone (is_unnormalized) ends a run and is copied as it is, since nothing composes across it
 * there. */
bool normalize_unicode(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    (void)limit; /* the longest normal form of a character has 11 times its bytes */
    const char *s = (char *)text->data;
    size_t n = text->size, done = 0; /* up to `done` the text has been copied to `out` */
    Buffer out = {0};
    for (size_t i = 0, len; i < n;) {
        if ((uint8_t)s[i] < 0x80) {
            i++;
            continue;
        }
        /* A run begins at the ASCII character before it, unless that was part of what is done. */
        size_t start = i > done ? i - 1 : i;
        bool left_alone = false;
        for (; i < n && (uint8_t)s[i] >= 0x80; i += len)
            if ((left_alone = is_unnormalized(next_char(s + i, n - i, &len)))) break;
        buffer_append(&out, s + done, start - done);
        if (!map_run(s + start, i - start, z->form, &out, e)) {
            buffer_free(&out);
            return false;
        }
        if (left_alone) {
            buffer_append(&out, s + i, len);
            i += len;
        }
        done = i;
    }
    if (!out.size) return true; /* all ASCII: the text stays as it is */
    buffer_append(&out, s + done, n - done);
    replace_text(text, &out);
    return true;
}

/* ---- other steps ---- */

/* Character by character, as HF does it; rules that depend on neighbours, such as the Greek final sigma, do
 * not apply. */
bool normalize_lowercase(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    (void)z, (void)limit, (void)e;
    Buffer out = {0};
    for (size_t i = 0, len; i < text->size; i += len) {
        int32_t code = next_char((char *)text->data + i, text->size - i, &len);
        utf8proc_uint8_t bytes[4];
        if (code == 0x130) /* "I" with a dot: the one capital whose lower-case form is two characters */
            buffer_append(&out, "i\xcc\x87", 3);
        else
            buffer_append(&out, bytes, (size_t)utf8proc_encode_char(lower_char(code), bytes));
    }
    replace_text(text, &out);
    return true;
}

/* HF's Prepend, and SentencePiece's add_dummy_prefix: it makes a word at the start of a text the same token
 * as elsewhere. */
bool normalize_prepend(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    if (!text->size) return true;
    if (!normalize_fits(text->size + strlen(z->to), limit, e)) return false;
    Buffer out = {0};
    buffer_append(&out, z->to, strlen(z->to));
    buffer_append(&out, text->data, text->size);
    replace_text(text, &out);
    return true;
}

/* llama.cpp puts no space in front of a unigram's text that has no words. */
bool normalize_prepend_words(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] != ' ') return normalize_prepend(z, text, limit, e);
    return true;
}

/* HF's Replace: every match of the pattern becomes z->to. */
bool normalize_replace(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    Buffer out = {0};
    const char *s = (char *)text->data;
    size_t done = 0, at = 0, span[2];
    int found;
    while ((found = pattern_find(z->pattern, s, text->size, at, span, e)) > 0) {
        buffer_append(&out, s + done, span[0] - done);
        buffer_append(&out, z->to, strlen(z->to));
        if (!normalize_fits(out.size, limit, e)) {
            buffer_free(&out);
            return false;
        }
        done = at = span[1];
        /* Behind an empty match the search goes on one character later. */
        if (span[1] == span[0] && !next_position(s, text->size, &at)) break;
    }
    if (found < 0) {
        buffer_free(&out);
        return false;
    }
    buffer_append(&out, s + done, text->size - done);
    replace_text(text, &out);
    return true;
}

/* HF's Strip: removes white space at either end, or at both, in place. */
bool normalize_strip(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    (void)limit, (void)e;
    const char *s = (char *)text->data;
    size_t from = 0, to = text->size, len;
    while (z->left && from < to && is_space_char(next_char(s + from, to - from, &len)))
        from += len;
    while (z->right && to > from && is_space_char(previous_char(s, to, &len)))
        to -= len;
    if (from) memmove(text->data, text->data + from, to - from);
    text->size = to - from;
    return true;
}

/* Removes all copies of z->to at the end of the text: SentencePiece's markers where it removes extra spaces.
 */
bool normalize_strip_end(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    (void)limit, (void)e;
    /* z->to is not empty: load_gguf.c sets it to the space marker. */
    size_t n = strlen(z->to);
    while (text->size >= n && memcmp(text->data + text->size - n, z->to, n) == 0)
        text->size -= n;
    return true;
}

/* SentencePiece's remove_extra_whitespaces: no space at either end, and one instead of several within. It
 * runs before spaces become markers. */
bool normalize_squeeze(const Normalizer *z, Buffer *text, size_t limit, Error *e) {
    (void)z, (void)limit, (void)e;
    size_t n = 0; /* bytes kept so far; the text is shortened in place */
    for (size_t i = 0; i < text->size; i++)
        if (text->data[i] != ' ' || (n && text->data[n - 1] != ' ')) text->data[n++] = text->data[i];
    while (n && text->data[n - 1] == ' ')
        n--;
    text->size = n;
    return true;
}
