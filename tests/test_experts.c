/* Mixtures of experts: their tensors as one, models that have them, and the layer against its plain form. */
#include "plain.h"

#include <cblas.h>

#include "formats/tensor_views.h"
#include "recal/ops/experts.h"
#include "surgery/export.h"
#include "tests/small_model.h"

/* ---- tensors ---- */

static Tensor counting(Arena *a, const char *name, uint32_t rank, const uint64_t *shape, float first) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    float *v = arena_alloc(a, n * sizeof *v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = first + (float)i;
    return tensor_over(a, name, DTYPE_F32, rank, shape, v);
}

static void stacks_and_slices_have_their_members_rows(void **state) {
    (void)state;
    Arena a = {0};
    Error e = {0};
    float got[18];
    Tensor x = counting(&a, "x", 2, (uint64_t[]){3, 2}, 0), y = counting(&a, "y", 2, (uint64_t[]){3, 2}, 10),
           all;
    tensor_permute(&a, &y, (uint32_t[]){2, 0, 1});
    assert_true(tensor_stack(&a, (const Tensor *[]){&x, &y, &x}, 3, &all, &e));
    assert_true(all.rank == 3 && all.shape[0] == 3 && all.shape[1] == 3 && all.shape[2] == 2);
    assert_true(tensor_read_f32(&all, got, &e));
    assert_memory_equal(got, ((float[]){0, 1, 2, 3, 4, 5, 14, 15, 10, 11, 12, 13, 0, 1, 2, 3, 4, 5}),
                        sizeof got);
    for (uint64_t first = 0; first < 9; first++) {
        float part[18];
        Tensor cut = tensor_slice(&a, &all, first, 9 - first);
        assert_true(tensor_read_f32(&cut, part, &e));
        assert_memory_equal(part, got + 2 * first, (9 - first) * 2 * sizeof *part);
    }
    Tensor plain, one;
    assert_true(tensor_stack(&a, (const Tensor *[]){&x, &x}, 2, &plain, &e));
    one = tensor_slice(&a, &plain, 3, 3);
    assert_ptr_equal(tensor_map(&one), tensor_map(&x)); /* still the very bytes */
    Tensor half = x;
    half.name = "half";
    half.dtype = half.storage_dtype = DTYPE_F16;
    assert_false(tensor_stack(&a, (const Tensor *[]){&x, &half}, 2, &all, &e));
    assert_string_equal(e.message, "tensors 'x' (f32) and 'half' (f16) differ in type or shape");
    arena_free(&a);
}

static void transposed_twice_is_the_tensor_itself(void **state) {
    (void)state;
    enum { E = 3, R = 37, C = 41 };
    Arena a = {0};
    Error e = {0};
    TransposeCache held = {0};
    Tensor x = counting(&a, "x", 3, (uint64_t[]){E, R, C}, 0), t, back;
    float got[E * R * C];
    assert_true(tensor_transposed(&a, &held, &x, &t, &e));
    assert_true(t.shape[0] == E && t.shape[1] == C && t.shape[2] == R && t.n_rows == E * C &&
                t.row_elems == R);
    assert_int_equal(tensor_status(&t), TENSOR_PERMUTED);
    assert_true(tensor_read_f32(&t, got, &e));
    for (size_t i = 0; i < E; i++)
        for (size_t r = 0; r < R; r++)
            for (size_t c = 0; c < C; c++)
                assert_true(got[(i * C + c) * R + r] == (float)((i * R + r) * C + c));
    assert_true(tensor_transposed(&a, &held, &t, &back, &e));
    assert_ptr_equal(tensor_map(&back), tensor_map(&x));
    assert_int_equal(tensor_status(&back), TENSOR_UNTOUCHED);
    /* rows taken out and put in another order first: undoing that needs the values themselves */
    Tensor odd = tensor_slice(&a, &t, C, C), turned;
    odd.rank = 2, odd.shape[0] = C, odd.shape[1] = R;
    uint32_t order[C];
    for (uint32_t i = 0; i < C; i++)
        order[i] = i < 2 ? 1 - i : i;
    tensor_permute(&a, &odd, order);
    assert_true(tensor_transposed(&a, &held, &odd, &turned, &e));
    assert_true(tensor_read_f32(&turned, got, &e));
    for (size_t r = 0; r < R; r++)
        assert_true(got[r * C] == (float)((R + r) * C + 1) && got[r * C + 1] == (float)((R + r) * C));
    Tensor blocks = counting(&a, "q", 2, (uint64_t[]){32, 32}, 0);
    blocks.dtype = DTYPE_Q8_0;
    assert_false(tensor_transposed(&a, &held, &blocks, &turned, &e));
    assert_string_equal(e.message, "tensor 'q': a matrix of q8_0 cannot be transposed");
    transpose_cache_free(&held);
    arena_free(&a);
}

