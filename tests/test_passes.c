/* What each pass does to a model, and what it refuses. */
#include <math.h>

#include "formats/floats.h"
#include "formats/json.h"
#include "surgery/layer_set.h"
#include "surgery/nearest_name.h"
#include "surgery/passes/passes.h"
#include "tests/small_model.h"

#define LLAMA "\"model_type\": \"llama\", \"rope_theta\": 10000"

static Model *llama(void) {
    return small_open(small_hf(LLAMA, 0));
}

/* A StableLM whose heads rotate by half: Llama's tensors, and biases of the LayerNorms. */
static Model *half_rotated(void) {
    Checkpoint *c = small_hf("\"model_type\": \"stablelm\", \"partial_rotary_factor\": 0.5, "
                             "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}",
                             0);
    char name[80];
    small_add(c, "model.norm.bias", 0, WIDTH);
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.bias", i);
        small_add(c, name, 0, WIDTH);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.bias", i);
        small_add(c, name, 0, WIDTH);
    }
    return small_open(c);
}

/* Applies a pass; `args` as JSON. */
static void pass(Model *m, const char *name, const char *args) {
    Error e = {0};
    json_t *o = json_loads(args, 0, NULL);
    assert_non_null(o);
    if (!pass_apply(m, name, o, &e)) fail_msg("%s", e.message);
    json_decref(o);
}

static void assert_pass_refused(Model *m, const char *name, const char *args, const char *message) {
    Error e = {0};
    json_t *o = json_loads(args, 0, NULL);
    assert_non_null(o);
    size_t before = json_array_size(m->passes);
    assert_false(pass_apply(m, name, o, &e));
    assert_string_equal(e.message, message);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(json_array_size(m->passes), before);
    json_decref(o);
}

/* 'R' rotates, '.' does not. */
static void assert_positions(const Model *m, const char *expected) {
    char found[LAYERS + 1] = "";
    for (int i = 0; i < LAYERS; i++)
        found[i] = m->spec.layers[i].position == POSITION_NOPE ? '.' : 'R';
    assert_string_equal(found, expected);
}

static void assert_close(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-12 * fabs(expected))) fail_msg("%.17g is not %.17g", found, expected);
}

/* ---- layers ---- */

static void assert_picked(const char *value, const char *expected) {
    bool picked[12] = {0};
    char found[13] = "";
    Error e = {0};
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    if (!layers_parse(v, 12, picked, &e)) fail_msg("%s: %s", value, e.message);
    for (int i = 0; i < 12; i++)
        found[i] = picked[i] ? '1' : '0';
    assert_string_equal(found, expected);
    json_decref(v);
}

static void test_layers(void **state) {
    (void)state;
    assert_picked("\"all\"", "111111111111");
    assert_picked("\"3\"", "000100000000");
    assert_picked("3", "000100000000");
    assert_picked("\"0,3,7\"", "100100010000");
    assert_picked("\"9-11\"", "000000000111");
    assert_picked("\"0,4-7\"", "100011110000");
    assert_picked("\"2-2,2\"", "001000000000");
    assert_picked("\"every:4\"", "000100010001");
    assert_picked("\"every:1\"", "111111111111");
    assert_picked("\"every:12\"", "000000000001");
    assert_picked("[0, 11]", "100000000001");
    assert_picked("[\"0-1\", 5]", "110001000000");
}

static void test_layers_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\"12\"", "layers: there is no layer 12, the last is 11"},
        {"12", "layers: there is no layer 12, the last is 11"},
        {"\"0-12\"", "layers: there is no layer 12, the last is 11"},
        {"\"99999999999999999999\"", "layers: there is no layer 18446744073709551615, the last is 11"},
        {"\"5-3\"", "layers: 5-3 runs backwards"},
        {"\"every:0\"", "layers: 'every:0': every:N wants a number from 1 to 12"},
        {"\"every:13\"", "layers: 'every:13': every:N wants a number from 1 to 12"},
        {"\"every:\"", "layers: 'every:': every:N wants a number from 1 to 12"},
        {"\"every:4x\"", "layers: 'every:4x': every:N wants a number from 1 to 12"},
        {"\"\"", "layers: '' is not all, 3, 0,3,7, 10-29 or every:4"},
        {"\"some\"", "layers: 'some' is not all, 3, 0,3,7, 10-29 or every:4"},
        {"\"1,\"", "layers: '1,' is not all, 3, 0,3,7, 10-29 or every:4"},
        {"\"1-\"", "layers: '1-' is not all, 3, 0,3,7, 10-29 or every:4"},
        {"\"-1\"", "layers: '-1' is not all, 3, 0,3,7, 10-29 or every:4"},
        {"-1", "layers: neither text nor a number nor a list"},
        {"[1, 1.5]", "layers: neither text nor a number nor a list"},
        {"true", "layers: neither text nor a number nor a list"},
        {"[]", "layers: the list is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool picked[12] = {0};
        Error e = {0};
        json_t *v = json_loads(cases[i][0], JSON_DECODE_ANY, NULL);
        assert_false(layers_parse(v, 12, picked, &e));
        assert_string_equal(e.message, cases[i][1]);
        assert_int_equal(e.code, ERR_USAGE);
        json_decref(v);
    }
}

