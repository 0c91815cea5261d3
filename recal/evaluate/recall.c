/* Recall without a story: copying a sequence, a list of keys and values, and variables assigned to one
 * another (variable tracking, after RULER). */
#include <stdlib.h>

#include "recal/evaluate/tasks.h"

enum { CANDIDATES = 10, COPIED = 8, CHAIN = 4 };

/* ---- key and value ---- */

/* The scene is nothing but facts; each question asks for one of them. */
static bool fill_with_facts(const TaskInput *in, Random *r, Scene *s, TextList *keys, TextList *values,
                            size_t room, Error *e) {
    for (size_t tokens = 0;;) {
        Error full = {0};
        if (!draw_keys(in->wording, r, &s->arena, 1, keys, &full)) break; /* all there are */
        TextList value = {0};
        if (!draw_values(in->wording, r, &s->arena, 1, &value, e)) return false;
        const char *fact = worded(&s->arena, in->wording->fact, keys->texts[keys->n - 1], value.texts[0]);
        text_list_add(values, value.texts[0]);
        free(value.texts);
        tokens += count_tokens(in->tokenizer, fact);
        if (tokens > room) {
            keys->n--;
            values->n--;
            break;
        }
        text_list_add(&s->sentences, fact);
    }
    return keys->n ||
           error_set(e, ERR_INPUT, "%zu tokens have no room for a fact and a question", in->length);
}

static void ask_for(const TaskInput *in, Random *r, Scene *s, Question *q, const TextList *keys,
                    const TextList *values) {
    size_t i = random_below(r, keys->n);
    q->text = worded(&s->arena, in->wording->question, keys->texts[i], "");
    text_list_add(&q->answers, values->texts[i]);
    text_list_add(&q->candidates, values->texts[i]);
    Error none = {0};
    draw_values(in->wording, r, &s->arena, CANDIDATES - 1, &q->candidates, &none);
}

static bool make_key_value(const TaskInput *in, Random *r, Scene *s, Error *e) {
    TextList keys = {0}, values = {0};
    Question sample = {0};
    Arena *a = &s->arena;
    bool ok =
        draw_keys(in->wording, r, a, 1, &keys, e) && draw_values(in->wording, r, a, 1, &sample.answers, e);
    if (ok) sample.text = worded(a, in->wording->question, keys.texts[0], "");
    size_t used = ok ? question_tokens(in->tokenizer, &sample) : 0;
    keys.n = 0;
    ok = ok && scene_room(in, used, e) && fill_with_facts(in, r, s, &keys, &values, in->length - used, e);
    if (ok) scene_questions(s, in->n_questions);
    for (size_t i = 0; ok && i < s->n_questions; i++)
        ask_for(in, r, s, &s->questions[i], &keys, &values);
    free(keys.texts);
    free(values.texts);
    free(sample.answers.texts);
    return ok;
}

/* ---- copy ---- */

/* The needle is a line of keys; the question begins it again. */
static bool make_copy(const TaskInput *in, Random *r, Scene *s, Error *e) {
    scene_questions(s, in->n_questions);
    size_t most = 0;
    for (size_t i = 0; i < s->n_questions; i++) {
        Question *q = &s->questions[i];
        TextList words = {0};
        if (!draw_keys(in->wording, r, &s->arena, COPIED, &words, e)) return false;
        Buffer line = {0}, begun = {0};
        buffer_printf(&line, "\nSong:");
        for (size_t j = 0; j < COPIED; j++) {
            if (j == COPIED / 2) buffer_append(&begun, line.data, line.size);
            buffer_printf(&line, " %s", words.texts[j]);
            if (j >= COPIED / 2) text_list_add(&q->answers, words.texts[j]);
        }
        buffer_printf(&line, "\n");
        q->needle = arena_strdup(&s->arena, buffer_string(&line));
        q->text = arena_strdup(&s->arena, buffer_string(&begun));
        buffer_free(&line);
        buffer_free(&begun);
        free(words.texts);
        size_t tokens = count_tokens(in->tokenizer, q->needle) + question_tokens(in->tokenizer, q);
        if (tokens > most) most = tokens;
    }
    if (!scene_room(in, most, e)) return false;
    fill_with_hay(in->haystack, r, in->length - most, &s->sentences);
    return true;
}

/* ---- variables ---- */

/* A chain "VAR a = 12345", "VAR b = VAR a", ... scattered in order; all its names are asked for. */
static bool make_tracking(const TaskInput *in, Random *r, Scene *s, Error *e) {
    Arena *a = &s->arena;
    scene_questions(s, 1);
    Question *q = s->questions;
    const char *number = arena_printf(a, "%zu", 10000 + random_below(r, 90000));
    const char *links[CHAIN];
    size_t used = 0, letters = random_below(r, 26 * 26 * 26);
    for (size_t i = 0; i < CHAIN; i++, letters = (letters + 7919) % (26 * 26 * 26)) {
        const char *name = arena_printf(a, "%c%c%c", (int)('A' + letters / 676),
                                        (int)('A' + letters / 26 % 26), (int)('A' + letters % 26));
        links[i] = i ? arena_printf(a, " VAR %s = VAR %s.", name, q->answers.texts[i - 1])
                     : arena_printf(a, " VAR %s = %s.", name, number);
        text_list_add(&q->answers, name);
        used += count_tokens(in->tokenizer, links[i]);
    }
    q->text = arena_printf(a, "\nThe four variables that are assigned the value %s are:", number);
    used += question_tokens(in->tokenizer, q);
    if (!scene_room(in, used, e)) return false;
    fill_with_hay(in->haystack, r, in->length - used, &s->sentences);
    TextList hay = s->sentences;
    s->sentences = (TextList){0};
    for (size_t i = 0, link = 0; i <= hay.n; i++) {
        /* each place takes a link with the chance that spreads all of them evenly */
        while (link < CHAIN && random_below(r, hay.n + 1 - i) < CHAIN - link) {
            text_list_add(&s->sentences, links[link++]);
            if (i < hay.n) break;
        }
        if (i < hay.n) text_list_add(&s->sentences, hay.texts[i]);
    }
    free(hay.texts);
    return true;
}

const Task task_key_value = {
    .name = "key-value", .help = "a text of nothing but facts; one is asked for", .make = make_key_value};
const Task task_copy = {.name = "copy",
                        .help = "a line of words hidden in a text, to be gone on with from its middle",
                        .has_depth = true,
                        .make = make_copy};
const Task task_tracking = {
    .name = "variable-tracking", .help = "the names in a chain of assignments", .make = make_tracking};