static void as_served(void **state) {
    (void)state;
    Arena a = {0};
    Error e = {0};
    TransposeCache held = {0};
    float got[12], half[12];
    uint16_t bf16[12];
    Tensor x = counting(&a, "x", 2, (uint64_t[]){4, 3}, 0), view, turned;
    x.scale = 2;
    tensor_permute(&a, &x, (uint32_t[]){3, 2, 1, 0});
    view = tensor_of_view(&a, &x);
    assert_true(view.scale == 1 && !view.row_index && view.n_rows == 4);
    assert_int_equal(tensor_status(&view), TENSOR_CHANGED);
    assert_true(tensor_read_f32(&x, got, &e) && tensor_read_f32(&view, half, &e));
    assert_memory_equal(got, half, sizeof got);
    for (int i = 0; i < 12; i++)
        bf16[i] = (uint16_t)(0x3f80 + i);
    Tensor wide = tensor_over(&a, "w", DTYPE_BF16, 2, (uint64_t[]){4, 3}, bf16);
    wide.dtype = DTYPE_F32;
    assert_true(tensor_transposed(&a, &held, &wide, &turned, &e));
    assert_int_equal(tensor_status(&turned), TENSOR_WIDENED);
    assert_true(tensor_transposed(&a, &held, &turned, &view, &e));
    assert_true(view.storage_dtype == DTYPE_BF16 && tensor_status(&view) == TENSOR_WIDENED);
    transpose_cache_free(&held);
    arena_free(&a);
}

/* ---- models ---- */

#define MIXTRAL "\"model_type\": \"mixtral\", \"num_local_experts\": 3, \"num_experts_per_tok\": 2"

static Checkpoint *mixtral_of(const char *config, const char *without, int experts) {
    Checkpoint *c = small_hf(config, 0), *out = checkpoint_new(FORMAT_HF);
    out->path = "small";
    const SideFile *f = checkpoint_file(c, "config.json");
    checkpoint_set_file(out, f->name, f->bytes, f->size);
    for (size_t i = 0; i < c->n_tensors; i++)
        if (!strstr(c->tensors[i].name, ".mlp."))
            small_add(out, c->tensors[i].name, c->tensors[i].rank == 2 ? c->tensors[i].shape[0] : 0,
                      c->tensors[i].row_elems);
    for (int layer = 0; layer < LAYERS; layer++) {
        char name[100];
        snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.gate.weight", layer);
        small_add(out, name, (uint64_t)experts, WIDTH);
        for (int i = 0; i < experts; i++)
            for (int w = 1; w <= 3; w++) {
                snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.w%d.weight", layer,
                         i, w);
                if (strcmp(name, without) != 0)
                    small_add(out, name, w == 2 ? WIDTH : FFN, w == 2 ? FFN : WIDTH);
            }
    }
    checkpoint_close(c);
    return out;
}

static void experts_are_bound_as_one_tensor(void **state) {
    (void)state;
    Model *m = small_open(mixtral_of(MIXTRAL, "", 3));
    const ModelTensor *t = model_tensor(m, ROLE_DOWN, 1);
    assert_true(t->tensor.rank == 3 && t->tensor.shape[0] == 3 && t->tensor.shape[1] == WIDTH &&
                t->tensor.shape[2] == FFN && t->tensor.n_parts == 3);
    assert_string_equal(t->tensor.name, "model.layers.1.block_sparse_moe.experts.*.w2.weight");
    assert_string_equal(t->origin->name, "model.layers.1.block_sparse_moe.experts.0.w2.weight");
    assert_true(m->spec.layers[3].n_experts == 3 && m->spec.layers[3].top_k == 2);
    small_close(m);
}

