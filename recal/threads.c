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
    int number;
    pthread_t thread;
} Worker;

/* `open` holds the round in its upper half and the tasks not yet taken in its lower: taking one is a single
 * exchange that fails for whoever comes late. A round is over when its tasks are, not when every worker has
 * looked: one that another program keeps off its processor holds nobody up. */
struct Pool {
    int n;
    Worker *workers; /* n - 1 of them: the caller works too */
    pthread_mutex_t lock;
    pthread_cond_t start;
    atomic_uint_fast64_t open;
    atomic_size_t finished; /* tasks of this round */
    atomic_int quit;
    void (*task)(void *context, size_t i, int thread);
    void *context;
    size_t n_tasks;
};

/* Rounds follow each other within microseconds: looking a while is cheaper than sleeping and being woken. */
enum { SPINS = 20000 };
static const uint64_t LOW = UINT32_MAX;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Runs tasks until none is left to take. */
static void work(Pool *p, int thread) {
    uint_fast64_t open = atomic_load(&p->open);
    while (open & LOW) {
        if (!atomic_compare_exchange_weak(&p->open, &open, open - 1)) continue;
        /* the round cannot end before this task does: what describes it stays */
        p->task(p->context, p->n_tasks - (open & LOW), thread);
        atomic_fetch_add(&p->finished, 1);
        open = atomic_load(&p->open);
    }
}

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
    p->n = started;
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

static void run_round(Pool *p, size_t n_tasks) {
    p->n_tasks = n_tasks;
    atomic_store(&p->finished, 0);
    pthread_mutex_lock(&p->lock);
    uint64_t round = (atomic_load(&p->open) >> 32) + 1;
    atomic_store(&p->open, round << 32 | n_tasks);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    for (int i = 0; atomic_load(&p->finished) < n_tasks; i++)
        i < SPINS ? relax() : (void)sched_yield();
}

void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context) {
    if (p->n == 1 || n_tasks <= 1 || n_tasks > LOW) {
        for (size_t i = 0; i < n_tasks; i++)
            task(context, i, 0);
        return;
    }
    p->task = task;
    p->context = context;
    run_round(p, n_tasks);
}
