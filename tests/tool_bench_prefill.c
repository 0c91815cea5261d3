/* Tokens per second of reading a text of one length: prefill (only the last token's logits are wanted) and
 * perplexity (those of the second half, as llama-perplexity scores).
 *   tool_bench_prefill MODEL T [THREADS]      prints JSON */
#include "formats/checkpoint_open.h"
#include "recal/perplexity.h"
#include "surgery/model_open.h"
#include "tests/bench.h"

static double prefill_rate(Net *n, const int32_t *ids, size_t T) {
    Error e = {0};
    KvCache *kv = kv_new(n, T, &e);
    double start = clock_seconds();
    if (!kv || !net_run(n, kv, ids, T, T - 1, ignore, NULL, &e)) fail(&e);
    double seconds = clock_seconds() - start;
    kv_free(kv);
    return (double)T / seconds;
}

static double perplexity_rate(Net *n, const int32_t *ids, size_t T) {
    Error e = {0};
    Perplexity p;
    double start = clock_seconds();
    if (!perplexity(n, ids, T, T, SCORE_HALF, -1, NULL, &p, &e)) fail(&e);
    return (double)T / (clock_seconds() - start);
}

int main(int argc, char **argv) {
    gemm_select_kernels(argv);
    if (argc < 3) return 2;
    size_t T = strtoul(argv[2], NULL, 10);
    Error e = {0};
    Checkpoint *c = checkpoint_open(argv[1], &e);
    Model *m = c ? model_open(c, &e) : NULL;
    Net *n = m ? net_open(m, argc > 3 ? atoi(argv[3]) : 0, &e) : NULL;
    if (!n) fail(&e);
    int32_t *ids = some_ids(n, T);
    double prefill = prefill_rate(n, ids, T), scored = perplexity_rate(n, ids, T);
    printf("{\"prefill\": %.2f, \"perplexity\": %.2f}\n", prefill, scored);
    free(ids);
    net_close(n);
    model_close(m);
    checkpoint_close(c);
    return 0;
}