/* ---- arguments ---- */

static void test_nearest_name(void **state) {
    (void)state;
    const char *const names[] = {"drop_rope", "sliding_window", "cast"};
    assert_string_equal(nearest_name("drop_rop", names, 3), "drop_rope");
    assert_string_equal(nearest_name("slidingwindow", names, 3), "sliding_window");
    assert_string_equal(nearest_name("cast", names, 3), "cast");
    assert_string_equal(nearest_name("csat", names, 3), "cast");
    assert_null(nearest_name("quantise", names, 3));
    assert_null(nearest_name("", names, 0));
}

static void test_arguments(void **state) {
    (void)state;
    Model *m = llama();
    assert_pass_refused(m, "drop_rop", "{}", "unknown pass 'drop_rop'");
    assert_pass_refused(m, "drop_rope", "{\"layer\": 1}",
                        "drop_rope has no argument 'layer'; did you mean 'layers'?");
    assert_pass_refused(m, "drop_rope", "{\"velocity\": 1}", "drop_rope has no argument 'velocity'");
    assert_pass_refused(m, "drop_rope", "{\"layers\": 1.5}",
                        "drop_rope: 'layers' should be layers (all, 3, 0,3,7, 10-29 or every:4)");
    assert_pass_refused(m, "sliding_window", "{}",
                        "sliding_window needs 'size': tokens a query sees, itself included; 0: all of them");
    assert_pass_refused(m, "sliding_window", "{\"size\": -1}",
                        "sliding_window: 'size' should be a whole number");
    assert_pass_refused(m, "scale_attention", "{\"factor\": \"2\"}",
                        "scale_attention: 'factor' should be a number");
    assert_pass_refused(m, "cast", "{\"dtype\": 1}", "cast: 'dtype' should be text");
    small_close(m);
}

static void test_passes_are_noted(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "drop_rope", "{\"layers\": \"every:2\"}");
    pass(m, "set_context", "{\"tokens\": 4096}");
    json_t *expected = json_loads("[{\"pass\": \"drop_rope\", \"layers\": \"every:2\"}, "
                                  "{\"pass\": \"set_context\", \"tokens\": 4096}]",
                                  0, NULL);
    assert_true(json_equal(m->passes, expected));
    json_decref(expected);
    small_close(m);
}

/* ---- the passes ---- */

static void test_drop_rope(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "drop_rope", "{}");
    assert_positions(m, "....");
    assert_int_equal(m->spec.layers[1].rotary_dim, 0);
    assert_close(m->spec.layers[1].rope_base, 10000); /* so that it can be told what was */
    assert_int_equal(m->source_spec.layers[1].position, POSITION_ROPE);
    assert_int_equal(m->source_spec.layers[1].rotary_dim, HEAD_DIM);
    small_close(m);
    m = llama();
    pass(m, "drop_rope", "{\"layers\": \"2-3\"}");
    assert_positions(m, "RR..");
    pass(m, "drop_rope", "{\"layers\": 0}"); /* what is dropped stays dropped */
    assert_positions(m, ".R..");
    small_close(m);
    m = llama();
    pass(m, "drop_rope", "{\"keep\": [1, 2]}");
    assert_positions(m, ".RR.");
    small_close(m);
    m = half_rotated();
    pass(m, "drop_rope", "{\"layers\": [3]}");
    assert_int_equal(m->spec.layers[0].position, POSITION_PARTIAL);
    assert_int_equal(m->spec.layers[3].position, POSITION_NOPE);
    assert_int_equal(m->spec.layers[3].scaling.kind, ROPE_SCALING_NONE);
    assert_pass_refused(m, "drop_rope", "{\"layers\": \"all\", \"keep\": 1}",
                        "drop_rope: give layers or keep, not both");
    assert_pass_refused(m, "drop_rope", "{\"keep\": 4}",
                        "drop_rope: layers: there is no layer 4, the last is 3");
    small_close(m);
}

