/* Whole small nets of every kind of layer: logits, losses and gradients against the plain layers in double.
 */
#include "plain.h"

#include "recal/activations.h"
#include "recal/inference.h"
#include "recal/train_batch.h"
#include "surgery/rope_frequencies.h"

enum { LAYERS = 3, VOCAB = 23, WIDTH = 16, B = 2, T = 9 };

/* ---- the kinds ---- */

typedef struct Kind {
    const char *name;
    void (*change)(ModelSpec *s);
} Kind;

static ModelSpec base_spec(LayerSpec *layers) {
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (LayerSpec){.n_heads = 4,
                                .n_kv_heads = 2,
                                .head_dim = 6,
                                .position = POSITION_ROPE,
                                .rotary_dim = 6,
                                .rope_base = 100,
                                .softmax_scale = 1 / sqrt(6),
                                .ffn_dim = 20};
    return (ModelSpec){.n_layers = LAYERS,
                       .hidden_size = WIDTH,
                       .vocab = VOCAB,
                       .context = 6,
                       .norm_eps = 1e-5,
                       .embedding_scale = 1,
                       .residual_scale = 1,
                       .logit_scale = 1,
                       .layers = layers};
}

static void plain(ModelSpec *s) {
    (void)s;
}

static void tied(ModelSpec *s) {
    s->tied_head = true;
}

static void one_head_each(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].n_kv_heads = 4;
}

static void biases(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++) {
        LayerSpec *l = &s->layers[i];
        l->q_bias = l->k_bias = l->v_bias = l->o_bias = l->mlp_bias = true;
    }
    s->layers[1].o_bias = s->layers[1].mlp_bias = false;
}

static void windows(ModelSpec *s) {
    s->layers[0].window = 3;
    s->layers[1].window = 1000;
}

static void mixed(ModelSpec *s) {
    s->layers[1].position = POSITION_PARTIAL;
    s->layers[1].rotary_dim = 4;
    s->layers[2].position = POSITION_NOPE;
    s->layers[2].rotary_dim = 0;
    s->layers[0].window = 4;
}

static void nope(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].position = POSITION_NOPE, s->layers[i].rotary_dim = 0;
}

static void scaled_rope(ModelSpec *s) {
    s->layers[0].scaling = (RopeScaling){.kind = ROPE_SCALING_DYNAMIC, .factor = 2};
    s->layers[1].scaling = (RopeScaling){
        .kind = ROPE_SCALING_YARN, .factor = 4, .beta_fast = 32, .beta_slow = 1, .truncate = true};
    s->layers[2].scaling = (RopeScaling){.kind = ROPE_SCALING_LINEAR, .factor = 3};
    s->layers[2].rope_base = 7;
}

static void norm_heads(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].q_norm = s->layers[i].k_norm = QK_NORM_HEAD;
}

static void norm_width(ModelSpec *s) {
    s->layers[0].q_norm = s->layers[0].k_norm = s->layers[1].q_norm = s->layers[1].k_norm = QK_NORM_FULL;
    s->layers[0].q_bias = true;
}

static void norm_one_side(ModelSpec *s) {
    s->layers[0].q_norm = QK_NORM_FULL;
    s->layers[1].k_norm = QK_NORM_FULL;
    s->layers[2].k_norm = QK_NORM_HEAD;
}

static void sinks(ModelSpec *s) {
    s->layers[0].sinks = s->layers[2].sinks = true;
    s->layers[2].window = 3;
}

static void scales(ModelSpec *s) {
    s->embedding_scale = 3;
    s->residual_scale = 0.5;
    s->logit_scale = 1.7;
    s->layers[1].softmax_scale = 0.9;
}

static void unequal(ModelSpec *s) {
    s->layers[1].n_heads = 6, s->layers[1].n_kv_heads = 3, s->layers[1].head_dim = 8;
    s->layers[1].rotary_dim = 8;
    s->layers[2].ffn_dim = 40;
}

static void layer_norms(ModelSpec *s) {
    s->norm = NORM_LAYER;
    s->norm_bias = true;
}

static void parallel(ModelSpec *s) {
    layer_norms(s);
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].residual_layout = i == 2 ? RESIDUAL_SEQUENTIAL : RESIDUAL_PARALLEL;
    s->residual_scale = 0.7;
}

static void shared_norm(ModelSpec *s) {
    s->norm = NORM_LAYER;
    s->head_bias = true;
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].residual_layout = RESIDUAL_PARALLEL_SHARED_NORM;
}

