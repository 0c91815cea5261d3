/* The steps that cut text into pieces: HF's pre-tokenizers and the expressions of llama.cpp. The loaders fill
 * a SplitterList; encode.c calls split_pieces for each normalised segment. A piece goes through all steps by
 * recursion: a step cuts it and hands every part to the step behind it (cut), and the last one hands its
 * parts to the sink. The order of the pieces is therefore that of the text, and nothing is stored between the
 * steps. */
#include "surgery/tokenizer/split.h"

#include <string.h>

#include "surgery/tokenizer/byte_level.h"
#include "surgery/tokenizer/unicode.h"

/* From GPT-2's encoder.py; contractions, words, numbers, other characters, each with the space before it, and
 * the rest of white space. */
const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* One run of a segment through the list. */
typedef struct Cutter {
    const SplitterList *list;
    PieceSink sink; /* receives the pieces of the last step */
    void *context;  /* handed to the sink */
    Error *e;
} Cutter;

/* The list takes over the step's pattern, also when it is full and the step is refused. */
bool splitters_add(SplitterList *l, Splitter s, const char *where, Error *e) {
    if (l->n == MAX_SPLITTERS) {
        pattern_free(s.pattern);
        return error_set(e, ERR_INPUT, "%s: more than %d pre_tokenizers", where, MAX_SPLITTERS);
    }
    l->steps[l->n++] = s;
    return true;
}

void splitters_free(SplitterList *l) {
    for (size_t i = 0; i < l->n; i++)
        pattern_free(l->steps[i].pattern);
}

/* Hands a piece of n bytes to the step at `step`, or to the sink behind the last one. Empty pieces are
 * dropped. `first`: the piece begins the text, which matters for markers that are put in front. */
static bool cut(const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    if (n == 0) return true;
    if (step == c->list->n) return c->sink(c->context, p, n, c->e);
    const Splitter *s = &c->list->steps[step];
    return s->apply(s, c, step, p, n, first);
}

/* ---- cutting by a pattern ---- */

/* A stretch of the text: a match, or what lies between two matches. */
typedef struct Stretch {
    size_t from, to;
    bool matched; /* it counts as a match (with `invert`, the text between matches does) */
} Stretch;

/* Joins stretches into pieces as the behavior says. The last piece stays open until it is known what follows.
 */
typedef struct Joiner {
    const Cutter *c;
    size_t step; /* of the splitter that cuts */
    const char *text;
    SplitBehavior behavior;
    size_t from, to; /* the open piece */
    bool open;       /* there is one */
    bool matched;    /* the last stretch of the open piece was a match */
    bool first;      /* `text` begins the whole text */
} Joiner;

/* Hands the open piece on to the next step, if there is one, and closes it. */
static bool flush(Joiner *j) {
    bool was = j->open;
    j->open = false;
    return !was || cut(j->c, j->step + 1, j->text + j->from, j->to - j->from, j->first && j->from == 0);
}

/* Takes the next stretch: it extends the open piece, or closes it and begins a new one. The behaviors are
 * those of HF's SplitDelimiterBehavior: removed, isolated, merged with the text before or behind the match,
 * or contiguous (neighbours of one kind together). */
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

/* Walks over the matches from left to right and hands them, with the stretches between them, to a Joiner. */
bool split_by_pattern(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    Joiner j = {.c = c, .step = step, .text = p, .behavior = s->behavior, .first = first};
    size_t at = 0, end = 0, span[2];
    int found;
    /* Every match is preceded by a stretch without one, which may be empty; the last stretch follows the
     * loop. */
    while ((found = pattern_find(s->pattern, p, n, at, span, c->e)) > 0) {
        if (!join(&j, (Stretch){end, span[0], s->invert}) ||
            !join(&j, (Stretch){span[0], span[1], !s->invert}))
            return false;
        end = at = span[1];
        /* Behind an empty match the search goes on one character later. */
        if (span[1] == span[0] && !next_position(p, n, &at)) break;
        if (at == n) break;
    }
    return found >= 0 && join(&j, (Stretch){end, n, s->invert}) && flush(&j);
}

/* ---- other steps ---- */

/* Works on a copy, because writing spaces as markers changes the length of the text. */
bool split_metaspace(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n, bool first) {
    /* 1. Put a marker in front, unless there is a space or a marker. */
    Buffer text = {0};
    buffer_reserve(&text, n + SPACE_MARKER_SIZE);
    bool prepend = s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && first);
    if (prepend && p[0] != ' ' && !starts_with_marker(p, n))
        buffer_append(&text, space_marker, SPACE_MARKER_SIZE);
    /* 2. Write spaces as markers. */
    for (size_t i = 0; i < n; i++)
        if (p[i] == ' ')
            buffer_append(&text, space_marker, SPACE_MARKER_SIZE);
        else
            buffer_byte(&text, (uint8_t)p[i]);
    /* 3. Cut before each marker, so that it begins a piece. */
    const char *q = (char *)text.data;
    size_t from = 0;
    bool ok = true;
    for (size_t i = SPACE_MARKER_SIZE; ok && s->metaspace_split && i < text.size; i++)
        if (starts_with_marker(q + i, text.size - i)) {
            ok = cut(c, step + 1, q + from, i - from, first && from == 0);
            from = i;
        }
    ok = ok && cut(c, step + 1, q + from, text.size - from, first && from == 0);
    buffer_free(&text);
    return ok;
}

/* ByteLevel's add_prefix_space. Every piece gets the space, as in HF, where ByteLevel may stand behind other
 * steps. */
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

/* Does not cut: the piece goes on as one, in GPT-2's alphabet. encode.c turns the final pieces back into
 * bytes. */
bool split_to_printable(const Splitter *s, const Cutter *c, size_t step, const char *p, size_t n,
                        bool first) {
    (void)s;
    Buffer text = {0};
    append_printable(&text, p, n);
    bool ok = cut(c, step + 1, (char *)text.data, text.size, first);
    buffer_free(&text);
    return ok;
}

/* ---- all steps ---- */

bool split_pieces(const SplitterList *l, const char *text, size_t n, bool first, PieceSink sink,
                  void *context, Error *e) {
    Cutter c = {.list = l, .sink = sink, .context = context, .e = e};
    return cut(&c, 0, text, n, first);
}
