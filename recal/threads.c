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
    pthread_cond_t start, done;
    unsigned round;
    int busy;
    int quit;
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

static void *worker_main(void *argument) {
    Worker *w = argument;
    Pool *p = w->pool;
    unsigned seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->round == seen && !p->quit)
            pthread_cond_wait(&p->start, &p->lock);
        if (p->quit) break;
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        work(p, w->number);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0) pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
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
    pthread_cond_init(&p->done, NULL);
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
    p->quit = 1;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->n; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->start);
    pthread_cond_destroy(&p->done);
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
    p->busy = p->n - 1;
    p->round++;
    pthread_cond_broadcast(&p->start);
    pthread_mutex_unlock(&p->lock);
    work(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->busy)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
