#include "surgery/spec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "surgery/model.h"
#include "surgery/rope_frequencies.h"
#include "surgery/spec_json.h"

static void assert_near(double found, double expected) {
    if (!(fabs(found / expected - 1) < 1e-6)) fail_msg("%.9g is not %.9g", found, expected);
}

static void assert_frequencies(const ModelSpec *s, uint64_t n_tokens, double factor, const double *expected) {
    double inv_freq[8];
    uint32_t n = s->layers[0].rotary_dim / 2;
    double found = rope_frequencies(s, &s->layers[0], n_tokens, inv_freq);
    assert_near(found, factor);
    for (uint32_t i = 0; i < n; i++)
        assert_near(inv_freq[i], expected[i]);
}

static LayerSpec layer_of(RopeScaling r) {
    return (LayerSpec){.n_heads = 1,
                       .n_kv_heads = 1,
                       .head_dim = 16,
                       .rotary_dim = 16,
                       .rope_base = 10000,
                       .softmax_scale = 0.25,
                       .scaling = r};
}

/* base^(-2i/d) */
static const double plain[8] = {1,    0.316227766,   0.1,   0.0316227766,
                                0.01, 0.00316227766, 0.001, 0.000316227766};

static void test_plain_and_linear(void **state) {
    (void)state;
    LayerSpec l = layer_of((RopeScaling){0});
    ModelSpec s = {.n_layers = 1, .context = 256, .layers = &l};
    assert_frequencies(&s, 100000, 1, plain);
    l.scaling = (RopeScaling){.kind = ROPE_SCALING_LINEAR, .factor = 4};
    double quarter[8];
    for (int i = 0; i < 8; i++)
        quarter[i] = plain[i] / 4;
    assert_frequencies(&s, 0, 1, quarter);
    l.rotary_dim = 4; /* partial: the exponent counts in rotated dimensions */
    assert_frequencies(&s, 0, 1, (double[]){0.25, 0.0025});
}

static void test_dynamic(void **state) {
    (void)state;
    LayerSpec l = layer_of((RopeScaling){.kind = ROPE_SCALING_DYNAMIC, .factor = 2});
    ModelSpec s = {.n_layers = 1, .context = 256, .layers = &l};
    assert_frequencies(&s, 0, 1, plain);
    assert_frequencies(&s, 256, 1, plain);
    /* base * (2 * 1024/256 - 1)^(16/14) */
    double base = 10000 * pow(7, 16.0 / 14), grown[8];
    for (int i = 0; i < 8; i++)
        grown[i] = pow(base, -i / 8.0);
    assert_frequencies(&s, 1024, 1, grown);
    assert_near(grown[1], 0.239481375); /* transformers 4.56 */
}

/* The numbers are those of transformers 4.56. */
static void test_yarn(void **state) {
    (void)state;
    RopeScaling r = {
        .kind = ROPE_SCALING_YARN, .factor = 4, .beta_fast = 32, .beta_slow = 1, .truncate = true};
    LayerSpec l = layer_of(r);
    ModelSpec s = {.n_layers = 1, .context = 256, .layers = &l};
    const double whole[8] = {1,      0.25693506,     0.0625,  0.0138349654,
                             0.0025, 0.000790569415, 0.00025, 7.90569415e-05};
    assert_frequencies(&s, 0, 1.138629436, whole);
    l.scaling.original_context = 128;
    l.scaling.truncate = false;
    const double fractions[8] = {1,      0.225637481,    0.04270567, 0.00790569415,
                                 0.0025, 0.000790569415, 0.00025,    7.90569415e-05};
    assert_frequencies(&s, 0, 1.138629436, fractions);
    l.scaling.attention_factor = 0.5;
    assert_frequencies(&s, 0, 0.5, fractions);
    l.scaling.attention_factor = 0;
    l.scaling.factor = 1; /* nothing is stretched, so nothing is scaled */
    assert_frequencies(&s, 0, 1, plain);
}

static void test_llama3(void **state) {
    (void)state;
    LayerSpec l = layer_of((RopeScaling){.kind = ROPE_SCALING_LLAMA3,
                                         .factor = 8,
                                         .low_freq_factor = 1,
                                         .high_freq_factor = 4,
                                         .original_context = 128});
    ModelSpec s = {.n_layers = 1, .context = 256, .layers = &l};
    const double expected[8] = {1,       0.316227766,    0.0427511781, 0.00395284708,
                                0.00125, 0.000395284708, 0.000125,     3.95284708e-05};
    assert_frequencies(&s, 0, 1, expected);
}

static void test_no_rotation(void **state) {
    (void)state;
    LayerSpec l = layer_of((RopeScaling){.kind = ROPE_SCALING_DYNAMIC, .factor = 2});
    ModelSpec s = {.n_layers = 1, .context = 256, .layers = &l};
    l.position = POSITION_NOPE;
    l.rotary_dim = 0;
    double untouched = 5;
    assert_true(rope_frequencies(&s, &l, 1024, &untouched) == 1);
    assert_true(untouched == 5);
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(position_name(POSITION_ROPE), "rope");
    assert_string_equal(position_name(POSITION_PARTIAL), "partial");
    assert_string_equal(position_name(POSITION_NOPE), "nope");
    assert_string_equal(rope_scaling_name(ROPE_SCALING_NONE), "none");
    assert_string_equal(rope_scaling_name(ROPE_SCALING_LINEAR), "linear");
    assert_string_equal(rope_scaling_name(ROPE_SCALING_DYNAMIC), "dynamic");
    assert_string_equal(rope_scaling_name(ROPE_SCALING_YARN), "yarn");
    assert_string_equal(rope_scaling_name(ROPE_SCALING_LLAMA3), "llama3");
}