static void post_norms(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++)
        s->layers[i].post_norms = s->layers[i].no_pre_norms = true;
    s->layers[1].q_norm = s->layers[1].k_norm = QK_NORM_FULL;
}

static void sandwich(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++) {
        s->layers[i].post_norms = true;
        s->layers[i].activation = ACT_GELU_TANH;
        s->layers[i].softcap = 2;
    }
    s->logit_softcap = 3;
}

static void ungated(ModelSpec *s) {
    for (int i = 0; i < LAYERS; i++) {
        s->layers[i].no_gate = true;
        s->layers[i].activation = ACT_GELU;
        s->layers[i].mlp_bias = i != 1;
    }
}

static void everything(ModelSpec *s) {
    biases(s), mixed(s), norm_heads(s), sinks(s), scales(s), unequal(s);
    s->layers[1].rotary_dim = 4;
    s->tied_head = true;
}

static const Kind kinds[] = {
    {"plain", plain},
    {"tied", tied},
    {"one head each", one_head_each},
    {"biases", biases},
    {"windows", windows},
    {"mixed", mixed},
    {"nope", nope},
    {"scaled rope", scaled_rope},
    {"norm of heads", norm_heads},
    {"norm of the width", norm_width},
    {"norm of one side", norm_one_side},
    {"sinks", sinks},
    {"scales", scales},
    {"unequal layers", unequal},
    {"layer norms", layer_norms},
    {"parallel", parallel},
    {"shared norm", shared_norm},
    {"post-norms", post_norms},
    {"sandwich", sandwich},
    {"no gate", ungated},
    {"everything", everything},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- a net, and the same in double ---- */

typedef struct Pair {
    LayerSpec layers[LAYERS];
    Model model;
    Net *net;
    double *weights; /* laid out as net->weights */
} Pair;

static void pair_new(Pair *p, const Kind *kind, uint64_t seed, int threads) {
    Error e = {0};
    *p = (Pair){0};
    p->model = (Model){.spec = base_spec(p->layers)};
    kind->change(&p->model.spec);
    p->net = net_random(&p->model, seed, threads, &e);
    assert_non_null(p->net);
    p->weights = doubles(p->net->n_weights);
    Random r = random_seeded(seed + 1);
    for (size_t i = 0; i < p->net->n_params; i++) { /* weights at which every term shows */
        const Param32 *q = &p->net->params[i];
        for (size_t j = q->offset; j < q->offset + q->rows * q->cols; j++)
            p->weights[j] = p->net->weights[j] =
                (float)(q->decay ? 0.35 * random_normal(&r) : 1 + 0.3 * random_normal(&r));
    }
}

static void pair_free(Pair *p) {
    net_close(p->net);
    free(p->weights);
}

static const double *at(const Pair *p, TensorRole role, int layer) {
    size_t offset = p->net->offsets[(size_t)(layer + 1) * ROLE_COUNT + role];
    return offset ? p->weights + offset - 1 : NULL;
}

/* y of x normed, or as it is where there is no norm */
static void plain_norm(const Pair *p, double *y, const double *x, TensorRole norm, TensorRole bias, int layer,
                       size_t N) {
    const ModelSpec *s = p->net->spec;
    const double *w = at(p, norm, layer);
    if (!w)
        memmove(y, x, N * s->hidden_size * sizeof *y);
    else if (s->norm == NORM_LAYER)
        plain_layernorm(y, x, w, at(p, bias, layer), N, s->hidden_size, s->norm_eps);
    else
        plain_rmsnorm(y, x, w, N, s->hidden_size, s->norm_eps);
}

static void plain_qk_norm(const Pair *p, double *x, QkNorm norm, TensorRole role, int layer, size_t N,
                          size_t heads) {
    const ModelSpec *s = p->net->spec;
    size_t dim = s->layers[layer].head_dim;
    if (norm == QK_NORM_HEAD) plain_rmsnorm(x, x, at(p, role, layer), N * heads, dim, s->norm_eps);
    if (norm == QK_NORM_FULL) plain_rmsnorm(x, x, at(p, role, layer), N, heads * dim, s->norm_eps);
}

/* What attention gives of `x`, before any post-norm. */
static void plain_attention_block(const Pair *p, int i, double *given, const double *x, size_t batch,
                                  size_t n) {
    const ModelSpec *s = p->net->spec;
    const LayerSpec *l = &s->layers[i];
    size_t N = batch * n, q_width = l->n_heads * l->head_dim, kv_width = l->n_kv_heads * l->head_dim;
    double *normed = doubles(N * s->hidden_size), *q = doubles(N * q_width), *k = doubles(N * kv_width);
    double *v = doubles(N * kv_width), *out = doubles(N * q_width), inv_freq[16];
    plain_norm(p, normed, x, ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, i, N);
    plain_linear(q, normed, at(p, ROLE_Q, i), at(p, ROLE_Q_BIAS, i), N, s->hidden_size, q_width);
    plain_linear(k, normed, at(p, ROLE_K, i), at(p, ROLE_K_BIAS, i), N, s->hidden_size, kv_width);
    plain_linear(v, normed, at(p, ROLE_V, i), at(p, ROLE_V_BIAS, i), N, s->hidden_size, kv_width);
    plain_qk_norm(p, q, l->q_norm, ROLE_Q_NORM, i, N, l->n_heads);
    plain_qk_norm(p, k, l->k_norm, ROLE_K_NORM, i, N, l->n_kv_heads);
    if (l->position != POSITION_NOPE) {
        double scale = rope_frequencies(s, l, n, inv_freq);
        plain_rope(q, inv_freq, scale, N, n, l->n_heads, l->head_dim, l->rotary_dim / 2);
        plain_rope(k, inv_freq, scale, N, n, l->n_kv_heads, l->head_dim, l->rotary_dim / 2);
    }
    PlainAttention a = {.T = n,
                        .heads = l->n_heads,
                        .kv_heads = l->n_kv_heads,
                        .dim = l->head_dim,
                        .window = l->window,
                        .scale = l->softmax_scale,
                        .softcap = l->softcap,
                        .sinks = at(p, ROLE_SINKS, i)};
    for (size_t b = 0; b < batch; b++)
        plain_attention(&a, out + b * n * q_width, q + b * n * q_width, k + b * n * kv_width,
                        v + b * n * kv_width);
    plain_linear(given, out, at(p, ROLE_O, i), at(p, ROLE_O_BIAS, i), N, q_width, s->hidden_size);
    free(normed), free(q), free(k), free(v), free(out);
}

static void plain_ffn_block(const Pair *p, int i, double *given, const double *x, size_t N) {
    const ModelSpec *s = p->net->spec;
    const LayerSpec *l = &s->layers[i];
    bool shared = l->residual_layout == RESIDUAL_PARALLEL_SHARED_NORM;
    size_t F = l->ffn_dim;
    double *normed = doubles(N * s->hidden_size), *gate = doubles(N * F), *up = doubles(N * F);
    plain_norm(p, normed, x, shared ? ROLE_ATTN_NORM : ROLE_FFN_NORM,
               shared ? ROLE_ATTN_NORM_BIAS : ROLE_FFN_NORM_BIAS, i, N);
    if (!l->no_gate)
        plain_linear(gate, normed, at(p, ROLE_GATE, i), at(p, ROLE_GATE_BIAS, i), N, s->hidden_size, F);
    plain_linear(up, normed, at(p, ROLE_UP, i), at(p, ROLE_UP_BIAS, i), N, s->hidden_size, F);
    plain_mlp(l->activation, gate, l->no_gate ? NULL : gate, up, N * F);
    plain_linear(given, gate, at(p, ROLE_DOWN, i), at(p, ROLE_DOWN_BIAS, i), N, F, s->hidden_size);
    free(normed), free(gate), free(up);
}

static void plain_add(const Pair *p, double *x, double *given, TensorRole post_norm, int layer, size_t N) {
    const ModelSpec *s = p->net->spec;
    plain_norm(p, given, given, post_norm, ROLE_OTHER, layer, N);
    for (size_t j = 0; j < N * s->hidden_size; j++)
        x[j] += s->residual_scale * given[j];
}

static void plain_layer(const Pair *p, int i, double *x, size_t batch, size_t n) {
    size_t N = batch * n, size = N * p->net->spec->hidden_size;
    double *attention = doubles(size), *mlp = doubles(size);
    plain_attention_block(p, i, attention, x, batch, n);
    if (p->net->spec->layers[i].residual_layout == RESIDUAL_SEQUENTIAL) {
        plain_add(p, x, attention, ROLE_ATTN_POST_NORM, i, N);
        plain_ffn_block(p, i, mlp, x, N);
    } else {
        plain_ffn_block(p, i, mlp, x, N);
        plain_add(p, x, attention, ROLE_ATTN_POST_NORM, i, N);
    }
    plain_add(p, x, mlp, ROLE_FFN_POST_NORM, i, N);
    free(attention), free(mlp);
}

/* Logits of `batch` sequences of n tokens, (batch * n, vocab). */
static double *plain_logits(const Pair *p, const int32_t *ids, size_t batch, size_t n) {
    const ModelSpec *s = p->net->spec;
    size_t N = batch * n;
    double *x = doubles(N * s->hidden_size), *logits = doubles(N * s->vocab);
    const double *embed = at(p, ROLE_EMBED, -1);
    for (size_t i = 0; i < N * s->hidden_size; i++)
        x[i] =
            s->embedding_scale * embed[(size_t)ids[i / s->hidden_size] * s->hidden_size + i % s->hidden_size];
    for (int i = 0; i < (int)s->n_layers; i++)
        plain_layer(p, i, x, batch, n);
    plain_norm(p, x, x, ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, -1, N);
    plain_linear(logits, x, s->tied_head ? embed : at(p, ROLE_HEAD, -1), NULL, N, s->hidden_size, s->vocab);
    const double *bias = at(p, ROLE_HEAD_BIAS, -1);
    for (size_t i = 0; i < N * s->vocab; i++)
        logits[i] =
            plain_softcap(logits[i] * s->logit_scale + (bias ? bias[i % s->vocab] : 0), s->logit_softcap);
    free(x);
    return logits;
}

static void random_ids(int32_t *ids, size_t n, uint64_t seed) {
    Random r = random_seeded(seed);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(random_u64(&r) % VOCAB);
}

/* ---- losses and gradients ---- */

typedef struct Scored {
    const Pair *p;
    const int32_t *ids, *targets;
    const double *teacher; /* logits or NULL */
} Scored;

static double plain_batch_loss(const Scored *c) {
    double *logits = plain_logits(c->p, c->ids, B, T), sum = 0;
    int scored = 0;
    for (size_t i = 0; i < B * T; i++)
        if (c->targets[i] >= 0) {
            scored++;
            sum += plain_loss(logits + i * VOCAB, c->teacher ? c->teacher + i * VOCAB : NULL, c->targets[i],
                              VOCAB);
        }
    free(logits);
    return sum / scored;
}

/* The slope of the loss along a random direction in one parameter: that of the net's gradient, and the plain
 * net's finite difference. */
static void check_slope(const Kind *kind, const Scored *c, const Param32 *q, const float *grads, Random *r) {
    double *w = c->p->weights + q->offset, h = 1e-5, slope = 0, norm = 0;
    size_t n = q->rows * q->cols;
    double *kept = doubles(n), *d = random_doubles(r, n, 1);
    memcpy(kept, w, n * sizeof *w);
    for (size_t i = 0; i < n; i++) {
        double g = grads[q->offset + i];
        slope += g * d[i];
        norm += g * g;
        w[i] = kept[i] + h * d[i];
    }
    double above = plain_batch_loss(c);
    for (size_t i = 0; i < n; i++)
        w[i] = kept[i] - h * d[i];
    double expected = (above - plain_batch_loss(c)) / (2 * h);
    memcpy(w, kept, n * sizeof *w);
    if (fabs(slope - expected) > 1e-4 * (sqrt(norm) + 1e-3))
        fail_msg("%s: role %d of layer %d: slope %g, by differences %g", kind->name, q->role, q->layer, slope,
                 expected);
    free(kept), free(d);
}

static void check_gradients(const Kind *kind, bool distill) {
    Pair p, t;
    Error e = {0};
    int32_t ids[B * T], targets[B * T];
    pair_new(&p, kind, 11, 2);
    pair_new(&t, &kinds[0], 12, 1); /* another kind than the student */
    random_ids(ids, B * T, 13);
    random_ids(targets, B * T, 14);
    targets[3] = targets[B * T - 1] = -1;
    double *teacher = distill ? plain_logits(&t, ids, B, T) : NULL, loss;
    Scored c = {.p = &p, .ids = ids, .targets = targets, .teacher = teacher};
    float *grads = xcalloc(p.net->n_weights, sizeof *grads);
    Batch b = {.ids = ids,
               .targets = targets,
               .B = B,
               .T = T,
               .objective = objective_by_name(distill ? "distill" : "next-token"),
               .teacher = distill ? t.net : NULL,
               .grads = grads,
               .grad_scale = 1};
    assert_true(net_train_batch(p.net, &b, &loss, &e));
    double expected = plain_batch_loss(&c);
    if (fabs(loss - expected) > 1e-5 * expected) fail_msg("%s: loss %g, not %g", kind->name, loss, expected);
    Random r = random_seeded(15);
    for (size_t i = 0; i < p.net->n_params; i++)
        check_slope(kind, &c, &p.net->params[i], grads, &r);
    free(grads), free(teacher);
    pair_free(&p), pair_free(&t);
}

static void test_gradients_next_token(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++)
        check_gradients(&kinds[i], false);
}

