/* Lists of words: which of them come most often (common words and frequent words, after RULER). The scene is
 * all list: nothing stands at a depth. */
#include <math.h>

#include "recal/evaluate/tasks.h"

enum { WORDS = 256 };

/* Words that no text is needed for. */
static const char *made_word(Arena *a, size_t i) {
    static const char *const first[] = {"ba", "de", "fi", "go", "hu", "ka", "le", "mi",
                                        "no", "pu", "ra", "se", "ti", "vo", "wu", "za"};
    static const char *const last[] = {"bor", "dan", "fel", "gim", "lus", "mar", "nek", "pil",
                                       "rod", "sun", "tav", "vex", "wob", "yin", "zor", "kem"};
    return arena_printf(a, " %s%s", first[i / 16 % 16], last[i % 16]);
}

/* Chance that the list goes on with its i-th word. */
typedef double (*Frequency)(size_t i);

/* A quarter of the list is five words, the rest all others alike. */
static double common(size_t i) {
    return i < 5 ? 0.25 / 5 : 0.75 / (WORDS - 5);
}

/* A power law: 0.61, 0.15, 0.07, ... */
static double frequent(size_t i) {
    return 1 / ((double)(i + 1) * (double)(i + 1) * 1.6410334);
}

static size_t draw_word(Frequency f, Random *r) {
    double at = random_unit(r);
    size_t i = 0;
    while (i < WORDS - 1 && (at -= f(i)) >= 0)
        i++;
    return i;
}

static bool make(const TaskInput *in, Random *r, Scene *s, Frequency f, size_t asked, const char *text,
                 Error *e) {
    size_t order[WORDS], tokens = 0;
    for (size_t i = 0; i < WORDS; i++) { /* a shuffle as it grows */
        size_t j = random_below(r, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    scene_questions(s, 1);
    Question *q = s->questions;
    q->text = text;
    for (size_t i = 0; i < asked; i++)
        text_list_add(&q->answers, made_word(&s->arena, order[i]) + 1);
    size_t used = question_tokens(in->tokenizer, q);
    if (!scene_room(in, used, e)) return false;
    for (;;) {
        const char *word = made_word(&s->arena, order[draw_word(f, r)]);
        tokens += count_tokens(in->tokenizer, word);
        if (tokens + used > in->length) return true;
        text_list_add(&s->sentences, word);
    }
}

static bool make_common(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, common, 5, "\nThe five most common words in the list are:", e);
}

static bool make_frequent(const TaskInput *in, Random *r, Scene *s, Error *e) {
    return make(in, r, s, frequent, 3, "\nThe three most frequent words in the list are:", e);
}

const Task task_common_words = {.name = "common-words",
                                .help = "the five words that make up a quarter of a long list",
                                .make = make_common};
const Task task_frequent_words = {.name = "frequent-words",
                                  .help = "the three commonest of words that follow a power law",
                                  .make = make_frequent};
