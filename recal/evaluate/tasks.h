/* The tasks, and what only they use. */
#ifndef DEROPE_RECAL_EVALUATE_TASKS_H
#define DEROPE_RECAL_EVALUATE_TASKS_H

#include "recal/evaluate/task.h"

extern const Task task_needle, task_multikey, task_multiquery, task_multivalue, task_tracking,
    task_common_words, task_frequent_words, task_copy, task_key_value;

/* `n` empty questions. */
void scene_questions(Scene *s, size_t n);
/* Tokens of the question's text and of all its answers with what joins them. */
size_t question_tokens(const Tokenizer *t, const Question *q);
/* Whether `used` tokens leave room for a scene; the error says what length there is. */
bool scene_room(const TaskInput *in, size_t used, Error *e);

#endif
