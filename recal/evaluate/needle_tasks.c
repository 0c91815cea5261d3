/* Needles in a haystack, as RULER defines them (arXiv 2404.06654, section 3): facts of the form "the magic
 * number of KEY is VALUE" are hidden in ordinary sentences and asked for at the end of the text. The four
 * tasks differ in what one question asks for and in what else is hidden:
 *
 *   needle             one key, one value
 *   needle-multikey    one key, one value, among three facts about other keys (distractors)
 *   needle-multiquery  four keys at once, one value each
 *   needle-multivalue  one key with four values
 *
 * The first fact of a question is its needle, which is inserted at the depth that is measured. All other
 * facts of a scene lie at random places. */
#include "recal/evaluate/needle_tasks.h"

#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 10 }; /* possible answers that a question is ranked among */
enum { SEVERAL = 4 };     /* keys or values of the multi tasks */

/* "a, b, c": `n` texts of the list from the place `from` on, as one text in the arena. */
static const char *join_texts(Arena *a, const TextList *l, size_t from, size_t n) {
    Buffer out = {0};
    for (size_t i = 0; i < n; i++)
        buffer_printf(&out, "%s%s", i ? ", " : "", l->texts[from + i]);
    char *text = arena_strdup(a, buffer_string(&out));
    buffer_free(&out);
    return text;
}

/* A scene while it is made. `keys` and `values` are laid out question by question: `keys_each` keys and
 * `keys_each * values_each` values for each. Behind them come the keys and values of the distractors, and
 * last the values that no fact has, which only serve as wrong candidates. */
typedef struct NeedleScene {
    const EvalTaskInput *in;
    Random *r;
    Scene *s;
    size_t keys_each;   /* keys that one question asks for */
    size_t values_each; /* values that each key has */
    size_t distractors; /* facts that no question asks for */
    TextList keys, values;
    TextList scattered; /* facts that go to random places */
} NeedleScene;

/* The sentence that states fact (key, value), with the scene's wording, in the arena. */
static const char *make_fact(const NeedleScene *n, size_t key, size_t value) {
    return wording_fill(&n->s->arena, n->in->wording->fact, n->keys.texts[key], n->values.texts[value]);
}

/* Fills in question i: its facts, its text, its answers, and its candidates if it has one answer. */
static void make_question(NeedleScene *n, size_t i) {
    Question *q = &n->s->questions[i];
    Arena *a = &n->s->arena;
    const Wording *w = n->in->wording;
    size_t facts = n->keys_each * n->values_each, key = i * n->keys_each, value = i * facts;
    for (size_t f = 0; f < facts; f++) {
        const char *text = make_fact(n, key + f / n->values_each, value + f);
        if (f)
            text_list_add(&n->scattered, text);
        else
            q->needle = text;
        text_list_add(&q->answers, n->values.texts[value + f]);
    }
    q->text = wording_fill(a, facts == 1 ? w->question : w->questions,
                           join_texts(a, &n->keys, key, n->keys_each), "");
    if (facts > 1) return;
    /* The right answer comes first. The wrong ones are taken from the end of the list, so that those which
     * occur in no fact are used before values of other facts. */
    text_list_add(&q->candidates, n->values.texts[value]);
    for (size_t c = n->values.n; c-- > 0 && q->candidates.n < CANDIDATES;)
        if (c != value) text_list_add(&q->candidates, n->values.texts[c]);
}

/* Tokens that are not hay: those of the longest question with its needle, and of all scattered facts. */
static size_t tokens_used(const NeedleScene *n) {
    size_t most = 0, used = 0;
    for (size_t i = 0; i < n->s->n_questions; i++) {
        const Question *q = &n->s->questions[i];
        size_t tokens = tokenizer_count(n->in->tokenizer, q->needle) + question_tokens(n->in->tokenizer, q);
        if (tokens > most) most = tokens;
    }
    for (size_t i = 0; i < n->scattered.n; i++)
        used += tokenizer_count(n->in->tokenizer, n->scattered.texts[i]);
    return most + used;
}

/* Makes the scene in three steps; the caller frees the lists of `n` in any case. */
static bool build_scene(NeedleScene *n, Error *e) {
    Scene *s = n->s;
    size_t facts = n->keys_each * n->values_each, asked = s->n_questions;
    /* 1. Draw all keys and values, and a few values more for wrong candidates. */
    if (!wording_draw_keys(n->in->wording, n->r, &s->arena, asked * n->keys_each + n->distractors, &n->keys,
                           e) ||
        !wording_draw_values(n->in->wording, n->r, &s->arena, asked * facts + CANDIDATES - 1, &n->values, e))
        return false;
    /* 2. Write the questions and the facts. */
    for (size_t i = 0; i < asked; i++)
        make_question(n, i);
    for (size_t i = 0; i < n->distractors; i++)
        text_list_add(&n->scattered, make_fact(n, asked * n->keys_each + i, asked * facts + i));
    /* 3. Fill the rest of the length with ordinary sentences, and scatter the facts among them. */
    size_t used = tokens_used(n);
    if (!scene_check_room(n->in->length, used, e)) return false;
    haystack_fill(n->in->haystack, n->r, n->in->length - used, &s->sentences);
    for (size_t i = 0; i < n->scattered.n; i++)
        text_list_insert(&s->sentences, n->r, n->scattered.texts[i]);
    return true;
}

/* A scene with the given numbers of keys, values and distractors, on which all four tasks are built. */
static bool make_scene(const EvalTaskInput *in, Random *r, Scene *s, size_t keys, size_t values,
                       size_t distractors, Error *e) {
    NeedleScene n = {
        .in = in, .r = r, .s = s, .keys_each = keys, .values_each = values, .distractors = distractors};
    if (keys * values > 1 && !in->wording->questions)
        return error_set(e, ERR_INPUT, "the wording has no \"questions\" for several keys or values");
    scene_add_questions(s, in->n_questions);
    bool ok = build_scene(&n, e);
    free(n.keys.texts);
    free(n.values.texts);
    free(n.scattered.texts);
    return ok;
}

/* needle: one key, one value, nothing else hidden. */
static bool make_single(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_scene(in, r, s, 1, 1, 0, e);
}

/* needle-multikey: three facts about other keys can be confused with the right one. */
static bool make_multikey(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_scene(in, r, s, 1, 1, SEVERAL - 1, e);
}

/* needle-multiquery: one question asks for four keys. */
static bool make_multiquery(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_scene(in, r, s, SEVERAL, 1, 0, e);
}

/* needle-multivalue: one key has four values, and all of them are asked for. */
static bool make_multivalue(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_scene(in, r, s, 1, SEVERAL, 0, e);
}

const EvalTask eval_task_needle = {.name = "needle",
                                   .help = "one fact in a long text, asked for at its end",
                                   .has_depth = true,
                                   .make = make_single};
const EvalTask eval_task_multikey = {.name = "needle-multikey",
                                     .help = "one fact among three facts about other keys",
                                     .has_depth = true,
                                     .make = make_multikey};
const EvalTask eval_task_multiquery = {.name = "needle-multiquery",
                                       .help = "four facts asked for at once",
                                       .has_depth = true,
                                       .make = make_multiquery};
const EvalTask eval_task_multivalue = {.name = "needle-multivalue",
                                       .help = "the four values of one key",
                                       .has_depth = true,
                                       .make = make_multivalue};
