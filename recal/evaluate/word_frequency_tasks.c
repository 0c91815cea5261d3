/* Tasks that count words, RULER's aggregation tasks (arXiv 2404.06654, section 3): the scene is one long list
 * of made-up words, and the question asks for the ones that occur most often.
 *
 *   common-words    five words make up a quarter of the list, all others are equally rare
 *   frequent-words  the words follow a power law; the three most frequent ones are asked for
 *
 * The answer is spread over the whole text, so there is no needle and no depth. */
#include "recal/evaluate/word_frequency_tasks.h"

#include <math.h>

enum { N_WORDS = 256 };      /* different words */
enum { COMMON_WORDS = 5 };   /* words that common-words asks for */
enum { FREQUENT_WORDS = 3 }; /* words that frequent-words asks for */

/* Word i of 256, of two made-up syllables, with the space before it. Made-up words carry no expectation of
 * how often they occur in real text. */
static const char *made_word(Arena *a, size_t i) {
    static const char *const first[] = {"ba", "de", "fi", "go", "hu", "ka", "le", "mi",
                                        "no", "pu", "ra", "se", "ti", "vo", "wu", "za"};
    static const char *const last[] = {"bor", "dan", "fel", "gim", "lus", "mar", "nek", "pil",
                                       "rod", "sun", "tav", "vex", "wob", "yin", "zor", "kem"};
    return arena_printf(a, " %s%s", first[i / 16 % 16], last[i % 16]);
}

/* The probability that a place of the list has the word of rank i, 0 being the most frequent. Sums to 1 over
 * the words. */
typedef double (*Frequency)(size_t rank);

/* A quarter of the list is shared by the common words, three quarters by all others. */
static double common_frequency(size_t rank) {
    return rank < COMMON_WORDS ? 0.25 / COMMON_WORDS : 0.75 / (N_WORDS - COMMON_WORDS);
}

/* 1 / rank^2, counted from 1, over the sum of that for 256 words: 0.61, 0.15, 0.07, ... */
static double power_law_frequency(size_t rank) {
    return 1 / ((double)(rank + 1) * (double)(rank + 1) * 1.6410334);
}

/* A random rank with that distribution. */
static size_t draw_rank(Frequency f, Random *r) {
    double at = random_unit(r);
    size_t i = 0;
    while (i < N_WORDS - 1 && (at -= f(i)) >= 0)
        i++;
    return i;
}

/* Fills the scene with words drawn by `f` and asks for the `asked` most frequent ones. */
static bool make_list(const EvalTaskInput *in, Random *r, Scene *s, Frequency f, size_t asked,
                      const char *question, Error *e) {
    size_t word_of_rank[N_WORDS] = {0}, tokens = 0;
    /* 1. Which word has which rank: a random permutation (Fisher-Yates shuffle, built from the front). */
    for (size_t i = 0; i < N_WORDS; i++) {
        size_t j = random_below(r, i + 1);
        word_of_rank[i] = word_of_rank[j];
        word_of_rank[j] = i;
    }
    /* 2. The question. Answers are written without the space before the word. */
    scene_add_questions(s, 1);
    Question *q = s->questions;
    q->text = question;
    for (size_t i = 0; i < asked; i++)
        text_list_add(&q->answers, made_word(&s->arena, word_of_rank[i]) + 1);
    /* 3. The list, as long as there is room. */
    size_t used = question_tokens(in->tokenizer, q);
    if (!scene_check_room(in->length, used, e)) return false;
    for (;;) {
        const char *word = made_word(&s->arena, word_of_rank[draw_rank(f, r)]);
        tokens += tokenizer_count(in->tokenizer, word);
        if (tokens + used > in->length) return true;
        text_list_add(&s->sentences, word);
    }
}

/* common-words: five words of equal, high frequency. */
static bool make_common(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_list(in, r, s, common_frequency, COMMON_WORDS,
                     "\nThe five most common words in the list are:", e);
}

/* frequent-words: the three first ranks of the power law. */
static bool make_frequent(const EvalTaskInput *in, Random *r, Scene *s, Error *e) {
    return make_list(in, r, s, power_law_frequency, FREQUENT_WORDS,
                     "\nThe three most frequent words in the list are:", e);
}

const EvalTask eval_task_common_words = {.name = "common-words",
                                         .help = "the five words that make up a quarter of a long list",
                                         .make = make_common};
const EvalTask eval_task_frequent_words = {
    .name = "frequent-words", .help = "the three most frequent words of a power law", .make = make_frequent};
