/* Needles in a haystack, as RULER defines them (arXiv 2404.06654, section 3): one key; several keys, all but
 * one of them distractors; several keys asked for at once; several values of one key. */
#include <stdlib.h>
#include <string.h>

#include "recal/evaluate/tasks.h"

enum { CANDIDATES = 10, SEVERAL = 4 };

/* "a, b, c" */
static const char *joined(Arena *a, const TextList *l, size_t from, size_t n) {
    Buffer out = {0};
    for (size_t i = 0; i < n; i++)
        buffer_printf(&out, "%s%s", i ? ", " : "", l->texts[from + i]);
    char *text = arena_strdup(a, buffer_string(&out));
    buffer_free(&out);
    return text;
}

/* Of all questions about a scene: keys and values lie one question after the other, then those of distractors
 * and values that no fact has. The first fact of a question is its needle; the others are scattered. */
typedef struct Needles {
    const TaskInput *in;
    Random *r;
    Scene *s;
    size_t keys_each, values_each; /* of a question: what is asked for */
    size_t distractors;
    TextList keys, values, scattered;
} Needles;

static const char *fact(const Needles *n, size_t key, size_t value) {
    return worded(&n->s->arena, n->in->wording->fact, n->keys.texts[key], n->values.texts[value]);
}

static void ask(Needles *n, size_t i) {
    Question *q = &n->s->questions[i];
    Arena *a = &n->s->arena;
    const Wording *w = n->in->wording;
    size_t facts = n->keys_each * n->values_each, key = i * n->keys_each, value = i * facts;
    for (size_t f = 0; f < facts; f++) {
        const char *text = fact(n, key + f / n->values_each, value + f);
        if (f)
            text_list_add(&n->scattered, text);
        else
            q->needle = text;
        text_list_add(&q->answers, n->values.texts[value + f]);
    }
    q->text = worded(a, facts == 1 ? w->question : w->questions, joined(a, &n->keys, key, n->keys_each), "");
    if (facts > 1) return;
    text_list_add(&q->candidates, n->values.texts[value]);
    for (size_t c = n->values.n; c-- > 0 && q->candidates.n < CANDIDATES;)
        if (c != value) text_list_add(&q->candidates, n->values.texts[c]);
}

/* Tokens that the longest question, its needle and all that is scattered take. */
static size_t tokens_used(const Needles *n) {
    size_t most = 0, used = 0;
    for (size_t i = 0; i < n->s->n_questions; i++) {
        const Question *q = &n->s->questions[i];
        size_t tokens = count_tokens(n->in->tokenizer, q->needle) + question_tokens(n->in->tokenizer, q);
        if (tokens > most) most = tokens;
    }
    for (size_t i = 0; i < n->scattered.n; i++)
        used += count_tokens(n->in->tokenizer, n->scattered.texts[i]);
    return most + used;
}

static bool build(Needles *n, Error *e) {
    Scene *s = n->s;
    size_t facts = n->keys_each * n->values_each, asked = s->n_questions;
    if (!draw_keys(n->in->wording, n->r, &s->arena, asked * n->keys_each + n->distractors, &n->keys, e) ||
        !draw_values(n->in->wording, n->r, &s->arena, asked * facts + CANDIDATES - 1, &n->values, e))
        return false;
    for (size_t i = 0; i < asked; i++)
        ask(n, i);
    for (size_t i = 0; i < n->distractors; i++)
        text_list_add(&n->scattered, fact(n, asked * n->keys_each + i, asked * facts + i));
    size_t used = tokens_used(n);
    if (!scene_room(n->in, used, e)) return false;
    fill_with_hay(n->in->haystack, n->r, n->in->length - used, &s->sentences);
    for (size_t i = 0; i < n->scattered.n; i++)
        insert_somewhere(&s->sentences, n->r, n->scattered.texts[i]);
    return true;
}

static bool make(const TaskInput *in, Random *r, Scene *s, size_t keys, size_t values, size_t distractors,
                 Error *e) {
    Needles n = {
        .in = in, .r = r, .s = s, .keys_each = keys, .values_each = values, .distractors = distractors};
    if (keys * values > 1 && !in->wording->questions)
        return error_set(e, ERR_INPUT, "the wording has no \"questions\" for several keys or values");
    scene_questions(s, in->n_questions);
    bool ok = build(&n, e);
    free(n.keys.texts);
    free(n.values.texts);
    free(n.scattered.texts);
    return ok;
}

static bool make_single(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, 1, 1, 0, e);
}

static bool make_multikey(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, 1, 1, SEVERAL - 1, e);
}

static bool make_multiquery(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, SEVERAL, 1, 0, e);
}

static bool make_multivalue(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, 1, SEVERAL, 0, e);
}

const Task task_needle = {.name = "needle",
                          .help = "one fact in a long text, asked for at its end",
                          .has_depth = true,
                          .make = make_single};
const Task task_multikey = {.name = "needle-multikey",
                            .help = "the same among three facts about other keys",
                            .has_depth = true,
                            .make = make_multikey};
const Task task_multiquery = {.name = "needle-multiquery",
                              .help = "four facts asked for at once",
                              .has_depth = true,
                              .make = make_multiquery};
const Task task_multivalue = {.name = "needle-multivalue",
                              .help = "the four values of one key",
                              .has_depth = true,
                              .make = make_multivalue};
