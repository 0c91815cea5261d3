/* A pool of threads that share out numbered tasks.
 *
 * Tasks of one call must be independent: no task may write what another one reads or writes. The results then
 * do not depend on which thread ran which task, nor on the number of threads, unless the caller itself cuts
 * the work by pool_size. */
#ifndef DEROPE_RECAL_THREADS_H
#define DEROPE_RECAL_THREADS_H

#include <stddef.h>

typedef struct Pool Pool;

/* Starts a pool of `n` threads, the calling thread included; 0: as many as there are processors that this
 * process may use. If the system refuses to start some of them, the pool is smaller. Free with pool_free. */
Pool *pool_new(int n);
/* Ends the threads. No pool_run may be going on. NULL is allowed. */
void pool_free(Pool *p);
/* The number of threads, the calling thread included. */
int pool_size(const Pool *p);
/* Calls task(context, i, thread) for every i < n_tasks, and returns when all calls have returned. Everything
 * that the tasks wrote is then visible to the caller. `thread` is 0 .. pool_size - 1 and no two tasks run at
 * the same time with the same `thread`, so it can be an index into per-thread scratch memory. Must not be
 * called from within a task, nor by two threads at once. */
void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context);

#endif
