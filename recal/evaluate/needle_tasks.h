/* The needle-in-a-haystack tasks, described in needle_tasks.c: "needle", "needle-multikey",
 * "needle-multiquery" and "needle-multivalue". */
#ifndef DEROPE_RECAL_EVALUATE_NEEDLE_TASKS_H
#define DEROPE_RECAL_EVALUATE_NEEDLE_TASKS_H

#include "recal/evaluate/eval_task.h"

extern const EvalTask eval_task_needle, eval_task_multikey, eval_task_multiquery, eval_task_multivalue;

#endif