static void test_sliding_window(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "sliding_window", "{\"size\": 512}");
    for (int i = 0; i < LAYERS; i++)
        assert_int_equal(m->spec.layers[i].window, 512);
    pass(m, "sliding_window", "{\"size\": 8, \"layers\": \"0-1\"}");
    pass(m, "sliding_window", "{\"size\": 0, \"layers\": 3}");
    const uint32_t expected[LAYERS] = {8, 8, 512, 0};
    for (int i = 0; i < LAYERS; i++)
        assert_int_equal(m->spec.layers[i].window, expected[i]);
    assert_pass_refused(m, "sliding_window", "{\"size\": 1073741825}",
                        "sliding_window: size: 1073741825 is out of range; expected 0 to 1073741824");
    small_close(m);
}

static void test_scale_attention(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "scale_attention", "{\"factor\": 1.5}");
    pass(m, "scale_attention", "{\"factor\": 2}");
    for (int i = 0; i < LAYERS; i++)
        assert_close(m->spec.layers[i].softmax_scale, 0.5 * 3);
    assert_close(m->source_spec.layers[0].softmax_scale, 0.5);
    assert_pass_refused(m, "scale_attention", "{\"factor\": 0}",
                        "scale_attention: factor: 0 is out of range; expected 1e-6 to 1000000");
    assert_pass_refused(m, "scale_attention", "{\"factor\": -1}",
                        "scale_attention: factor: -1 is out of range; expected 1e-6 to 1000000");
    assert_pass_refused(m, "scale_attention", "{\"factor\": 1e300}",
                        "scale_attention: factor: 1e300 is out of range; expected 1e-6 to 1000000");
    small_close(m);
}

static void test_set_context(void **state) {
    (void)state;
    Model *m = llama();
    assert_int_equal(m->new_context, 0);
    pass(m, "set_context", "{\"tokens\": 8192}");
    assert_int_equal(m->new_context, 8192);
    assert_int_equal(m->spec.context, 64); /* the trained length stays what it was */
    assert_pass_refused(m, "set_context", "{\"tokens\": 0}",
                        "set_context: tokens: 0 is out of range; expected 1 to 4294967295");
    assert_pass_refused(m, "set_context", "{\"tokens\": 4294967296}",
                        "set_context: tokens: 4294967296 is out of range; expected 1 to 4294967295");
    small_close(m);
}

/* transformers' dynamic NTK counts from max_position_embeddings: changing that would change the model. */
static void test_set_context_with_dynamic(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}");
    assert_pass_refused(
        m, "set_context", "{\"tokens\": 128}",
        "set_context: layer 0 has dynamic NTK scaling, which counts from the stated context of 64");
    pass(m, "set_context", "{\"tokens\": 64}");
    small_close(m);
    m = llama();
    pass(m, "set_context", "{\"tokens\": 128}");
    assert_pass_refused(
        m, "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 2}",
        "rope_scaling: dynamic NTK counts from the stated context, which set_context made another one");
    small_close(m);
}

static void test_rope_scaling(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "drop_rope", "{\"layers\": 3}");
    pass(m, "rope_scaling", "{\"type\": \"linear\", \"factor\": 4}");
    const RopeScaling *r = &m->spec.layers[0].scaling;
    assert_int_equal(r->kind, ROPE_SCALING_LINEAR);
    assert_close(r->factor, 4);
    assert_int_equal(m->spec.layers[3].scaling.kind, ROPE_SCALING_NONE); /* does not rotate */
    pass(m, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 8}");
    assert_int_equal(r->kind, ROPE_SCALING_YARN);
    assert_close(r->factor, 8);
    assert_close(r->original_context, 64); /* the model's own */
    assert_close(r->beta_fast, 32);
    assert_close(r->beta_slow, 1);
    assert_true(r->truncate && r->attention_factor == 0);
    pass(m, "set_context", "{\"tokens\": 512}");
    assert_close(r->original_context, 64);
    pass(m, "rope_scaling",
         "{\"type\": \"yarn\", \"factor\": 2, \"original_context\": 32, \"beta_fast\": 20, "
         "\"beta_slow\": 2, \"attention_factor\": 0.5}");
    assert_close(r->original_context, 32);
    assert_close(r->beta_fast, 20);
    assert_close(r->beta_slow, 2);
    assert_close(r->attention_factor, 0.5);
    pass(m, "rope_scaling", "{\"type\": \"llama3\", \"factor\": 8, \"high_freq_factor\": 3}");
    assert_int_equal(r->kind, ROPE_SCALING_LLAMA3);
    assert_close(r->low_freq_factor, 1);
    assert_close(r->high_freq_factor, 3);
    small_close(m);
}

/* base * f^(d/(d-2)), d rotated dimensions */
static void test_static_ntk(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "drop_rope", "{\"layers\": 0}");
    pass(m, "rope_scaling", "{\"type\": \"ntk\", \"factor\": 4}");
    assert_close(m->spec.layers[1].rope_base, 10000 * 16.0); /* 4^(4/2) */
    assert_int_equal(m->spec.layers[1].scaling.kind, ROPE_SCALING_NONE);
    assert_close(m->spec.layers[0].rope_base, 10000);
    small_close(m);
}