static void missing_and_misshapen_experts_are_refused(void **state) {
    (void)state;
    assert_no_model(mixtral_of(MIXTRAL, "model.layers.2.block_sparse_moe.experts.1.w3.weight", 3),
                    "small: tensor 'model.layers.2.block_sparse_moe.experts.1.w3.weight' is missing");
    assert_no_model(mixtral_of(MIXTRAL, "model.layers.0.block_sparse_moe.experts.0.w1.weight", 3),
                    "small: tensor 'model.layers.0.block_sparse_moe.experts.0.w1.weight' is missing");
    assert_no_model(mixtral_of(MIXTRAL, "", 4),
                    "small: tensor 'model.layers.0.block_sparse_moe.gate.weight': shape "
                    "[4, 16], the configuration says [3, 16]");
    assert_no_model(
        mixtral_of("\"model_type\": \"mixtral\", \"num_local_experts\": 1, \"num_experts_per_tok\": 2", "",
                   1),
        "small: config.json: num_experts_per_tok: 2 is not between 1 and 1");
    assert_no_model(mixtral_of("\"model_type\": \"mixtral\", \"num_local_experts\": 5000", "", 1),
                    "small: config.json: num_local_experts: 5000 is not between 1 and 4096");
    Checkpoint *c = mixtral_of(MIXTRAL, "", 3);
    small_add(c, "model.layers.1.block_sparse_moe.experts.3.w1.weight", FFN, WIDTH);
    assert_no_model(
        c, "small: tensor 'model.layers.1.block_sparse_moe.experts.3.w1.weight' is of expert 3, but 3 "
           "experts are claimed");
    c = mixtral_of(MIXTRAL, "model.layers.3.block_sparse_moe.experts.2.w1.weight", 3);
    small_add(c, "model.layers.3.block_sparse_moe.experts.2.w1.weight", FFN + 1, WIDTH);
    assert_no_model(c, "small: tensors 'model.layers.3.block_sparse_moe.experts.0.w1.weight' (f32) and "
                       "'model.layers.3.block_sparse_moe.experts.2.w1.weight' (f32) differ in type or shape");
}

/* Weights that a quantization_config of a kind that is not read has packed are carried, every expert's. */
static void packed_experts(void **state) {
    (void)state;
    Checkpoint *c =
        mixtral_of(MIXTRAL ", \"quantization_config\": {\"quant_method\": \"bitsandbytes\"}", "", 3);
    for (size_t i = 0; i < c->n_tensors; i++) {
        Tensor *t = &c->tensors[i];
        if (!strstr(t->name, "experts.")) continue;
        t->shape[0] = t->n_rows = t->n_rows * t->row_elems;
        t->shape[1] = t->row_elems = 1;
        TensorPart *part = arena_alloc(&c->arena, sizeof *part);
        *part = (TensorPart){.source = t->parts->source, .n_rows = t->n_rows};
        t->parts = part;
    }
    Model *m = small_open(c);
    Error e = {0};
    Checkpoint *out = model_export(m, &(ExportOptions){.format = FORMAT_HF}, NULL, &e);
    assert_non_null(out);
    assert_int_equal(out->n_tensors, c->n_tensors);
    for (size_t i = 0; i < c->n_tensors; i++)
        assert_non_null(checkpoint_find(out, c->tensors[i].name));
    checkpoint_close(out);
    small_close(m);
}

#define QWEN3_MOE "\"model_type\": \"qwen3_moe\", \"num_experts\": 3, \"num_experts_per_tok\": 2, "
#define LLAMA4 "\"model_type\": \"llama4_text\", \"num_local_experts\": 3, "

