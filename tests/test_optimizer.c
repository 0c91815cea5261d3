/* AdamW against a plain loop in double, and the learning rate at the corners of its schedule. */
#include "recal/optimizer.h"
#include "recal/train.h"
#include "surgery/model_open.h"
#include "tests/plain.h"

/* Matrices and vectors, one of them larger than what a thread takes at a time. */
static const char config[] =
    "{\"model_type\": \"qwen2\", \"vocab_size\": 5000, \"hidden_size\": 20, \"intermediate_size\": 24,"
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": 1,"
    "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true}";

typedef struct Fixture {
    Checkpoint *source;
    Model *model;
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    Error e = {0};
    f->source = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(f->source, "config.json", config, sizeof config - 1);
    f->model = model_open_config(f->source, &e);
    *state = f;
    return f->model ? 0 : -1;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    model_close(f->model);
    checkpoint_close(f->source);
    free(f);
    return 0;
}

static Net *random_net(const Fixture *f, int threads) {
    Error e = {0};
    Net *n = net_random(f->model, 7, threads, &e);
    if (!n) fail_msg("%s", e.message);
    return n;
}

static AdamW adamw(const Net *n, double clip) {
    AdamW o = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = clip};
    Error e = {0};
    assert_true(adamw_init(&o, n, &e));
    return o;
}

/* A gradient for every weight (none for the gaps between parameters), of very different sizes. */
static void random_gradient(Random *r, const Net *n, float *g) {
    memset(g, 0, n->n_weights * sizeof *g);
    for (size_t p = 0; p < n->n_params; p++) {
        double size = pow(10, (double)(p % 7) - 4);
        for (size_t i = 0; i < n->params[p].rows * n->params[p].cols; i++)
            g[n->params[p].offset + i] = (float)(size * random_normal(r));
    }
}

/* A plain AdamW in double: what arXiv 1711.05101 and torch.optim.AdamW do, after torch's clip_grad_norm_. */
typedef struct Plain {
    double *w, *m, *v;
    int step;
} Plain;

static double plain_norm(const float *g, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)g[i] * g[i];
    return sqrt(sum);
}

static void plain_step(Plain *a, const AdamW *o, const Net *n, const float *g) {
    double norm = plain_norm(g, n->n_weights), clip = o->clip > 0 ? fmin(1, o->clip / (norm + 1e-6)) : 1;
    a->step++;
    for (size_t p = 0; p < n->n_params; p++)
        for (size_t k = 0; k < n->params[p].rows * n->params[p].cols; k++) {
            size_t i = n->params[p].offset + k;
            double x = clip * g[i];
            if (n->params[p].rows > 1) a->w[i] -= o->lr * o->weight_decay * a->w[i];
            a->m[i] = o->beta1 * a->m[i] + (1 - o->beta1) * x;
            a->v[i] = o->beta2 * a->v[i] + (1 - o->beta2) * x * x;
            double m = a->m[i] / (1 - pow(o->beta1, a->step)), v = a->v[i] / (1 - pow(o->beta2, a->step));
            a->w[i] -= o->lr * m / (sqrt(v) + o->eps);
        }
}

static void steps_with(const Fixture *f, double clip) {
    Net *n = random_net(f, 2);
    AdamW o = adamw(n, clip);
    Plain a = {doubles(n->n_weights), doubles(n->n_weights), doubles(n->n_weights), 0};
    float *g = as_floats(a.w, n->n_weights);
    Random r = random_seeded(3);
    for (size_t i = 0; i < n->n_weights; i++)
        a.w[i] = n->weights[i];
    for (int step = 0; step < 20; step++) {
        random_gradient(&r, n, g);
        o.lr = 0.01 / (1 + step); /* a schedule changes it */
        plain_step(&a, &o, n, g);
        double norm = adamw_step(&o, n, g);
        assert_true(fabs(norm - plain_norm(g, n->n_weights)) < 1e-9 * norm);
        assert_close("weights", n->weights, a.w, n->n_weights, 1e-6, 0);
        assert_close("first moment", o.m, a.m, n->n_weights, 1e-6, 0);
        assert_close("second moment", o.v, a.v, n->n_weights, 1e-6, 0);
    }
    assert_int_equal(o.step, 20);
    for (size_t p = 0; p < n->n_params; p++) { /* each parameter, the small ones too, and the gaps */
        const Param32 *q = &n->params[p];
        size_t size = q->rows * q->cols, end = p + 1 < n->n_params ? q[1].offset : n->n_weights;
        assert_close("parameter", n->weights + q->offset, a.w + q->offset, size, 2e-6, 0);
        for (size_t i = q->offset + size; i < end; i++)
            assert_true(n->weights[i] == 0 && o.m[i] == 0 && o.v[i] == 0);
    }
    adamw_free(&o);
    free(a.w), free(a.m), free(a.v), free(g);
    net_close(n);
}

static void steps_are_adamws(void **state) {
    steps_with(*state, 0);    /* not clipped */
    steps_with(*state, 1);    /* clipped hard */
    steps_with(*state, 1e12); /* never reached */
}

/* Without a gradient what is left is decay, of matrices alone. */
static void matrices_decay_and_vectors_do_not(void **state) {
    Net *n = random_net(*state, 1), *before = random_net(*state, 1);
    AdamW o = adamw(n, 1);
    float *g = xcalloc(n->n_weights, sizeof *g);
    assert_true(adamw_step(&o, n, g) == 0);
    size_t vectors = 0;
    for (size_t p = 0; p < n->n_params; p++)
        for (size_t i = 0; i < n->params[p].rows * n->params[p].cols; i++) {
            float was = before->weights[n->params[p].offset + i], is = n->weights[n->params[p].offset + i];
            bool vector = n->params[p].rows == 1;
            vectors += vector;
            assert_true(vector ? is == was : fabsf(is - 0.999f * was) <= 1e-7f * fabsf(was));
        }
    assert_true(vectors > 0);
    adamw_free(&o);
    free(g);
    net_close(n);
    net_close(before);
}

