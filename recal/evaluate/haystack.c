/* Sentences for needle-in-a-haystack tasks, cut from texts of the user or generated.
 * cmd/evaluate/eval_measure.c opens one for each model, because tokens are counted by its tokenizer, and the
 * tasks fill their scenes from it (haystack_fill) up to a number of tokens. */
#include "recal/evaluate/haystack.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "recal/text_data.h"

/* ---- sentences of a text ---- */

/* Bytes after which a sentence is cut where it has no full stop: at its last white space, or between two
 * characters if it has none (text in Chinese, for example). */
enum { MAX_SENTENCE = 400 };

/* The end of the sentence that begins at `at`: the place behind a full stop, question or exclamation mark
 * that white space follows. The white space belongs to the next sentence, since tokenizers attach a space to
 * the word behind it. */
static size_t sentence_end(const char *s, size_t at, size_t n) {
    size_t space = 0;
    for (size_t i = at + 1; i < n; i++) {
        bool blank = isspace((unsigned char)s[i]);
        if (blank && strchr(".!?", s[i - 1])) return i;
        if (blank) space = i;
        if (i - at > MAX_SENTENCE && space) return space;
        if (i - at > MAX_SENTENCE && (s[i] & 0xc0) != 0x80) return i;
    }
    return n;
}

/* Collects the text of all files. */
typedef struct Collector {
    Buffer text;
    uint64_t max; /* bytes */
} Collector;

/* A TextSink: takes documents as they are read, with a newline behind each. Returning false ends the reading
 * once there is enough. */
static bool collect(void *context, const char *path, const char *text, size_t n, bool end, Error *e) {
    (void)path, (void)e;
    Collector *c = context;
    if (c->text.size + n > c->max) n = c->max - c->text.size;
    buffer_append(&c->text, text, n);
    if (end) buffer_byte(&c->text, '\n');
    return c->text.size < c->max;
}

/* Whether a text has nothing but white space. */
static bool is_blank(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && isspace((unsigned char)s[i]))
        i++;
    return i == n;
}

/* Adds all sentences of the text that have more than white space. */
static void cut_sentences(Haystack *h, Buffer *text) {
    const char *s = buffer_string(text);
    for (size_t at = 0, end; at < text->size; at = end) {
        end = sentence_end(s, at, text->size);
        if (!is_blank(s + at, end - at))
            text_list_add(&h->sentences, arena_strndup(&h->arena, s + at, end - at));
    }
}

/* ---- generated sentences: "The miller walked along the river in the morning." ---- */

static const char *const who[] = {"the miller",  "a traveller", "the old clerk", "my neighbour",
                                  "the captain", "her brother", "the gardener",  "a stranger"};
static const char *const did[] = {"walked along", "looked for", "painted",     "remembered",
                                  "passed by",    "swept",      "wrote about", "waited near"};
static const char *const what[] = {"the river",  "the empty road", "a wooden bridge", "the market",
                                   "the garden", "an open window", "the harbour",     "the long wall"};
static const char *const when[] = {"in the morning",   "before the rain",     "after supper",
                                   "late in the year", "when the bells rang", "without a word",
                                   "as always",        "for a while"};

enum { GENERATED = 4000, GENERATOR_SEED = 7 };

/* Four parts of eight phrases each make 4096 different sentences. The seed is fixed, so every model and every
 * run is measured with the same ones. */
static void generate_sentences(Haystack *h) {
    Random r = random_seeded(GENERATOR_SEED);
    for (int i = 0; i < GENERATED; i++) {
        char *s = arena_printf(&h->arena, " %s %s %s %s.", who[random_below(&r, 8)], did[random_below(&r, 8)],
                               what[random_below(&r, 8)], when[random_below(&r, 8)]);
        s[1] = (char)toupper((unsigned char)s[1]);
        text_list_add(&h->sentences, s);
    }
}

/* ---- the haystack ---- */

bool haystack_open(const char *const *paths, size_t n, const char *field, uint64_t max_bytes,
                   const Tokenizer *t, Haystack *out, Error *e) {
    *out = (Haystack){0};
    /* 1. Read the texts. That the sink ended the reading because it had enough is no error. */
    Collector c = {.max = max_bytes};
    bool ok = true;
    for (size_t i = 0; ok && i < n && c.text.size < c.max; i++)
        ok = text_data_read(paths[i], field, collect, &c, e) || c.text.size >= c.max;
    /* 2. Cut them into sentences. */
    if (n)
        cut_sentences(out, &c.text);
    else
        generate_sentences(out);
    buffer_free(&c.text);
    /* 3. Count the tokens of each sentence once, so that filling a scene is adding numbers. Joined sentences
     * may take a token more or less; evaluate_scene.c leaves room for that. */
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

enum { MAX_SKIPPED = 64 }; /* sentences that are skipped because they are too long for the rest of the room */

void haystack_fill(const Haystack *h, Random *r, size_t tokens, TextList *out) {
    /* The scene gets consecutive sentences from a random place on, wrapping around at the end, so a text of
     * the user stays readable. */
    size_t n = h->sentences.n, at = random_below(r, n), sum = 0;
    for (size_t skipped = 0; skipped < n && skipped < MAX_SKIPPED; at = (at + 1) % n) {
        if (sum + h->tokens[at] > tokens) {
            skipped++;
            continue;
        }
        text_list_add(out, h->sentences.texts[at]);
        sum += h->tokens[at];
        /* The room shrinks by one token with each sentence, so that the loop ends even if sentences take no
         * tokens. */
        if (!tokens--) break;
    }
}
