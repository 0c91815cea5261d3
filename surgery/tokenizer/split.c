/* Pre-tokenisers: each cuts every piece of the one before. */
#include <string.h>

#include "surgery/tokenizer/internal.h"

const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

typedef struct Cutter {
    const Tokenizer *t;
    PieceSink sink;
    void *context;
    Error *e;
} Cutter;

/* `first`: the piece begins the text. */
static bool cut(const Cutter *c, size_t step, const char *p, size_t n, bool first);

/* One stretch, matched by the splitter or between matches. */
typedef struct Stretch {
    size_t from, to;
    bool matched;
} Stretch;

/* Keeps the open piece while behaviours join stretches. */
typedef struct Joiner {
    const Cutter *c;
    size_t step;
    const char *text;
    SplitBehavior behavior;
    size_t from, to; /* open piece */
    bool open, matched, first;
} Joiner;

static bool flush(Joiner *j) {
    bool was = j->open;
    j->open = false;
    return !was || cut(j->c, j->step + 1, j->text + j->from, j->to - j->from, j->first && j->from == 0);
}

static bool join(Joiner *j, Stretch s) {
    if (s.from == s.to) return true;
    if (j->behavior == SPLIT_REMOVED && s.matched) return flush(j);
    bool together = j->open && ((j->behavior == SPLIT_WITH_PREVIOUS && s.matched && !j->matched) ||
                                (j->behavior == SPLIT_WITH_NEXT && j->matched && !s.matched) ||
                                (j->behavior == SPLIT_CONTIGUOUS && j->matched == s.matched));
    if (!together) {
        if (!flush(j)) return false;
        j->from = s.from;
    }
    j->to = s.to;
    j->matched = s.matched;
    j->open = true;
    return true;
}

bool split_by_pattern(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    Joiner j = {.c = c, .step = step, .text = p, .behavior = s->behavior, .first = first};
    size_t at = 0, end = 0, span[2];
    int found;
    while ((found = pattern_find(s->pattern, p, n, at, span, c->e)) > 0) {
        if (!join(&j, (Stretch){end, span[0], s->invert}) ||
            !join(&j, (Stretch){span[0], span[1], !s->invert}))
            return false;
        end = at = span[1];
        if (span[1] == span[0] && !next_position(p, n, &at)) break;
        if (at == n) break;
    }
    return found >= 0 && join(&j, (Stretch){end, n, s->invert}) && flush(&j);
}

bool split_metaspace(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    Buffer text = {0};
    buffer_reserve(&text, n + 3);
    bool prepend = s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first);
    if (prepend && p[0] != ' ' && !(n >= 3 && memcmp(p, space_bar, 3) == 0))
        buffer_append(&text, space_bar, 3);
    for (size_t i = 0; i < n; i++)
        if (p[i] == ' ')
            buffer_append(&text, space_bar, 3);
        else
            buffer_byte(&text, (uint8_t)p[i]);
    const char *q = (char *)text.data;
    size_t from = 0;
    bool ok = true;
    for (size_t i = 3; ok && s->metaspace_split && i + 3 <= text.size; i++)
        if (memcmp(q + i, space_bar, 3) == 0) {
            ok = cut(c, step + 1, q + from, i - from, first && from == 0);
            from = i;
        }
    ok = ok && cut(c, step + 1, q + from, text.size - from, first && from == 0);
    buffer_free(&text);
    return ok;
}

bool split_prefix_space(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n,
                        bool first) {
    (void)s;
    if (p[0] == ' ') return cut(c, step + 1, p, n, first);
    Buffer text = {0};
    buffer_byte(&text, ' ');
    buffer_append(&text, p, n);
    bool ok = cut(c, step + 1, (char *)text.data, text.size, first);
    buffer_free(&text);
    return ok;
}

bool split_to_printable(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n,
                        bool first) {
    (void)s;
    Buffer text = {0};
    append_printable(&text, p, n);
    bool ok = cut(c, step + 1, (char *)text.data, text.size, first);
    buffer_free(&text);
    return ok;
}

static bool cut(const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    if (n == 0) return true;
    if (step == c->t->n_splitters) return c->sink(c->context, p, n, c->e);
    const Splitter *s = &c->t->splitters[step];
    return s->apply(s, c, step, p, n, first);
}

bool split_pieces(const Tokenizer *t, const char *text, size_t n, bool first, PieceSink sink, void *context,
                  Error *e) {
    Cutter c = {.t = t, .sink = sink, .context = context, .e = e};
    return cut(&c, 0, text, n, first);
}
