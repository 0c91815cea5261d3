/* What the two programs that measure speed share: tool_bench_net and tool_bench_prefill. */
#ifndef DEROPE_TESTS_BENCH_H
#define DEROPE_TESTS_BENCH_H

#include <stdio.h>
#include <stdlib.h>

#include "formats/clock.h"
#include "recal/gemm.h"
#include "recal/inference.h"

/* A LogitSink that ignores the logits; the measured time is that of computing them. */
static inline bool ignore(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)context, (void)first, (void)count, (void)logits, (void)e;
    return true;
}

/* Prints the error and ends the program. */
static inline void fail(const Error *e) {
    fprintf(stderr, "%s\n", e->message);
    exit(1);
}

/* `n` token ids spread over the whole vocabulary, so that the rows of the embedding are not all in cache; the
 * caller frees them. */
static inline int32_t *some_ids(const Net *net, size_t n) {
    int32_t *ids = xcalloc(n, sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * i * 7 % net->spec->vocab);
    return ids;
}

#endif
