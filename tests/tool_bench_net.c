/* Tokens per second of the forward pass and of training on a model's own weights,
 * or on random ones where there is only a config.json.
 *   tool_bench_net MODEL [B] [T] [REPEATS]      prints JSON; B sequences of T tokens */
#include "formats/checkpoint_open.h"
#include "recal/train_batch.h"
#include "surgery/model_open.h"
#include "tests/bench.h"

/* Best of `repeats`. */
static double forward_rate(Net *n, const int32_t *ids, size_t T, int repeats) {
    Error e = {0};
    double best = 0;
    KvCache *kv = kv_new(n, T, &e);
    if (!kv) fail(&e);
    for (int i = 0; i < repeats; i++) {
        double start = clock_seconds();
        kv_clear(kv);
        if (!net_run(n, kv, ids, T, 0, ignore, NULL, &e)) fail(&e);
        double rate = (double)T / (clock_seconds() - start);
        if (rate > best) best = rate;
    }
    kv_free(kv);
    return best;
}

static double decode_rate(Net *n, const int32_t *ids, size_t tokens) {
    Error e = {0};
    KvCache *kv = kv_new(n, tokens + 1, &e);
    if (!kv || !net_run(n, kv, ids, 1, 0, ignore, NULL, &e)) fail(&e);
    double start = clock_seconds();
    for (size_t i = 0; i < tokens; i++)
        if (!net_run(n, kv, ids + i, 1, 0, ignore, NULL, &e)) fail(&e);
    kv_free(kv);
    return (double)tokens / (clock_seconds() - start);
}

static double training_rate(Net *n, Net *teacher, const int32_t *ids, size_t B, size_t T, int repeats) {
    Error e = {0};
    double best = 0, loss;
    float *grads = big_alloc(n->n_weights, sizeof *grads, "gradients", &e);
    if (!grads) fail(&e);
    Batch b = {.ids = ids,
               .targets = ids + 1,
               .B = B,
               .T = T,
               .objective = objective_by_name(teacher ? "distill" : "next-token"),
               .teacher = teacher,
               .grad_scale = 1,
               .grads = grads};
    for (int i = 0; i < repeats; i++) {
        double start = clock_seconds();
        if (!net_train_batch(n, &b, &loss, &e)) fail(&e);
        double rate = (double)(B * T) / (clock_seconds() - start);
        if (rate > best) best = rate;
    }
    free(grads);
    return best;
}

int main(int argc, char **argv) {
    gemm_select_kernels(argv);
    if (argc < 2) return 2;
    size_t B = argc > 2 ? strtoul(argv[2], NULL, 10) : 4, T = argc > 3 ? strtoul(argv[3], NULL, 10) : 512;
    int repeats = argc > 4 ? atoi(argv[4]) : 3;
    Error e = {0};
    Checkpoint *c = checkpoint_open(argv[1], &e);
    bool weights = c != NULL;
    if (!weights) c = checkpoint_open_config(argv[1], true, &e);
    Model *m = weights ? model_open(c, &e) : c ? model_open_config(c, &e) : NULL;
    Net *n = !m ? NULL : weights ? net_open(m, 0, &e) : net_random(m, 1, 0, &e);
    if (!n) fail(&e);
    int32_t *ids = some_ids(n, B * T + 1);
    double forward = forward_rate(n, ids, T, repeats), decode = decode_rate(n, ids, T < 32 ? T : 32);
    double training = training_rate(n, NULL, ids, B, T, repeats),
           distill = training_rate(n, n, ids, B, T, repeats);
    printf("{\"B\": %zu, \"T\": %zu, \"forward\": %.1f, \"decode\": %.1f, \"training\": %.1f, "
           "\"distillation\": %.1f}\n",
           B, T, forward, decode, training, distill);
    free(ids);
    net_close(n);
    model_close(m);
    checkpoint_close(c);
    return 0;
}
