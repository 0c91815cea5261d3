/* Tokens per second of reading a text of one length: prefill (only the last token's logits are wanted) and
 * perplexity (those of the second half, as llama-perplexity scores).
 *   tool_bench_prefill MODEL T [REPEATS] [THREADS]      prints JSON, the best of the repeats */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "recal/gemm.h"
#include "recal/perplexity.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool ignore(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)context, (void)first, (void)count, (void)logits, (void)e;
    return true;
}

static double prefill_seconds(Net *n, const int32_t *ids, size_t T, Error *e) {
    KvCache *kv = kv_new(n, T, e);
    double start = now();
    bool ok = kv && net_run(n, kv, ids, T, T - 1, ignore, NULL, e);
    double seconds = now() - start;
    kv_free(kv);
    return ok ? seconds : -1;
}

static double perplexity_seconds(Net *n, const int32_t *ids, size_t T, Error *e) {
    Perplexity p;
    double start = now();
    bool ok = perplexity(n, ids, T, T, SCORE_HALF, -1, NULL, &p, e);
    return ok ? now() - start : -1;
}

int main(int argc, char **argv) {
    gemm_wake(argv);
    if (argc < 3) return 2;
    size_t T = strtoul(argv[2], NULL, 10);
    int repeats = argc > 3 ? atoi(argv[3]) : 1, threads = argc > 4 ? atoi(argv[4]) : 0;
    Error e = {0};
    Checkpoint *c = checkpoint_open(argv[1], &e);
    Model *m = c ? model_open(c, &e) : NULL;
    Net *n = m ? net_open(m, threads, &e) : NULL;
    double best[2] = {1e30, 1e30};
    int32_t *ids = xcalloc(T + 1, sizeof *ids);
    for (size_t i = 0; n && i <= T; i++)
        ids[i] = (int32_t)(i * i * 7 % n->spec->vocab);
    for (int i = 0; n && i < repeats; i++) {
        double seconds[] = {prefill_seconds(n, ids, T, &e), perplexity_seconds(n, ids, T, &e)};
        for (int k = 0; k < 2; k++)
            if (seconds[k] > 0 && seconds[k] < best[k]) best[k] = seconds[k];
    }
    if (e.code == ERR_NONE)
        printf("{\"prefill\": %.2f, \"perplexity\": %.2f}\n", (double)T / best[0], (double)T / best[1]);
    else
        fprintf(stderr, "%s\n", e.message);
    free(ids);
    net_close(n);
    model_close(m);
    checkpoint_close(c);
    return e.code == ERR_NONE ? 0 : 1;
}
