/* A thread pool. pool_run divides numbered tasks among the threads.
 *
 * Tasks of one call must be independent: no task may write what another one reads or writes. The results then
 * do not depend on which thread ran which task, nor on the number of threads, unless the caller uses
 * pool_size to decide how the work is divided into tasks. */
#ifndef DEROPE_RECAL_THREADS_H
#define DEROPE_RECAL_THREADS_H

#include <stddef.h>

typedef struct Pool Pool;

/* Starts a pool of `n` threads, including the calling thread. If `n` is 0, the pool has one thread for each
 * processor that this process may use. If the system cannot start all of them, the pool is smaller. Free with
 * pool_free. */
Pool *pool_new(int n);
/* Ends the threads and frees the pool. No call of pool_run may be active. NULL is allowed. */
void pool_free(Pool *p);
/* The number of threads, including the calling thread. */
int pool_size(const Pool *p);
/* Calls task(context, i, thread) for every i < n_tasks, and returns when all calls have returned. Everything
 * that the tasks wrote is then visible to the caller. `thread` is 0 .. pool_size - 1 and no two tasks run at
 * the same time with the same `thread`, so it can be an index into per-thread scratch memory. Must not be
 * called from within a task, nor by two threads at once. */
void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context);

#endif
