/* Tasks that count words in a list, described in word_frequency_tasks.c: "common-words" and "frequent-words".
 */
#ifndef DEROPE_RECAL_EVALUATE_WORD_FREQUENCY_TASKS_H
#define DEROPE_RECAL_EVALUATE_WORD_FREQUENCY_TASKS_H

#include "recal/evaluate/eval_task.h"

extern const EvalTask eval_task_common_words, eval_task_frequent_words;

#endif