static void test_gradients_distill(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++)
        check_gradients(&kinds[i], true);
}

static void test_batch_contract(void **state) {
    (void)state;
    Pair p;
    Error e = {0};
    int32_t ids[B * T], targets[B * T];
    pair_new(&p, &kinds[KINDS - 1], 21, 2);
    const Objective *next_token = objective_by_name("next-token");
    random_ids(ids, B * T, 22);
    random_ids(targets, B * T, 23);
    size_t n = p.net->n_weights;
    float *once = xcalloc(n, sizeof *once), *again = xcalloc(n, sizeof *again);
    Batch b = {.ids = ids,
               .targets = targets,
               .B = B,
               .T = T,
               .objective = next_token,
               .grads = once,
               .grad_scale = 1};
    double loss, same;
    assert_true(net_train_batch(p.net, &b, &loss, &e));
    b.grads = again;
    assert_true(net_train_batch(p.net, &b, &same, &e)); /* bit for bit, on two threads */
    assert_memory_equal(once, again, n * sizeof *once);
    assert_memory_equal(&loss, &same, sizeof loss);

    b.grad_scale = 0.5f; /* added to what is there, scaled */
    assert_true(net_train_batch(p.net, &b, &same, &e));
    double *expected = doubles(n);
    for (size_t i = 0; i < n; i++)
        expected[i] = 1.5 * once[i];
    assert_close("accumulated gradient", again, expected, n, 1e-6, 0);

    b.grads = NULL; /* the loss alone */
    assert_true(net_train_batch(p.net, &b, &same, &e));
    assert_true(fabs(same - loss) < 1e-7 * loss);

    b.grads = memset(again, 0, n * sizeof *again);
    for (int i = 0; i < B * T; i++)
        targets[i] = -1; /* nothing is scored, nothing is learnt */
    assert_true(net_train_batch(p.net, &b, &same, &e));
    assert_true(same == 0);
    for (size_t i = 0; i < n; i++)
        assert_true(again[i] == 0);
    free(once), free(again), free(expected);
    pair_free(&p);
}