/* The first step is lr times the gradient's sign, however small the gradient: the bias is corrected. */
static void the_first_step_is_a_whole_one(void **state) {
    Net *n = random_net(*state, 1), *before = random_net(*state, 1);
    AdamW o = adamw(n, 0);
    float *g = xcalloc(n->n_weights, sizeof *g);
    o.weight_decay = 0;
    for (size_t i = 0; i < n->params[0].rows * n->params[0].cols; i++)
        g[i] = i % 2 ? 1e-3f : -1e3f;
    adamw_step(&o, n, g);
    for (size_t i = 0; i < n->params[0].rows * n->params[0].cols; i++)
        assert_true(fabsf(n->weights[i] - before->weights[i] - (i % 2 ? -0.01f : 0.01f)) < 1e-6f);
    adamw_free(&o);
    free(g);
    net_close(n);
    net_close(before);
}

static void threads_change_nothing(void **state) {
    Net *nets[2] = {random_net(*state, 1), random_net(*state, 3)};
    for (int k = 0; k < 2; k++) {
        AdamW o = adamw(nets[k], 1);
        float *g = xcalloc(nets[k]->n_weights, sizeof *g);
        Random r = random_seeded(5);
        for (int step = 0; step < 3; step++) {
            random_gradient(&r, nets[k], g);
            adamw_step(&o, nets[k], g);
        }
        free(g);
        adamw_free(&o);
    }
    assert_memory_equal(nets[0]->weights, nets[1]->weights, nets[0]->n_weights * sizeof(float));
    net_close(nets[0]);
    net_close(nets[1]);
}

/* One bad gradient must not spoil the weights: nothing moves, and the norm tells. */
static void a_gradient_that_is_no_number_moves_nothing(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    Net *n = random_net(*state, 1), *before = random_net(*state, 1);
    AdamW o = adamw(n, 1);
    float *g = xcalloc(n->n_weights, sizeof *g);
    for (int i = 0; i < 3; i++) {
        g[n->n_weights / 2] = bad[i];
        assert_false(isfinite(adamw_step(&o, n, g)));
    }
    assert_memory_equal(n->weights, before->weights, n->n_weights * sizeof(float));
    assert_int_equal(o.step, 0);
    for (size_t i = 0; i < n->n_weights; i++)
        assert_true(o.m[i] == 0 && o.v[i] == 0);
    adamw_free(&o);
    free(g);
    net_close(n);
    net_close(before);
}

/* ---- the schedule ---- */

static TrainOptions rate(uint32_t warmup, double ratio) {
    TrainOptions o = train_defaults();
    o.lr = 1;
    o.warmup = warmup;
    o.min_lr_ratio = ratio;
    return o;
}

static double cosine(uint64_t i, uint64_t n, double ratio) {
    return ratio + (1 - ratio) * (1 + cos(M_PI * (double)i / (double)n)) / 2;
}

static void assert_rate(const TrainOptions *o, uint64_t i, uint64_t n, double expected) {
    double got = train_lr(o, i, n);
    if (fabs(got - expected) > 1e-12)
        fail_msg("step %d of %d: %.15g, expected %.15g", (int)i, (int)n, got, expected);
}

static void the_rate_at_its_corners(void **state) {
    (void)state;
    TrainOptions o = rate(10, 0.1);
    assert_rate(&o, 0, 1000, 0.1 * cosine(0, 1000, 0.1)); /* the first step moves already */
    assert_rate(&o, 8, 1000, 0.9 * cosine(8, 1000, 0.1));
    assert_rate(&o, 9, 1000, cosine(9, 1000, 0.1)); /* the tenth is warm */
    assert_rate(&o, 500, 1000, 0.55);
    assert_rate(&o, 1000, 1000, 0.1); /* where it would end */
    o = rate(0, 0.1);
    assert_rate(&o, 0, 1, 1); /* a single step */
    assert_rate(&o, 0, 9, 1); /* too few to warm up */
    assert_rate(&o, 0, 19, 1);
    assert_rate(&o, 0, 20, 0.5); /* a tenth */
    assert_rate(&o, 1, 20, cosine(1, 20, 0.1));
    assert_rate(&o, 0, 100000, 0.01); /* at most 100 */
    assert_rate(&o, 99, 100000, cosine(99, 100000, 0.1));
    o = rate(1, 1); /* neither warm-up nor decay */
    for (uint64_t i = 0; i < 50; i++)
        assert_rate(&o, i, 50, 1);
    o = rate(100, 0); /* a run shorter than its warm-up */
    assert_rate(&o, 0, 10, 0.01);
    assert_rate(&o, 9, 10, 0.1 * cosine(9, 10, 0));
    o = rate(20, 0.1);
    o.lr = 3e-4;
    for (uint64_t i = 20; i < 400; i++) /* falls, and stays above its floor */
        assert_true(train_lr(&o, i, 400) < train_lr(&o, i - 1, 400) && train_lr(&o, i, 400) >= 3e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_adamws),
        cmocka_unit_test(matrices_decay_and_vectors_do_not),
        cmocka_unit_test(the_first_step_is_a_whole_one),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_gradient_that_is_no_number_moves_nothing),
        cmocka_unit_test(the_rate_at_its_corners),
    };
    return cmocka_run_group_tests_name("optimizer", tests, set_up, tear_down);
}