/* What would be passed over, or taken for layer 0. */
static void odd_settings(void **state) {
    (void)state;
    static const struct {
        const char *config, *message;
    } cases[] = {
        {QWEN3_MOE "\"mlp_only_layers\": [\"1\"]",
         "mlp_only_layers: expected a list of layers, found [\"1\"]"},
        {QWEN3_MOE "\"mlp_only_layers\": [1.0]", "mlp_only_layers: expected a list of layers, found [1.0]"},
        {QWEN3_MOE "\"mlp_only_layers\": [-1]", "mlp_only_layers: expected a list of layers, found [-1]"},
        {QWEN3_MOE "\"mlp_only_layers\": 1", "mlp_only_layers: expected a list of layers, found 1"},
        {QWEN3_MOE "\"decoder_sparse_step\": 0", "decoder_sparse_step: 0 is not between 1 and 2147483647"},
        {QWEN3_MOE "\"decoder_sparse_step\": \"2\"",
         "decoder_sparse_step: expected a whole number, found \"2\""},
        {QWEN3_MOE "\"moe_intermediate_size\": 2.5",
         "moe_intermediate_size: expected a whole number, found 2.5"},
        {QWEN3_MOE "\"norm_topk_prob\": \"yes\"", "norm_topk_prob: expected true or false, found \"yes\""},
        {"\"model_type\": \"olmoe\", \"clip_qkv\": \"8\"", "clip_qkv is not supported"},
        {LLAMA4 "\"moe_layers\": [null]", "moe_layers: expected a list of layers, found [null]"},
        {LLAMA4 "\"interleave_moe_layer_step\": [2]",
         "interleave_moe_layer_step: expected a whole number, found [2]"},
        {LLAMA4 "\"no_rope_layers\": [1, 1, 1, \"0\"]", "no_rope_layers[3] is neither 0 nor 1"},
        {LLAMA4 "\"no_rope_layers\": [1]", "no_rope_layers has 1 entries for 4 layers"},
        {LLAMA4 "\"layer_types\": [1, 1, 1, 1]", "layer_types[0]: '(not a string)' is not supported"},
        {LLAMA4 "\"use_qk_norm\": {}", "use_qk_norm: expected true or false, found {}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[200];
        snprintf(message, sizeof message, "small: config.json: %s", cases[i].message);
        assert_no_model(small_hf(cases[i].config, 0), message);
    }
}

/* ---- the layer ---- */

enum { N = 13, EXPERTS = 5, TOP_K = 2, C = 7, F = 6 };

typedef struct Mixture {
    double *p[8]; /* router, gate, up, down, and the same as biases; the latter may be NULL */
    double *x, *y, *dy;
    Routing routing;
    Activation act;
} Mixture;

static const size_t sizes[8] = {EXPERTS * C, EXPERTS *F *C, EXPERTS *F *C, EXPERTS *F *C,
                                EXPERTS,     EXPERTS *F,    EXPERTS *F,    EXPERTS *C};

static double affine(const double *w, const double *b, const double *x, size_t row, size_t n) {
    double sum = b ? b[row] : 0;
    for (size_t i = 0; i < n; i++)
        sum += w[row * n + i] * x[i];
    return sum;
}

static double middle(Activation act, double gate, double up) {
    if (act == ACT_SILU) return gate / (1 + exp(-gate)) * up;
    gate = fmin(gate, 7);
    return gate / (1 + exp(-1.702 * gate)) * (fmax(fmin(up, 7), -7) + 1);
}

static void plain_token(const Mixture *m, const double *x, double *y) {
    double logits[EXPERTS], sum = 0, wide[F];
    bool chosen[EXPERTS] = {0};
    for (size_t e = 0; e < EXPERTS; e++)
        logits[e] = affine(m->p[0], m->p[4], x, e, C);
    for (int j = 0; j < TOP_K; j++) {
        int best = -1;
        for (int e = 0; e < EXPERTS; e++)
            if (!chosen[e] && (best < 0 || logits[e] > logits[best])) best = e;
        chosen[best] = true;
    }
    for (size_t e = 0; e < EXPERTS; e++)
        sum += m->routing == ROUTING_OF_ALL || chosen[e] ? exp(logits[e]) : 0;
    memset(y, 0, C * sizeof *y);
    for (size_t e = 0; e < EXPERTS; e++) {
        if (!chosen[e]) continue;
        bool of_input = m->routing == ROUTING_OF_INPUT;
        double share = of_input ? 1 / (1 + exp(-logits[e])) : exp(logits[e]) / sum, in[C];
        for (size_t i = 0; i < C; i++)
            in[i] = of_input ? share * x[i] : x[i];
        for (size_t i = 0; i < F; i++)
            wide[i] = middle(m->act, affine(m->p[1], m->p[5], in, e * F + i, C),
                             affine(m->p[2], m->p[6], in, e * F + i, C));
        for (size_t i = 0; i < C; i++)
            y[i] += (of_input ? 1 : share) * affine(m->p[3], m->p[7], wide, e * C + i, F);
    }
}

static double mixture_value(void *context) {
    const Mixture *m = context;
    double sum = 0;
    for (size_t t = 0; t < N; t++)
        plain_token(m, m->x + t * C, m->y + t * C);
    for (size_t i = 0; i < N * C; i++)
        sum += m->y[i] * m->dy[i];
    return sum;
}

static ExpertParams params(float *p[8]) {
    return (ExpertParams){.router = p[0],
                          .gate = p[1],
                          .up = p[2],
                          .down = p[3],
                          .router_bias = p[4],
                          .gate_bias = p[5],
                          .up_bias = p[6],
                          .down_bias = p[7]};
}

/* Memory for the dispatch of N tokens; free `w`. */
static Dispatch dispatch_new(Workspace *w, size_t n_experts, size_t top_k) {
    Error e = {0};
    *w = (Workspace){0};
    dispatch_lay_out(w, n_experts, top_k, N);
    assert_true(workspace_alloc(w, "dispatch", &e));
    Dispatch d = dispatch_lay_out(w, n_experts, top_k, N);
    assert_true(workspace_is_full(w));
    return d;
}

static void check_mixture(Routing routing, bool biases, Activation act, uint64_t seed) {
    Random r = random_seeded(seed);
    Pool *pool = pool_new(2);
    Mixture m = {.routing = routing, .act = act};
    float *w[8] = {0}, *g[8] = {0};
    for (int i = 0; i < (biases ? 8 : 4); i++) {
        m.p[i] = random_doubles(&r, sizes[i], act == ACT_CLIPPED && i ? 4 : 1);
        w[i] = as_floats(m.p[i], sizes[i]);
        g[i] = xcalloc(sizes[i], sizeof *g[i]);
    }
    m.x = random_doubles(&r, N * C, 1), m.dy = random_doubles(&r, N * C, 1), m.y = doubles(N * C);
    float *x = as_floats(m.x, N * C), *dy = as_floats(m.dy, N * C), *y = xcalloc(N * C, sizeof *y),
          *dx = xcalloc(N * C, sizeof *dx);
    Experts experts = {.n_experts = EXPERTS,
                       .top_k = TOP_K,
                       .hidden_size = C,
                       .ffn_dim = F,
                       .activation = act,
                       .routing = routing,
                       .w = params(w)};
    ExpertParams grads = params(g);
    float *rows = xcalloc(N * TOP_K, (2 * C + 4 * F) * sizeof *rows);
    ExpertActivations at = {.in = rows,
                            .out = rows + N * TOP_K * C,
                            .gate = rows + 2 * N * TOP_K * C,
                            .up = rows + N * TOP_K * (2 * C + F),
                            .hidden = rows + N * TOP_K * (2 * C + 2 * F),
                            .recomputed = rows + N * TOP_K * (2 * C + 3 * F)};
    Workspace workspace;
    Dispatch dispatch = dispatch_new(&workspace, EXPERTS, TOP_K);
    experts_forward(pool, &experts, &dispatch, &at, y, x, N);
    mixture_value(&m);
    assert_close("experts", y, m.y, N * C, 5e-6, 0);
    assert_int_equal(dispatch.first[EXPERTS], N * TOP_K);
    double *want = differences(mixture_value, &m, m.x, N * C);
    experts_backward(pool, &experts, &grads, &dispatch, &at, dx, dy, x, N);
    assert_close("experts dx", dx, want, N * C, 2e-5, 0);
    free(want);
    for (int i = 0; i < (biases ? 8 : 4); i++) {
        want = differences(mixture_value, &m, m.p[i], sizes[i]);
        char what[40];
        snprintf(what, sizeof what, "experts, case %d: gradient %d", (int)seed, i);
        assert_close(what, g[i], want, sizes[i], 2e-5, 0);
        free(want);
    }
    for (int i = 0; i < 8; i++)
        free(m.p[i]), free(w[i]), free(g[i]);
    workspace_free(&workspace);
    free(rows), free(x), free(dy), free(y), free(dx), free(m.x), free(m.dy), free(m.y);
    pool_free(pool);
}

static void layer_and_its_gradients(void **state) {
    (void)state;
    openblas_set_num_threads(1);
    check_mixture(ROUTING_OF_CHOSEN, false, ACT_SILU, 1);
    check_mixture(ROUTING_OF_ALL, false, ACT_SILU, 2);
    check_mixture(ROUTING_OF_CHOSEN, true, ACT_CLIPPED, 3);
    check_mixture(ROUTING_OF_ALL, true, ACT_CLIPPED, 4);
    check_mixture(ROUTING_OF_INPUT, false, ACT_SILU, 5);
}

/* A token that is no number has no say in the others; and each token may pass every expert, or the one. */
static void odd_tokens(void **state) {
    (void)state;
    Random r = random_seeded(9);
    Pool *pool = pool_new(2);
    float *w[8] = {0}, *y[2];
    double *p[4], *at = random_doubles(&r, N * C, 1);
    for (int i = 0; i < 4; i++) {
        p[i] = random_doubles(&r, sizes[i], 1);
        w[i] = as_floats(p[i], sizes[i]);
    }
    float *x = as_floats(at, N * C), *rows = xcalloc(N * EXPERTS, (2 * C + 2 * F) * sizeof *rows);
    ExpertActivations in = {.in = rows,
                            .out = rows + N * EXPERTS * C,
                            .gate = rows + 2 * N * EXPERTS * C,
                            .up = rows + N * EXPERTS * (2 * C + F),
                            .hidden = rows + 2 * N * EXPERTS * C};
    for (size_t n = 1; n <= EXPERTS; n += EXPERTS - 1) {
        Experts all = {.n_experts = n, .top_k = n, .hidden_size = C, .ffn_dim = F, .w = params(w)};
        Workspace workspace;
        Dispatch dispatch = dispatch_new(&workspace, n, n);
        for (int i = 0; i < 2; i++) {
            float *copy = xcalloc(N * C, sizeof *copy);
            memcpy(copy, x, N * C * sizeof *copy);
            if (i) copy[3 * C + 1] = NAN;
            y[i] = xcalloc(N * C, sizeof **y);
            experts_forward(pool, &all, &dispatch, &in, y[i], copy, N);
            assert_int_equal(dispatch.first[n], N * n);
            free(copy);
        }
        assert_true(isnan(y[1][3 * C]));
        assert_memory_equal(y[0], y[1], 3 * C * sizeof **y);
        assert_memory_equal(y[0] + 4 * C, y[1] + 4 * C, (N - 4) * C * sizeof **y);
        experts_forward(pool, &all, &dispatch, &in, y[1], x, 1);
        assert_close("one token", y[1],
                     (double[C]){y[0][0], y[0][1], y[0][2], y[0][3], y[0][4], y[0][5], y[0][6]}, C, 1e-6, 0);
        workspace_free(&workspace);
        free(y[0]), free(y[1]);
    }
    for (int i = 0; i < 4; i++)
        free(p[i]), free(w[i]);
    free(at), free(x), free(rows);
    pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_and_slices_have_their_members_rows),
        cmocka_unit_test(transposed_twice_is_the_tensor_itself),
        cmocka_unit_test(experts_are_bound_as_one_tensor),
        cmocka_unit_test(missing_and_misshapen_experts_are_refused),
        cmocka_unit_test(layer_and_its_gradients),
        cmocka_unit_test(as_served),
        cmocka_unit_test(packed_experts),
        cmocka_unit_test(odd_settings),
        cmocka_unit_test(odd_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