static void test_uniform(void **state) {
    (void)state;
    LayerSpec l[2] = {layer_of((RopeScaling){0}), layer_of((RopeScaling){0})};
    ModelSpec s = {.n_layers = 2, .context = 256, .layers = l};
    assert_true(spec_is_uniform(&s));
    l[1].scaling.factor = 9; /* of no scaling: means nothing */
    assert_true(spec_is_uniform(&s));
    l[1].scaling.kind = ROPE_SCALING_LINEAR;
    assert_false(spec_is_uniform(&s));
    l[0].scaling = l[1].scaling;
    assert_true(spec_is_uniform(&s));
    l[1].window = 8;
    assert_false(spec_is_uniform(&s));
    l[0].window = 8;
    l[1].rope_base = 5;
    assert_false(spec_is_uniform(&s));
    l[0].rope_base = 5;
    l[0].position = POSITION_NOPE;
    assert_false(spec_is_uniform(&s));
}

static void assert_json(const json_t *found, const char *expected) {
    json_error_t why;
    json_t *e = json_loads(expected, JSON_DECODE_ANY, &why);
    assert_non_null(e);
    if (!json_equal((json_t *)found, e)) fail_msg("%s", json_dumps(found, JSON_ENCODE_ANY));
    json_decref(e);
}

static void test_as_json(void **state) {
    (void)state;
    LayerSpec l[2] = {layer_of((RopeScaling){.kind = ROPE_SCALING_YARN,
                                             .factor = 4,
                                             .original_context = 64,
                                             .beta_fast = 32,
                                             .beta_slow = 1,
                                             .truncate = true}),
                      layer_of((RopeScaling){0})};
    l[0].window = 12;
    l[0].ffn_dim = l[1].ffn_dim = 24;
    l[1].position = POSITION_NOPE;
    l[1].k_bias = l[1].sinks = true;
    l[1].residual_layout = RESIDUAL_PARALLEL_SHARED_NORM;
    l[1].no_pre_norms = l[1].post_norms = l[1].no_gate = true;
    l[1].activation = ACT_GELU_TANH;
    l[1].softcap = 50;
    ModelSpec s = {.n_layers = 2,
                   .norm = NORM_LAYER,
                   .unit_offset_norm = true,
                   .logit_softcap = 30,
                   .hidden_size = 16,
                   .vocab = 10,
                   .context = UINT32_MAX,
                   .norm_eps = 0.5,
                   .embedding_scale = 1,
                   .residual_scale = 1,
                   .logit_scale = 0.5,
                   .layers = l};
    json_t *o = spec_to_json(&s);
    assert_json(
        o,
        "{\"n_layers\": 2, \"hidden_size\": 16, \"vocab\": 10, \"context\": 4294967295, \"norm_eps\": 0.5, "
        "\"tied_head\": false, \"embedding_scale\": 1.0, \"residual_scale\": 1.0, "
        "\"logit_scale\": 0.5, \"norm\": \"layer\", \"unit_offset_norm\": true, "
        "\"logit_softcap\": 30.0, \"layers\": ["
        "{\"position\": \"rope\", \"window\": 12, \"heads\": 1, \"kv_heads\": 1, \"head_dim\": 16, "
        "\"softmax_scale\": 0.25, \"qkv_bias\": false, \"o_bias\": false, \"mlp_bias\": false, "
        "\"q_norm\": \"none\", \"sinks\": false, \"ffn_dim\": 24, "
        "\"k_norm\": \"none\", \"residual_layout\": \"sequential\", \"pre_norms\": true, \"post_norms\": "
        "false, "
        "\"activation\": \"silu\", \"gated\": true, \"experts\": 0, \"softcap\": null, "
        "\"rope\": {\"base\": 10000.0, \"rotary_dim\": 16, \"scaling\": \"yarn\", \"factor\": 4.0, "
        "\"original_context\": 64.0, \"truncate\": true, \"beta_fast\": 32.0, \"beta_slow\": 1.0}}, "
        "{\"position\": \"nope\", \"window\": null, \"heads\": 1, \"kv_heads\": 1, \"head_dim\": 16, "
        "\"softmax_scale\": 0.25, \"qkv_bias\": true, \"o_bias\": false, \"mlp_bias\": false, "
        "\"q_norm\": \"none\", \"sinks\": true, \"ffn_dim\": 24, "
        "\"k_norm\": \"none\", \"residual_layout\": \"shared\", \"pre_norms\": false, \"post_norms\": true, "
        "\"activation\": \"gelu_tanh\", \"gated\": false, \"experts\": 0, \"softcap\": 50.0}]}");
    json_decref(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_linear),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_no_rotation),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
