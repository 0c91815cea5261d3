/* Tasks of exact recall, described in recall_tasks.c: "key-value", "copy" and "variable-tracking". */
#ifndef DEROPE_RECAL_EVALUATE_RECALL_TASKS_H
#define DEROPE_RECAL_EVALUATE_RECALL_TASKS_H

#include "recal/evaluate/eval_task.h"

extern const EvalTask eval_task_key_value, eval_task_copy, eval_task_variable_tracking;

#endif
