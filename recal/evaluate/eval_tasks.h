/* The list of long-context tasks that `derope eval --suite` offers beside perplexity. */
#ifndef DEROPE_RECAL_EVALUATE_EVAL_TASKS_H
#define DEROPE_RECAL_EVALUATE_EVAL_TASKS_H

#include "recal/evaluate/eval_task.h"

/* All tasks, terminated by NULL. EvalOptions.tasks has one flag per task, in the same order. */
extern const EvalTask *const eval_tasks[];

/* The task of that name, or NULL. */
const EvalTask *eval_task_by_name(const char *name);

#endif
