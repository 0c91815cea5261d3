/* Tasks of exact recall:
 *
 *   key-value          a text of nothing but facts "the magic number of KEY is VALUE"; one is asked for
 *   copy               a line of words is hidden in ordinary text; the question begins the line again, and
 * the model has to continue it variable-tracking  assignments "VAR b = VAR a" are scattered in ordinary text;
 * all names that end up with the same value are asked for (RULER, arXiv 2404.06654, section 3)
 *
 * They share the haystack and the wording of the needle tasks (needle_tasks.c). Each function `make_...`
 * fills a scene that evaluate_scene.c then asks about. */
#include "recal/evaluate/recall_tasks.h"

#include <stdlib.h>

/* ---- key-value ---- */

enum { CANDIDATES = 10 }; /* possible answers that a question is ranked among */

/* Fills the scene with facts until `room` tokens are taken or the wording has no further key. */
static bool add_facts(const EvalTaskInput *in, Random *r, Scene *s, TextList *keys, TextList *values,
                      size_t room, Error *e) {
    for (size_t tokens = 0;;) {
        Error no_more_keys = {0};
        if (!wording_draw_keys(in->wording, r, &s->arena, 1, keys, &no_more_keys)) break;
        /* Values of different keys may be equal, so each is drawn by itself. */
        TextList value = {0};
        if (!wording_draw_values(in->wording, r, &s->arena, 1, &value, e)) return false;
        const char *fact =
            wording_fill(&s->arena, in->wording->fact, keys->texts[keys->n - 1], value.texts[0]);
        text_list_add(values, value.texts[0]);
        free(value.texts);
        tokens += tokenizer_count(in->tokenizer, fact);
        if (tokens > room) { /* this fact does not fit any more */
            keys->n--;
            values->n--;
            break;
        }
        text_list_add(&s->sentences, fact);
    }
    return keys->n || error_set(e, ERR_INPUT, "a length of %zu tokens has no room for a fact and a question",
                                in->length);
}

/* Makes `q` ask for one of the facts, chosen at random. */
static void ask_for_fact(const EvalTaskInput *in, Random *r, Scene *s, Question *q, const TextList *keys,
                         const TextList *values) {
    size_t i = random_below(r, keys->n);
    q->text = wording_fill(&s->arena, in->wording->question, keys->texts[i], "");
    text_list_add(&q->answers, values->texts[i]);
    text_list_add(&q->candidates, values->texts[i]);
    Error ignored = {0}; /* a wording with few values gives fewer candidates */
    wording_draw_values(in->wording, r, &s->arena, CANDIDATES - 1, &q->candidates, &ignored);
}

/* The key-value task: the whole length but for the question is facts. Keys are distinct, values need not
 * be. */
static bool make_key_value(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    TextList keys = {0}, values = {0};
    Question sample = {0};
    Arena *a = &s->arena;
    /* 1. How many tokens a question takes is estimated by one of a random key and value. */
    bool ok = wording_draw_keys(in->wording, r, a, 1, &keys, e) &&
              wording_draw_values(in->wording, r, a, 1, &sample.answers, e);
    if (ok) sample.text = wording_fill(a, in->wording->question, keys.texts[0], "");
    size_t used = ok ? question_tokens(in->tokenizer, &sample) : 0;
    keys.n = 0;
    /* 2. Everything else is facts. */
    ok = ok && scene_check_room(in->length, used, e) &&
         add_facts(in, r, s, &keys, &values, in->length - used, e);
    /* 3. The questions. */
    if (ok) scene_add_questions(s, in->n_questions);
    for (size_t i = 0; ok && i < s->n_questions; i++)
        ask_for_fact(in, r, s, &s->questions[i], &keys, &values);
    free(keys.texts);
    free(values.texts);
    free(sample.answers.texts);
    return ok;
}

/* ---- copy ---- */

enum { COPIED_WORDS = 8 }; /* words of the line; the question repeats the first half of them */

/* Makes a line of eight words as the needle and its first half as the question; the second half has the
 * answers. */
