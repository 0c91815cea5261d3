/* Scenes and their questions: memory, and how many tokens a question needs. A task (needle_tasks.c,
 * recall_tasks.c, word_frequency_tasks.c) makes a scene, and evaluate_scene.c asks its questions. The texts
 * belong to the scene's arena; the arrays of the lists grow while a scene is made, so they are allocated by
 * themselves. */
#include "recal/evaluate/scene.h"

#include <stdlib.h>

void scene_add_questions(Scene *s, size_t n) {
    s->n_questions = n;
    s->questions = arena_alloc(&s->arena, n * sizeof *s->questions);
}

void scene_free(Scene *s) {
    for (size_t i = 0; i < s->n_questions; i++) {
        free(s->questions[i].answers.texts);
        free(s->questions[i].candidates.texts);
    }
    free(s->sentences.texts);
    arena_free(&s->arena);
    *s = (Scene){0};
}

/* Tokens that a model may put between two answers: a comma, a space, the word "and". */
enum { SEPARATOR_TOKENS = 3 };

/* The question's text and the answers that the model writes behind it both take part of the length. */
size_t question_tokens(const Tokenizer *t, const Question *q) {
    size_t n = tokenizer_count(t, q->text);
    for (size_t i = 0; i < q->answers.n; i++)
        n += tokenizer_count(t, q->answers.texts[i]) + SEPARATOR_TOKENS;
    return n;
}

bool scene_check_room(size_t length, size_t used, Error *e) {
    /* A scene that is too short for its facts is an error of the request, which the caller turns into a
     * notice. */
    if (used <= length) return true;
    return error_set(e, ERR_INPUT,
                     "a length of %zu tokens has no room for facts and a question, which take %zu", length,
                     used);
}
