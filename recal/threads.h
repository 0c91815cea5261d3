/* A pool of threads that share out numbered tasks. Tasks must not depend on each other; then results do not
 * depend on who ran what. */
#ifndef DEROPE_RECAL_THREADS_H
#define DEROPE_RECAL_THREADS_H

#include <stddef.h>

typedef struct Pool Pool;

/* `n` 0: as many as there are processors this process may use. The caller's thread is one of them. */
Pool *pool_new(int n);
void pool_free(Pool *p);
int pool_size(const Pool *p);
/* Calls task(context, i, thread) for i < n_tasks and returns when all are done. `thread` < pool_size. */
void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context);

#endif