static void test_rope_scaling_replaces(void **state) {
    (void)state;
    Model *m =
        small_open(small_hf(LLAMA ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}", 0));
    pass(m, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4}");
    assert_int_equal(json_array_size(m->notices), 1);
    assert_string_equal(json_string_value(json_array_get(m->notices, 0)),
                        "yarn scaling by 4 takes the place of the source's llama3 by 8");
    small_close(m);
}

static void test_rope_scaling_refused(void **state) {
    (void)state;
    Model *m = llama();
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"yarm\", \"factor\": 2}",
                        "rope_scaling: unknown type 'yarm'; did you mean 'yarn'?");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"alibi_slopes\", \"factor\": 2}",
                        "rope_scaling: unknown type 'alibi_slopes' (linear, ntk, dynamic, yarn or llama3)");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"linear\", \"factor\": 0.5}",
                        "rope_scaling: factor: 0.5 is out of range; expected 1 to 1e30");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"linear\", \"factor\": 1e31}",
                        "rope_scaling: factor: 1e31 is out of range; expected 1 to 1e30");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4}",
                        "rope_scaling: bands 4 to 4 over a context of 64");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 8, \"beta_slow\": 0}",
                        "rope_scaling: beta_fast 32, beta_slow 0, attention_factor 0");
    pass(m, "drop_rope", "{}");
    assert_pass_refused(m, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 4}",
                        "rope_scaling: no layer rotates, so there is nothing to scale");
    small_close(m);
}

static void test_cast(void **state) {
    (void)state;
    Model *m = llama();
    pass(m, "cast", "{\"dtype\": \"bf16\"}");
    for (size_t i = 0; i < m->n_tensors; i++) {
        assert_int_equal(m->tensors[i].tensor.dtype, DTYPE_BF16);
        assert_int_equal(m->tensors[i].origin->dtype, DTYPE_F32);
    }
    uint16_t row[WIDTH];
    Error e = {0};
    assert_true(tensor_read_rows(&model_tensor(m, ROLE_Q, 0)->tensor, 1, 1, row, &e));
    assert_int_equal(row[0], f32_to_bf16(16));
    assert_int_equal(tensor_status(&model_tensor(m, ROLE_Q, 0)->tensor), TENSOR_CHANGED);
    small_close(m);
}

/* Blocks are for matrices whose rows are whole blocks. */
static void test_cast_to_blocks(void **state) {
    (void)state;
    Checkpoint *c = small_hf(LLAMA, 0);
    small_add(c, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 32);
    Model *m = small_open(c);
    pass(m, "cast", "{\"dtype\": \"q8_0\"}");
    for (size_t i = 0; i < m->n_tensors; i++)
        assert_int_equal(m->tensors[i].tensor.dtype, DTYPE_F32);
    assert_int_equal(json_array_size(m->notices), 2 + 7 * LAYERS); /* the matrices */
    assert_string_equal(json_string_value(json_array_get(m->notices, 0)),
                        "tensor 'model.embed_tokens.weight' stays f32: rows of 16 elements are not whole "
                        "blocks of q8_0");
    small_close(m);
}

static void test_cast_refused(void **state) {
    (void)state;
    Model *m = llama();
    assert_pass_refused(m, "cast", "{\"dtype\": \"f99\"}", "cast: unknown dtype 'f99'");
    assert_pass_refused(m, "cast", "{\"dtype\": \"iq2_xs\"}", "cast: weights cannot be written as iq2_xs");
    small_close(m);
    m = small_open(small_hf(LLAMA ", \"quantization_config\": {\"quant_method\": \"awq\"}", 0));
    assert_pass_refused(
        m, "cast", "{\"dtype\": \"bf16\"}",
        "cast: the source has a quantization_config (awq); its weights are carried, not changed "
        "(dequantise it first)");
    pass(m, "drop_rope", "{}"); /* metadata only */
    assert_positions(m, "....");
    small_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_layers_refused),
        cmocka_unit_test(test_nearest_name),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_passes_are_noted),
        cmocka_unit_test(test_drop_rope),
        cmocka_unit_test(test_sliding_window),
        cmocka_unit_test(test_scale_attention),
        cmocka_unit_test(test_set_context),
        cmocka_unit_test(test_set_context_with_dynamic),
        cmocka_unit_test(test_rope_scaling),
        cmocka_unit_test(test_static_ntk),
        cmocka_unit_test(test_rope_scaling_replaces),
        cmocka_unit_test(test_rope_scaling_refused),
        cmocka_unit_test(test_cast),
        cmocka_unit_test(test_cast_to_blocks),
        cmocka_unit_test(test_cast_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