static void test_batch_refuses(void **state) {
    (void)state;
    Pair p, other;
    Error e = {0};
    double loss;
    const Objective *next_token = objective_by_name("next-token"), *distill = objective_by_name("distill");
    int32_t ids[4] = {0, 1, VOCAB, 2}, targets[4] = {1, 2, 3, VOCAB + 7};
    pair_new(&p, &kinds[0], 31, 1);
    pair_new(&other, &kinds[0], 31, 1);
    Batch b = {.ids = ids, .targets = targets, .B = 1, .T = 4, .objective = next_token};
    assert_false(net_train_batch(p.net, &b, &loss, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_string_equal(e.message, "token 2 is 23, the vocabulary has 23");
    ids[2] = -1; /* only targets may be */
    assert_false(net_train_batch(p.net, &b, &loss, &e));
    ids[2] = 0;
    assert_false(net_train_batch(p.net, &b, &loss, &e));
    assert_string_equal(e.message, "token 3 is 30, the vocabulary has 23");
    targets[3] = -1;
    other.model.spec.vocab--;
    b.objective = distill;
    assert_false(net_train_batch(p.net, &b, &loss, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_string_equal(e.message, "the objective 'distill' needs a teacher");
    b.teacher = other.net;
    assert_false(net_train_batch(p.net, &b, &loss, &e));
    assert_string_equal(e.message, "the teacher's vocabulary has 22 tokens, the model's 23");
    pair_free(&p), pair_free(&other);
}

/* An objective that no table lists: nothing but the objective itself says how logits are scored. */
static void doubled_loss(const LossBlock *b) {
    LossBlock twice = *b;
    twice.scale *= 2;
    objective_by_name("next-token")->loss(&twice);
    for (size_t i = 0; i < b->rows; i++)
        b->losses[i] *= 2;
}

static void test_objective_of_ones_own(void **state) {
    (void)state;
    const Objective doubled = {.name = "doubled", .loss = doubled_loss};
    Pair p;
    Error e = {0};
    int32_t ids[B * T], targets[B * T];
    double loss, twice;
    pair_new(&p, &kinds[0], 91, 2);
    random_ids(ids, B * T, 92);
    random_ids(targets, B * T, 93);
    size_t n = p.net->n_weights;
    float *one = xcalloc(n, sizeof *one), *two = xcalloc(n, sizeof *two);
    Batch b = {.ids = ids, .targets = targets, .B = B, .T = T, .grad_scale = 1, .grads = one};
    b.objective = objective_by_name("next-token");
    assert_true(net_train_batch(p.net, &b, &loss, &e));
    b.objective = &doubled;
    b.grads = two;
    assert_true(net_train_batch(p.net, &b, &twice, &e));
    assert_true(fabs(twice - 2 * loss) < 1e-12);
    for (size_t i = 0; i < n; i++)
        assert_true(two[i] == 2 * one[i]); /* a factor of two rounds nothing */
    free(one), free(two);
    pair_free(&p);
}

/* Every kind of layer: the activations take exactly the bytes that were counted, kept for a backward pass or
 * not. */
static void test_activations_fill_their_workspace(void **state) {
    (void)state;
    static const size_t shapes[][2] = {{1, 1}, {1, 7}, {3, 5}, {2, 64}, {5, 33}};
    for (int i = 0; i < KINDS; i++)
        for (size_t j = 0; j < 2 * sizeof shapes / sizeof *shapes; j++) {
            Pair p;
            Error e = {0};
            ForwardPass f;
            const size_t *shape = shapes[j / 2];
            pair_new(&p, &kinds[i], 95, 1);
            assert_true(forward_pass_new(&f, p.net, shape[0], shape[1], j % 2, &e));
            assert_true(workspace_is_full(&f.workspace));
            assert_int_equal(f.workspace.payload, forward_pass_bytes(p.net->spec, shape[0], shape[1], j % 2));
            forward_pass_free(&f);
            pair_free(&p);
        }
}

/* Memory is linear in the length: no T x T anywhere. */
static void test_estimate(void **state) {
    (void)state;
    LayerSpec layers[LAYERS];
    ModelSpec s = base_spec(layers);
    uint64_t one = net_train_bytes(&s, 1, 1024), two = net_train_bytes(&s, 1, 2048);
    assert_true(two <= 2 * one);
    assert_true(net_train_bytes(&s, 2, 1024) == two);
    /* the residual stream before each half of each layer is the least that must be kept */
    assert_true(one > 2ull * LAYERS * 1024 * WIDTH * sizeof(float));
    /* two blocks of 512 rows of logits: the model's and the teacher's; with a cap, those before it too */
    uint64_t small = net_train_bytes(&s, 1, 16);
    s.vocab += 1000;
    assert_int_equal(net_train_bytes(&s, 1, 16) - small, 2ull * 512 * 1000 * sizeof(float));
    s.logit_softcap = 30;
    uint64_t capped = net_train_bytes(&s, 1, 16);
    s.vocab -= 1000;
    assert_int_equal(capped - net_train_bytes(&s, 1, 16), 3ull * 512 * 1000 * sizeof(float));
    /* of a large vocabulary no more rows than make 64 MB */
    s.logit_softcap = 0;
    s.vocab = 1 << 17;
    assert_true(net_train_bytes(&s, 1, 16) < 2ull * 80 * 1000 * 1000);
}

/* ---- running ---- */

typedef struct Rows {
    float *logits;
    size_t next, n;
} Rows;

static bool keep_rows(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)e;
    Rows *r = context;
    assert_int_equal(first, r->next);
    assert_true(first + count <= r->n);
    memcpy(r->logits + first * VOCAB, logits, count * VOCAB * sizeof *logits);
    r->next += count;
    return true;
}

/* Logits by runs of `piece` tokens, the first `skip` rows of each run left out (and left as they were). */
static void run_pieces(const Pair *p, const int32_t *ids, size_t n, size_t piece, size_t skip,
                       float *logits) {
    Error e = {0};
    KvCache *kv = kv_new(p->net, n, &e);
    assert_non_null(kv);
    for (size_t done = 0; done < n;) {
        size_t count = n - done < piece ? n - done : piece;
        Rows r = {.logits = logits + done * VOCAB, .next = skip, .n = count};
        assert_true(net_run(p->net, kv, ids + done, count, skip, keep_rows, &r, &e));
        assert_int_equal(r.next, skip < count ? count : skip);
        done += count;
        assert_int_equal(kv_length(kv), done);
    }
    kv_free(kv);
}

static void test_run(void **state) {
    (void)state;
    enum { N = 12 };
    for (int i = 0; i < KINDS; i++) {
        Pair p;
        int32_t ids[N];
        float logits[N * VOCAB];
        pair_new(&p, &kinds[i], 41, 2);
        random_ids(ids, N, 42);
        double *expected = plain_logits(&p, ids, 1, N);
        run_pieces(&p, ids, N, N, 0, logits);
        assert_close(kinds[i].name, logits, expected, N * VOCAB, 1e-5, 0);
        if (kinds[i].change != scaled_rope) { /* "dynamic" turns by the length that is known so far */
            run_pieces(&p, ids, N, 1, 0, logits);
            assert_close(kinds[i].name, logits, expected, N * VOCAB, 1e-5, 0);
        }
        free(expected);
        pair_free(&p);
    }
}

/* Longer than a chunk: windows of every size move through the cache, the pieces do not show. */
static void test_cache(void **state) {
    (void)state;
    enum { N = 1100 };
    static const size_t pieces[] = {37, 513, 700};
    static float whole[N * VOCAB], parts[N * VOCAB];
    Pair p;
    int32_t ids[N];
    pair_new(&p, &kinds[KINDS - 1], 51, 1);
    p.layers[0].window = 1, p.layers[1].window = 100, p.layers[2].window = 300;
    random_ids(ids, N, 52);
    run_pieces(&p, ids, N, N, 0, whole);
    double *expected = doubles(N * VOCAB);
    for (size_t i = 0; i < N * VOCAB; i++)
        expected[i] = whole[i];
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        run_pieces(&p, ids, N, pieces[i], 0, parts);
        assert_close("in pieces", parts, expected, N * VOCAB, 2e-6, 0);
    }
    memset(parts, 0, sizeof parts); /* rows that are skipped are not delivered */
    run_pieces(&p, ids, N, 700, 650, parts);
    for (size_t i = 0; i < N; i++)
        for (size_t v = 0; v < VOCAB; v++)
            assert_true(i % 700 < 650 ? parts[i * VOCAB + v] == 0
                                      : fabs(parts[i * VOCAB + v] - expected[i * VOCAB + v]) < 1e-4);
    free(expected);
    pair_free(&p);
}

/* What training computes is what running computes. */
static void test_run_equals_training(void **state) {
    (void)state;
    enum { N = 700 };
    static float logits[N * VOCAB];
    Pair p;
    Error e = {0};
    int32_t ids[N], targets[N];
    pair_new(&p, &kinds[KINDS - 1], 61, 2);
    const Objective *next_token = objective_by_name("next-token");
    random_ids(ids, N, 62);
    random_ids(targets, N, 63);
    run_pieces(&p, ids, N, N, 0, logits);
    double sum = 0, loss;
    for (size_t i = 0; i < N; i++) {
        double row[VOCAB];
        for (size_t v = 0; v < VOCAB; v++)
            row[v] = logits[i * VOCAB + v];
        sum += plain_loss(row, NULL, targets[i], VOCAB);
    }
    Batch b = {.ids = ids, .targets = targets, .B = 1, .T = N, .objective = next_token};
    assert_true(net_train_batch(p.net, &b, &loss, &e));
    assert_true(fabs(loss - sum / N) < 1e-5 * loss);
    pair_free(&p);
}

static void test_run_refuses(void **state) {
    (void)state;
    Pair p;
    Error e = {0};
    int32_t ids[6] = {1, 2, 3, 4, 5, VOCAB};
    pair_new(&p, &kinds[0], 71, 1);
    KvCache *kv = kv_new(p.net, 6, &e);
    assert_true(net_run(p.net, kv, ids, 4, 0, NULL, NULL, &e));
    assert_false(net_run(p.net, kv, ids, 3, 0, NULL, NULL, &e));
    assert_string_equal(e.message, "3 tokens after 4 pass the 6 the cache was made for");
    assert_false(net_run(p.net, kv, ids + 5, 1, 0, NULL, NULL, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_string_equal(e.message, "token 0 is 23, the vocabulary has 23");
    kv_clear(kv);
    assert_int_equal(kv_length(kv), 0);
    assert_true(net_run(p.net, kv, ids, 5, 0, NULL, NULL, &e));
    kv_free(kv);
    pair_free(&p);
}

/* A cleared cache is as good as a new one. */
static void test_cache_cleared(void **state) {
    (void)state;
    enum { N = 40 };
    Pair p;
    Error e = {0};
    int32_t ids[N];
    float first[N * VOCAB], second[N * VOCAB];
    pair_new(&p, &kinds[5], 81, 2);
    random_ids(ids, N, 82);
    KvCache *kv = kv_new(p.net, N, &e);
    Rows r = {.logits = first, .n = N};
    assert_true(net_run(p.net, kv, ids, N, 0, keep_rows, &r, &e));
    kv_clear(kv);
    r = (Rows){.logits = second, .n = N};
    assert_true(net_run(p.net, kv, ids, N, 0, keep_rows, &r, &e));
    assert_memory_equal(first, second, sizeof first);
    kv_free(kv);
    pair_free(&p);
}

static void test_cache_memory(void **state) {
    (void)state;
    LayerSpec layers[LAYERS];
    ModelSpec s = base_spec(layers);
    uint64_t row = 2 * 2 * 6 * sizeof(float);
    assert_int_equal(kv_bytes(&s, 10000), LAYERS * 10000 * row);
    layers[0].window = layers[1].window = 64;
    assert_true(kv_bytes(&s, 10000) < 10000 * row + 2 * 1000 * row);
    assert_int_equal(kv_bytes(&s, 20000) - kv_bytes(&s, 10000),
                     10000 * row); /* the global layer alone grows */
}

/* ---- random weights ---- */

static void test_random_weights(void **state) {
    (void)state;
    LayerSpec layers[LAYERS];
    Error e = {0};
    Model m = {.spec = base_spec(layers)};
    m.spec.hidden_size = 64, m.spec.vocab = 500;
    for (int i = 0; i < LAYERS; i++)
        layers[i].q_bias = true, layers[i].q_norm = layers[i].k_norm = QK_NORM_HEAD, layers[i].ffn_dim = 128;
    Net *n = net_random(&m, 5, 1, &e), *same = net_random(&m, 5, 2, &e), *other = net_random(&m, 6, 1, &e);
    assert_int_equal(net_weight_bytes(&m), n->n_weights * sizeof(float));
    assert_memory_equal(n->weights, same->weights, n->n_weights * sizeof(float));
    assert_memory_not_equal(n->weights, other->weights, n->n_weights * sizeof(float));
    for (size_t i = 0; i < n->n_params; i++) {
        const Param32 *p = &n->params[i];
        size_t count = p->rows * p->cols;
        double sum = 0, squares = 0;
        for (size_t j = 0; j < count; j++) {
            double w = n->weights[p->offset + j];
            sum += w, squares += w * w;
        }
        if (p->role == ROLE_Q_BIAS) {
            assert_true(squares == 0);
        } else if (p->rows == 1) {
            assert_true(sum == (double)count && squares == (double)count);
        } else {
            bool output = p->role == ROLE_O || p->role == ROLE_DOWN;
            double std = output ? 0.02 / sqrt(2 * LAYERS) : 0.02, got = sqrt(squares / (double)count);
            assert_true(fabs(got / std - 1) < 0.08);
            assert_true(fabs(sum / (double)count) < 6 * std / sqrt((double)count));
        }
    }
    net_close(n), net_close(same), net_close(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_next_token),
        cmocka_unit_test(test_gradients_distill),
        cmocka_unit_test(test_batch_contract),
        cmocka_unit_test(test_batch_refuses),
        cmocka_unit_test(test_objective_of_ones_own),
        cmocka_unit_test(test_activations_fill_their_workspace),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_run_equals_training),
        cmocka_unit_test(test_run_refuses),
        cmocka_unit_test(test_cache_cleared),
        cmocka_unit_test(test_cache_memory),
        cmocka_unit_test(test_random_weights),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
