/* The training loop: what it learns, and that stopping, resuming and splitting batches change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recal/perplexity.h"
#include "recal/train.h"
#include "surgery/model_open.h"

static const char config[] =
    "{\"model_type\": \"llama\", \"vocab_size\": 40, \"hidden_size\": 32, \"intermediate_size\": 48,"
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true}";

enum { N_IDS = 1200, CONTEXT = 24 };

typedef struct Fixture {
    Checkpoint *source;
    Model *model;
    int32_t ids[N_IDS];
    char state[64];
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    Error e = {0};
    f->source = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(f->source, "config.json", config, sizeof config - 1);
    f->model = model_open_config(f->source, &e);
    if (!f->model) return -1;
    for (int i = 0; i < N_IDS; i++)
        f->ids[i] = (7 * i + i / 100) % 40;
    snprintf(f->state, sizeof f->state, "/tmp/derope-train-%ld.state", (long)getpid());
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    unlink(f->state);
    model_close(f->model);
    checkpoint_close(f->source);
    free(f);
    return 0;
}

static TrainOptions options(uint64_t steps) {
    TrainOptions o = train_defaults();
    o.objective = objective_by_name("next-token");
    o.context = CONTEXT;
    o.batch = 4;
    o.tokens = steps * o.batch * CONTEXT;
    o.lr = 5e-3;
    return o;
}

static Net *random_net(const Fixture *f) {
    Error e = {0};
    Net *n = net_random(f->model, 7, 2, &e);
    assert_non_null(n);
    return n;
}

/* Trains a fresh net; the caller closes it. */
static Net *trained(const Fixture *f, const TrainOptions *o, TrainResult *r) {
    Net *n = random_net(f);
    Error e = {0};
    if (!train_run(n, NULL, f->ids, N_IDS, o, r, &e)) fail_msg("%s", e.message);
    return n;
}

static void it_learns(void **state) {
    Fixture *f = *state;
    TrainOptions o = options(120);
    TrainResult r;
    Net *n = trained(f, &o, &r);
    assert_int_equal(r.steps, 120);
    assert_int_equal(r.tokens, o.tokens);
    assert_true(fabs(r.first - log(40)) < 0.6); /* random weights know nothing */
    assert_true(r.last < 0.5 * r.first);
    assert_int_equal(json_array_size(r.losses), 120);
    Perplexity p;
    Error e = {0};
    assert_true(perplexity(n, f->ids, N_IDS, CONTEXT, SCORE_ALL, -1, NULL, &p, &e));
    assert_true(p.nll < 0.5 * log(40));
    assert_int_equal(p.tokens, N_IDS / CONTEXT * (CONTEXT - 1));
    json_decref(r.losses);
    net_close(n);
}

static void seeds_repeat(void **state) {
    Fixture *f = *state;
    TrainOptions o = options(10);
    TrainResult r1, r2, r3;
    Net *a = trained(f, &o, &r1), *b = trained(f, &o, &r2);
    assert_memory_equal(a->weights, b->weights, a->n_weights * sizeof(float));
    o.seed = 2;
    Net *c = trained(f, &o, &r3);
    assert_memory_not_equal(a->weights, c->weights, a->n_weights * sizeof(float));
    json_decref(r1.losses);
    json_decref(r2.losses);
    json_decref(r3.losses);
    net_close(a);
    net_close(b);
    net_close(c);
}

static volatile int stop;

static void stop_after_seven(void *context, uint64_t done, uint64_t tokens, double loss, double lr,
                             double rate) {
    (void)context, (void)tokens, (void)loss, (void)lr, (void)rate;
    stop = done >= 7 * 4 * CONTEXT;
}

