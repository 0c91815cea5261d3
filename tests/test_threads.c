/* The thread pool under stress: every task runs exactly once, nothing of a round leaks into the next, and
 * what one side wrote the other side sees. The counters are plain integers on purpose: were two threads ever
 * in one task, or in one thread number, at the same time, then `make check-tsan` (which runs this program
 * under the thread sanitizer) would report a data race where an atomic counter would hide it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/buffer.h"
#include "recal/threads.h"

enum { MOST_TASKS = 300, MOST_THREADS = 8 };

typedef struct Round {
    uint64_t number;           /* Written by the caller before each round and only read by tasks. */
    uint64_t seen[MOST_TASKS]; /* The number of the round in which task i ran last. */
    unsigned runs[MOST_TASKS]; /* How often task i has run. */
    uint64_t by[MOST_THREADS]; /* How many tasks each thread number has run. */
    unsigned long work;        /* Loops of each task that do nothing, so that tasks last differently long. */
} Round;

static void run_task(void *context, size_t i, int thread) {
    Round *r = context;
    for (volatile unsigned long k = 0; k < r->work * (i % 3); k++) {}
    r->seen[i] = r->number;
    r->runs[i]++;
    r->by[thread]++;
}

/* Runs `rounds` rounds of `n_tasks` tasks and checks after each that its tasks have run, once and in this
 * round. */
static void assert_rounds(Pool *p, size_t n_tasks, unsigned rounds, unsigned long work) {
    Round *r = xcalloc(1, sizeof *r);
    r->work = work;
    for (unsigned round = 1; round <= rounds; round++) {
        r->number = round;
        pool_run(p, n_tasks, run_task, r);
        for (size_t i = 0; i < n_tasks; i++) {
            assert_int_equal(r->seen[i], round);
            assert_int_equal(r->runs[i], round);
        }
    }
    uint64_t total = 0;
    for (int t = 0; t < MOST_THREADS; t++) {
        total += r->by[t];
        if (t >= pool_size(p)) assert_int_equal(r->by[t], 0);
    }
    assert_int_equal(total, (uint64_t)n_tasks * rounds);
    free(r);
}

static void every_task_runs_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        Pool *p = pool_new(threads);
        assert_int_equal(pool_size(p), threads);
        for (size_t n = 0; n <= MOST_TASKS; n = n * 2 + 1)
            assert_rounds(p, n, 20, 50);
        pool_free(p);
    }
}

/* Short rounds follow each other so closely that a worker which wakes late finds the next round in place of
 * its own. */
static void short_rounds_in_quick_succession(void **state) {
    (void)state;
    Pool *p = pool_new(4);
    assert_rounds(p, 2, 5000, 0);
    assert_rounds(p, 5, 5000, 0);
    pool_free(p);
}

/* Rounds of other sizes and other contexts alternate on one pool, with a pause now and then that is long
 * enough for the workers to stop spinning and to sleep on the condition variable. */
static void rounds_of_changing_size(void **state) {
    (void)state;
    static const size_t sizes[] = {3, 1, 64, 0, 2, MOST_TASKS};
    Pool *p = pool_new(3);
    for (unsigned i = 0; i < 600; i++) {
        if (i % 100 == 0)
            for (volatile unsigned long k = 0; k < 5000000; k++) {}
        assert_rounds(p, sizes[i % 6], 1, 0);
    }
    pool_free(p);
}

/* Freed before any work, right after work, and while workers are still on their way into their first wait. */
static void pools_come_and_go(void **state) {
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        Pool *p = pool_new(1 + (int)(i % MOST_THREADS));
        if (i % 2) assert_rounds(p, 10, 1, 0);
        pool_free(p);
    }
    pool_free(NULL);
}

typedef struct Nested {
    Pool *inner[MOST_THREADS]; /* One for each thread number of the outer pool. */
    size_t sums[MOST_TASKS];
} Nested;

typedef struct Sum {
    size_t parts[16];
} Sum;

static void store_index(void *context, size_t i, int thread) {
    (void)thread;
    Sum *s = context;
    s->parts[i] = i;
}

static void sum_inside(void *context, size_t i, int thread) {
    Nested *n = context;
    Sum s = {{0}};
    pool_run(n->inner[thread], 16, store_index, &s);
    for (size_t k = 0; k < 16; k++)
        n->sums[i] += s.parts[k];
}

/* Pools are independent of each other: one may be used inside a task of another. */
static void pools_side_by_side(void **state) {
    (void)state;
    Nested n = {{0}, {0}};
    Pool *outer = pool_new(3);
    for (int i = 0; i < 3; i++)
        n.inner[i] = pool_new(2);
    pool_run(outer, 200, sum_inside, &n);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(n.sums[i], 16 * 15 / 2);
    for (int i = 0; i < 3; i++)
        pool_free(n.inner[i]);
    pool_free(outer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),    cmocka_unit_test(short_rounds_in_quick_succession),
        cmocka_unit_test(rounds_of_changing_size), cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(pools_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
