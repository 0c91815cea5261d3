/* The pool: tasks are taken without a lock, threads sleep under one.
 *
 * One call of pool_run that uses the threads is a *round*. The word `open` describes it: the number of the
 * round in the upper 32 bits, the number of tasks that nobody has taken yet in the lower 32 bits. A thread
 * takes a task by a compare-and-exchange of `open` with `open - 1`.
 *
 * Why this is correct, with the orders of memory that it relies on (all atomic operations are sequentially
 * consistent, the default of <stdatomic.h>; acquire and release would suffice):
 *
 * 1. A thread that takes a task sees the task's description. The caller writes `task`, `context` and
 * `n_tasks` as plain variables and then stores `open` (a release). A thread's successful exchange reads that
 * store, or a value that other threads' exchanges made of it, which continue its release sequence (an
 * acquire). So the plain writes happen before the task runs.
 * 2. The description does not change while a task uses it. The caller starts the next round only when
 * `finished` has reached `n_tasks`, and a thread adds to `finished` after its task has returned.
 * 3. The caller sees what the tasks wrote. Each thread's addition to `finished` is a release; the caller's
 * loop that waits for the last of them is an acquire.
 * 4. A late thread takes nothing from a round that it did not see. If it read `open` in an earlier round, its
 * exchange fails, because the number of the round differs, and it reads `open` again. (The number repeats
 * after 2^32 rounds; a thread would have to be suspended in between two instructions for exactly that many.)
 * 5. No wake-up is lost. A thread looks whether there is work while it holds the mutex, and only then waits;
 * the caller changes `open` while it holds the mutex. So the change comes before the look, or the broadcast
 * after the wait.
 *
 * The caller waits for tasks to finish and not for threads to have looked: a thread that the system has
 * suspended, for example because another program runs on its processor, holds up nobody unless it has taken a
 * task. */
#include "recal/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/buffer.h"

typedef struct Worker {
    struct Pool *pool;
    int number; /* what tasks see as `thread` */
    pthread_t thread;
} Worker;

struct Pool {
    int n;                     /* threads, the caller included */
    Worker *workers;           /* (n): workers[0] is unused, because thread 0 is the caller */
    pthread_mutex_t lock;      /* for going to sleep; see 5. above */
    pthread_cond_t start;      /* a round has begun, or the pool ends */
    atomic_uint_fast64_t open; /* round << 32 | tasks not taken yet */
    atomic_size_t finished;    /* tasks of this round that have returned */
    atomic_int quit;           /* 1: the threads end */
    /* The description of the round; see 1. and 2. above. */
    void (*task)(void *context, size_t i, int thread);
    void *context;
    size_t n_tasks;
};

/* How often a thread looks for work before it sleeps. The rounds of a layer follow each other within
 * microseconds, and sleeping and being woken takes longer than that. */
enum { SPINS = 20000 };
static const uint64_t LOW = UINT32_MAX; /* the lower half of `open` */

/* Tells the processor that this thread is waiting in a loop. */
static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes and runs tasks until none is left to take. Tasks are numbered downwards in `open` and upwards for the
 * task. */
static void work(Pool *p, int thread) {
    uint_fast64_t open = atomic_load(&p->open);
    while (open & LOW) {
        if (!atomic_compare_exchange_weak(&p->open, &open, open - 1)) continue;
        /* From here to the addition to `finished` the round cannot end, so its description stays as it is. */
        p->task(p->context, p->n_tasks - (open & LOW), thread);
        atomic_fetch_add(&p->finished, 1);
        open = atomic_load(&p->open);
    }
}

/* Nothing to take and no reason to end. */
static bool idle(Pool *p) {
    return !(atomic_load(&p->open) & LOW) && !atomic_load(&p->quit);
}

static void *worker_main(void *argument) {
    Worker *w = argument;
    Pool *p = w->pool;
    while (!atomic_load(&p->quit)) {
        for (int i = 0; i < SPINS && idle(p); i++)
            relax();
        pthread_mutex_lock(&p->lock);
        while (idle(p))
            pthread_cond_wait(&p->start, &p->lock);
        pthread_mutex_unlock(&p->lock);
        work(p, w->number);
    }
    return NULL;
}

/* Processors that this process may use; taskset and containers may have restricted them. */
static int processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

Pool *pool_new(int n) {
    Pool *p = xcalloc(1, sizeof *p);
    p->n = n > 0 ? n : processors();
    p->workers = xcalloc((size_t)p->n, sizeof *p->workers);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->start, NULL);
    int started = 1;
    for (; started < p->n; started++) {
        Worker *w = &p->workers[started];
        *w = (Worker){.pool = p, .number = started};
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) break;
    }
    p->n = started; /* fewer than asked for if the system refused one */
    return p;
}

void pool_free(Pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->quit, 1);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->n; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->start);
    free(p->workers);
    free(p);
}

int pool_size(const Pool *p) {
    return p->n;
}

/* Opens a round of what p->task and p->context describe, works on it, and waits until all of it is
 * finished. */
static void run_round(Pool *p, size_t n_tasks) {
    p->n_tasks = n_tasks;
    atomic_store(&p->finished, 0);
    pthread_mutex_lock(&p->lock);
    uint64_t round = (atomic_load(&p->open) >> 32) + 1;
    atomic_store(&p->open, round << 32 | n_tasks);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    /* Other threads may still be running the last tasks. After a while the processor is offered to them. */
    for (int i = 0; atomic_load(&p->finished) < n_tasks; i++)
        i < SPINS ? relax() : (void)sched_yield();
}

void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context) {
    /* Nothing to share out, or more tasks than the lower half of `open` can count. */
    if (p->n == 1 || n_tasks <= 1 || n_tasks > LOW) {
        for (size_t i = 0; i < n_tasks; i++)
            task(context, i, 0);
        return;
    }
    p->task = task;
    p->context = context;
    run_round(p, n_tasks);
}
