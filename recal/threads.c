#include "recal/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "formats/buffer.h"

typedef struct Worker {
    struct Pool *pool;
    int number;
    pthread_t thread;
} Worker;

struct Pool {
    int n;
    Worker *workers; /* n - 1 of them: the caller works too */
    pthread_mutex_t lock;
    pthread_cond_t start;
    atomic_uint round;
    atomic_int busy;
    atomic_int quit;
    void (*task)(void *context, size_t i, int thread);
    void *context;
    size_t n_tasks;
    atomic_size_t next;
};

static void work(Pool *p, int thread) {
    size_t i;
    while ((i = atomic_fetch_add(&p->next, 1)) < p->n_tasks)
        p->task(p->context, i, thread);
}

/* Rounds follow each other within microseconds: looking a while is cheaper than sleeping and being woken. */
enum { SPINS = 20000 };

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void *worker_main(void *argument) {
    Worker *w = argument;
    Pool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&p->round) == seen && !atomic_load(&p->quit); i++)
            relax();
        pthread_mutex_lock(&p->lock);
        while (atomic_load(&p->round) == seen && !atomic_load(&p->quit))
            pthread_cond_wait(&p->start, &p->lock);
        pthread_mutex_unlock(&p->lock);
        if (atomic_load(&p->quit)) return NULL;
        seen = atomic_load(&p->round);
        work(p, w->number);
        atomic_fetch_sub(&p->busy, 1);
    }
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

void pool_run(Pool *p, size_t n_tasks, void (*task)(void *context, size_t i, int thread), void *context) {
    p->task = task;
    p->context = context;
    p->n_tasks = n_tasks;
    atomic_store(&p->next, 0);
    if (p->n == 1 || n_tasks <= 1) {
        work(p, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->busy, p->n - 1);
    atomic_fetch_add(&p->round, 1);
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    for (int i = 0; atomic_load(&p->busy); i++)
        i < SPINS ? relax() : (void)sched_yield();
}