static bool make_copy_question(const EvalTaskInput *in, Random *r, Scene *s, Question *q, Error *e) {
    TextList words = {0};
    if (!wording_draw_keys(in->wording, r, &s->arena, COPIED_WORDS, &words, e)) return false;
    Buffer line = {0}, beginning = {0};
    /* The line grows word by word; what it is in the middle becomes the question, and the words after that
     * the answers. */
    buffer_printf(&line, "\nSong:");
    for (size_t j = 0; j < COPIED_WORDS; j++) {
        if (j == COPIED_WORDS / 2) buffer_append(&beginning, line.data, line.size);
        buffer_printf(&line, " %s", words.texts[j]);
        if (j >= COPIED_WORDS / 2) text_list_add(&q->answers, words.texts[j]);
    }
    buffer_printf(&line, "\n");
    q->needle = arena_strdup(&s->arena, buffer_string(&line));
    q->text = arena_strdup(&s->arena, buffer_string(&beginning));
    buffer_free(&line);
    buffer_free(&beginning);
    free(words.texts);
    return true;
}

/* The copy task. All questions share the haystack, so room is left for the longest line and question. */
static bool make_copy(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    scene_add_questions(s, in->n_questions);
    size_t most = 0; /* tokens of the longest question with its needle */
    for (size_t i = 0; i < s->n_questions; i++) {
        Question *q = &s->questions[i];
        if (!make_copy_question(in, r, s, q, e)) return false;
        size_t tokens = tokenizer_count(in->tokenizer, q->needle) + question_tokens(in->tokenizer, q);
        if (tokens > most) most = tokens;
    }
    if (!scene_check_room(in->length, most, e)) return false;
    haystack_fill(in->haystack, r, in->length - most, &s->sentences);
    return true;
}

/* ---- variable-tracking ---- */

enum { CHAIN = 4 };              /* assignments */
enum { N_NAMES = 26 * 26 * 26 }; /* names are three capital letters, numbered in alphabetical order */
enum { NAME_STEP = 7919 };       /* from one name to the next; a prime, so that names do not repeat */

/* Puts the links of the chain between the sentences of the scene, in their order and evenly: every choice of
 * places is equally likely (selection sampling: place i of n is taken with the chance links left / places
 * left). */
static void scatter_in_order(Scene *s, Random *r, const char *const *links) {
    TextList hay = s->sentences;
    s->sentences = (TextList){0};
    for (size_t i = 0, link = 0; i <= hay.n; i++) {
        while (link < CHAIN && random_below(r, hay.n + 1 - i) < CHAIN - link) {
            text_list_add(&s->sentences, links[link++]);
            if (i < hay.n) break; /* one link for each place; the last place takes all that are left */
        }
        if (i < hay.n) text_list_add(&s->sentences, hay.texts[i]);
    }
    free(hay.texts);
}

/* The chain " VAR a = 12345.", " VAR b = VAR a.", " VAR c = VAR b.", ... */
static bool make_variable_tracking(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    Arena *a = &s->arena;
    scene_add_questions(s, 1);
    Question *q = s->questions;
    const char *number = arena_printf(a, "%zu", 10000 + random_below(r, 90000));
    /* The names are NAME_STEP apart in the alphabet, beginning at a random one. */
    const char *links[CHAIN];
    size_t used = 0, letters = random_below(r, N_NAMES);
    for (size_t i = 0; i < CHAIN; i++, letters = (letters + NAME_STEP) % N_NAMES) {
        const char *name = arena_printf(a, "%c%c%c", (int)('A' + letters / 676),
                                        (int)('A' + letters / 26 % 26), (int)('A' + letters % 26));
        links[i] = i ? arena_printf(a, " VAR %s = VAR %s.", name, q->answers.texts[i - 1])
                     : arena_printf(a, " VAR %s = %s.", name, number);
        text_list_add(&q->answers, name);
        used += tokenizer_count(in->tokenizer, links[i]);
    }
    q->text = arena_printf(a, "\nThe four variables that are assigned the value %s are:", number);
    used += question_tokens(in->tokenizer, q);
    if (!scene_check_room(in->length, used, e)) return false;
    haystack_fill(in->haystack, r, in->length - used, &s->sentences);
    scatter_in_order(s, r, links);
    return true;
}

const EvalTask eval_task_key_value = {
    .name = "key-value", .help = "a text of nothing but facts; one is asked for", .make = make_key_value};
const EvalTask eval_task_copy = {.name = "copy",
                                 .help = "a line of words hidden in a text, to be continued from its middle",
                                 .has_depth = true,
                                 .make = make_copy};
const EvalTask eval_task_variable_tracking = {.name = "variable-tracking",
                                              .help = "the names in a chain of assignments",
                                              .make = make_variable_tracking};
