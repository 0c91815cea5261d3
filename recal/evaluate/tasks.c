#include "recal/evaluate/tasks.h"

#include <stdlib.h>
#include <string.h>

const Task *const tasks[] = {
    &task_needle,       &task_multikey,       &task_multiquery, &task_multivalue, &task_tracking,
    &task_common_words, &task_frequent_words, &task_copy,       &task_key_value,  NULL};

const Task *task_by_name(const char *name) {
    for (const Task *const *t = tasks; *t; t++)
        if (strcmp((*t)->name, name) == 0) return *t;
    return NULL;
}

void scene_questions(Scene *s, size_t n) {
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

enum { BETWEEN = 3 }; /* tokens that may stand between two answers: a comma, a space, "and" */

size_t question_tokens(const Tokenizer *t, const Question *q) {
    size_t n = count_tokens(t, q->text);
    for (size_t i = 0; i < q->answers.n; i++)
        n += count_tokens(t, q->answers.texts[i]) + BETWEEN;
    return n;
}

bool scene_room(const TaskInput *in, size_t used, Error *e) {
    if (used <= in->length) return true;
    return error_set(e, ERR_INPUT, "%zu tokens have no room for facts and a question of %zu", in->length,
                     used);
}
