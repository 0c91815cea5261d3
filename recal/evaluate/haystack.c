#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "recal/data.h"
#include "recal/evaluate/task.h"

void text_list_add(TextList *l, const char *text) {
    if (l->n == l->capacity) {
        l->capacity = 2 * l->capacity + 16;
        l->texts = xrealloc(l->texts, l->capacity * sizeof *l->texts);
    }
    l->texts[l->n++] = text;
}

size_t random_below(Random *r, size_t n) {
    return (size_t)(random_unit(r) * (double)n);
}

size_t count_tokens(const Tokenizer *t, const char *text) {
    TokenList ids = {0};
    Error ignored = {0};
    tokenizer_encode(t, text, strlen(text), false, &ids, &ignored);
    size_t n = ids.n;
    token_list_free(&ids);
    return n;
}

/* ---- sentences ---- */

/* bytes: what has no full stop is cut at a space, and what has no space between two characters */
enum { LONGEST = 400 };

/* Where the sentence that begins at `at` ends: behind a full stop, before white space. */
static size_t sentence_end(const char *s, size_t at, size_t n) {
    size_t space = 0;
    for (size_t i = at + 1; i < n; i++) {
        bool blank = isspace((unsigned char)s[i]);
        if (blank && strchr(".!?", s[i - 1])) return i;
        if (blank) space = i;
        if (i - at > LONGEST && space) return space;
        if (i - at > LONGEST && (s[i] & 0xc0) != 0x80) return i;
    }
    return n;
}

typedef struct Cutter {
    Haystack *h;
    Buffer text;
    uint64_t max;
} Cutter;

static bool keep_text(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    (void)path, (void)e;
    Cutter *c = context;
    if (c->text.size + n > c->max) n = c->max - c->text.size;
    buffer_append(&c->text, text, n);
    if (end) buffer_byte(&c->text, '\n');
    return c->text.size < c->max;
}

static bool is_blank(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && isspace((unsigned char)s[i]))
        i++;
    return i == n;
}

static void cut(Cutter *c) {
    const char *s = buffer_string(&c->text);
    for (size_t at = 0, end; at < c->text.size; at = end) {
        end = sentence_end(s, at, c->text.size);
        if (!is_blank(s + at, end - at))
            text_list_add(&c->h->sentences, arena_strndup(&c->h->arena, s + at, end - at));
    }
}

/* ---- sentences of our own ---- */

static const char *const who[] = {"the miller",  "a traveller", "the old clerk", "my neighbour",
                                  "the captain", "her brother", "the gardener",  "a stranger"};
static const char *const did[] = {"walked along", "looked for", "painted",     "remembered",
                                  "passed by",    "swept",      "wrote about", "waited near"};
static const char *const what[] = {"the river",  "the empty road", "a wooden bridge", "the market",
                                   "the garden", "an open window", "the harbour",     "the long wall"};
static const char *const when[] = {"in the morning",   "before the rain",     "after supper",
                                   "late in the year", "when the bells rang", "without a word",
                                   "as always",        "for a while"};

static void make_sentences(Haystack *h) {
    Random r = random_seeded(7);
    for (int i = 0; i < 4000; i++) {
        char *s = arena_printf(&h->arena, " %s %s %s %s.", who[random_below(&r, 8)], did[random_below(&r, 8)],
                               what[random_below(&r, 8)], when[random_below(&r, 8)]);
        s[1] = (char)toupper((unsigned char)s[1]);
        text_list_add(&h->sentences, s);
    }
}

bool haystack_open(const char *const *paths, size_t n, const char *field, uint64_t max_bytes,
                   const Tokenizer *t, Haystack *out, Error *e) {
    *out = (Haystack){0};
    Cutter c = {.h = out, .max = max_bytes};
    bool ok = true;
    for (size_t i = 0; ok && i < n && c.text.size < c.max; i++)
        ok = data_read(paths[i], field, keep_text, &c, e) || c.text.size >= c.max;
    if (n)
        cut(&c);
    else
        make_sentences(out);
    buffer_free(&c.text);
    out->tokens = xcalloc(out->sentences.n + 1, sizeof *out->tokens);
    for (size_t i = 0; ok && i < out->sentences.n; i++) {
        const char *s = out->sentences.texts[i];
        TokenList ids = {0};
        ok = tokenizer_encode(t, s, strlen(s), false, &ids, e);
        out->tokens[i] = (uint32_t)ids.n;
        token_list_free(&ids);
    }
    if (ok && !out->sentences.n) ok = error_set(e, ERR_INPUT, "%s: no text to hide anything in", paths[0]);
    if (!ok) haystack_close(out);
    return ok;
}

void haystack_close(Haystack *h) {
    free(h->sentences.texts);
    free(h->tokens);
    arena_free(&h->arena);
    *h = (Haystack){0};
}

enum { MOST_PASSED = 64 };

void fill_with_hay(const Haystack *h, Random *r, size_t tokens, TextList *out) {
    size_t n = h->sentences.n, at = random_below(r, n), sum = 0;
    for (size_t passed = 0; passed < n && passed < MOST_PASSED; at = (at + 1) % n) {
        if (sum + h->tokens[at] > tokens) {
            passed++;
            continue;
        }
        text_list_add(out, h->sentences.texts[at]);
        sum += h->tokens[at];
        if (!tokens--) break; /* sentences of no tokens end too */
    }
}

void insert_somewhere(TextList *l, Random *r, const char *text) {
    size_t at = random_below(r, l->n + 1);
    text_list_add(l, text);
    memmove(l->texts + at + 1, l->texts + at, (l->n - 1 - at) * sizeof *l->texts);
    l->texts[at] = text;
}