static void resuming_changes_nothing(void **state) {
    Fixture *f = *state;
    TrainOptions o = options(15);
    TrainResult whole, half;
    Net *straight = trained(f, &o, &whole), *stopped = random_net(f), *resumed = random_net(f);
    Error e = {0};
    stop = 0;
    o.state_path = f->state;
    o.stop = &stop;
    o.progress = stop_after_seven;
    assert_false(train_run(stopped, NULL, f->ids, N_IDS, &o, &half, &e));
    assert_int_equal(e.code, ERR_INTERRUPTED);
    assert_int_equal(half.steps, 7);
    json_decref(half.losses);
    stop = 0;
    o.stop = NULL;
    o.progress = NULL;
    o.resume = true;
    if (!train_run(resumed, NULL, f->ids, N_IDS, &o, &half, &e)) fail_msg("%s", e.message);
    assert_int_equal(half.steps, 15);
    assert_memory_equal(straight->weights, resumed->weights, straight->n_weights * sizeof(float));
    assert_true(json_equal(whole.losses, half.losses));
    assert_true(half.first == whole.first && half.last == whole.last);
    json_decref(half.losses);
    json_decref(whole.losses);
    net_close(straight);
    net_close(stopped);
    net_close(resumed);
}

static void another_runs_state_is_refused(void **state) {
    Fixture *f = *state;
    TrainOptions o = options(3);
    TrainResult r;
    o.state_path = f->state;
    Net *n = trained(f, &o, &r);
    json_decref(r.losses);
    Error e = {0};
    o.resume = true;
    o.lr = 1e-4;
    assert_false(train_run(n, NULL, f->ids, N_IDS, &o, &r, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, "was made with other options, data or model"));
    json_decref(r.losses);
    /* a damaged state of the right run */
    o.lr = 5e-3;
    FILE *file = fopen(f->state, "r+b");
    fseek(file, 2000, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, 2000, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_false(train_run(n, NULL, f->ids, N_IDS, &o, &r, &e));
    assert_non_null(strstr(e.message, "damaged (its hash does not match)"));
    json_decref(r.losses);
    net_close(n);
}

static void parts_make_the_same_batch(void **state) {
    Fixture *f = *state;
    TrainOptions o = options(1);
    TrainResult r1, r2;
    Net *whole = trained(f, &o, &r1);
    o.accumulate = 4;
    Net *parts = trained(f, &o, &r2);
    assert_true(fabs(r1.first - r2.first) < 1e-6);
    /* Adam's first step is lr times the gradient's sign: entries near zero may flip, the rest may not */
    size_t differ = 0;
    for (size_t i = 0; i < whole->n_weights; i++)
        differ += fabsf(whole->weights[i] - parts->weights[i]) > 1e-5f;
    assert_true(differ < whole->n_weights / 100);
    json_decref(r1.losses);
    json_decref(r2.losses);
    net_close(whole);
    net_close(parts);
}

static void the_rate_rises_and_falls(void **state) {
    (void)state;
    TrainOptions o = options(100);
    o.warmup = 10;
    o.lr = 1;
    o.min_lr_ratio = 0.1;
    assert_true(fabs(train_lr(&o, 0, 100) - 0.1) < 1e-3);
    assert_true(fabs(train_lr(&o, 4, 100) - 0.5 * (0.1 + 0.9 * 0.5 * (1 + cos(M_PI * 0.04)))) < 1e-9);
    assert_true(train_lr(&o, 9, 100) > 0.97);
    assert_true(fabs(train_lr(&o, 50, 100) - 0.55) < 1e-9);
    assert_true(train_lr(&o, 99, 100) < 0.102);
}

static void nonsense_is_refused(void **state) {
    Fixture *f = *state;
    Net *n = random_net(f);
    TrainResult r;
    Error e = {0};
    TrainOptions o = options(1);
    assert_false(train_run(n, NULL, f->ids, CONTEXT, &o, &r, &e));
    assert_string_equal(e.message, "the training text has 24 tokens, one sequence takes 25");
    assert_int_equal(e.code, ERR_INPUT);
    json_decref(r.losses);
    o.accumulate = 3;
    assert_false(train_run(n, NULL, f->ids, N_IDS, &o, &r, &e));
    assert_int_equal(e.code, ERR_USAGE);
    json_decref(r.losses);
    net_close(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(resuming_changes_nothing),
        cmocka_unit_test(another_runs_state_is_refused),
        cmocka_unit_test(parts_make_the_same_batch),
        cmocka_unit_test(the_rate_rises_and_falls),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
