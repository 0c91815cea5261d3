/* The list of long-context tasks, from which cmd/evaluate takes their names, help and functions. To add one,
 * write its `make` beside related tasks or in a file of its own, and add it here: flags, recipes, help and
 * reports follow from this list. */
#include "recal/evaluate/eval_tasks.h"

#include <string.h>

#include "recal/evaluate/needle_tasks.h"
#include "recal/evaluate/recall_tasks.h"
#include "recal/evaluate/word_frequency_tasks.h"

/* The order is that of help texts, of the table that `derope run` prints, and of the measurements. */
const EvalTask *const eval_tasks[] = {&eval_task_needle,
                                      &eval_task_multikey,
                                      &eval_task_multiquery,
                                      &eval_task_multivalue,
                                      &eval_task_variable_tracking,
                                      &eval_task_common_words,
                                      &eval_task_frequent_words,
                                      &eval_task_copy,
                                      &eval_task_key_value,
                                      NULL};

const EvalTask *eval_task_by_name(const char *name) {
    for (const EvalTask *const *t = eval_tasks; *t; t++)
        if (strcmp((*t)->name, name) == 0) return *t;
    return NULL;
}
