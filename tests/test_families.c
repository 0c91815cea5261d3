/* What model_open makes of a checkpoint of each family, in HF's form and in GGUF's, and what it refuses. */
#include <math.h>

#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "surgery/model_open.h"
#include "surgery/spec_json.h"
#include "tests/small_model.h"

#define LLAMA "\"model_type\": \"llama\""

/* "R" rotates, "." does not; below it "w" has the window, "." none. */
static void assert_layers(const Model *m, const char *rotates, const char *windowed, uint32_t window) {
    for (uint32_t i = 0; i < m->spec.n_layers; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        assert_int_equal(l->position, rotates[i] == 'R' ? POSITION_ROPE : POSITION_NOPE);
        assert_int_equal(l->rotary_dim, rotates[i] == 'R' ? l->head_dim : 0);
        assert_int_equal(l->window, windowed[i] == 'w' ? window : 0);
    }
}

static void assert_close(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-7 * fabs(expected))) fail_msg("%g is not %g", found, expected);
}

static void assert_notices(const Model *m, const char *expected) {
    Buffer b = {0};
    for (size_t i = 0; i < json_array_size(m->notices); i++)
        buffer_printf(&b, "%s%s", i ? "\n" : "", json_string_value(json_array_get(m->notices, i)));
    assert_string_equal(buffer_string(&b), expected);
    buffer_free(&b);
}

static void assert_values(const Tensor *t, const float *expected, uint64_t n) {
    float found[64];
    Error e = {0};
    assert_int_equal(tensor_elems(t), n);
    assert_true(tensor_read_f32(t, found, &e));
    for (uint64_t i = 0; i < n; i++)
        if (found[i] != expected[i]) fail_msg("element %d is %g, not %g", (int)i, found[i], expected[i]);
}

/* ---- Hugging Face ---- */

static void test_llama(void **state) {
    (void)state;
    Model *m = small_open(small_hf(LLAMA ", \"rope_theta\": 5000, \"sliding_window\": 7", 0));
    const LayerSpec *l = &m->spec.layers[3];
    assert_string_equal(m->family->name, "llama");
    assert_int_equal(m->spec.n_layers, 4);
    assert_int_equal(m->spec.hidden_size, 16);
    assert_int_equal(m->spec.vocab, 10);
    assert_int_equal(m->spec.context, 64);
    assert_close(m->spec.norm_eps, 1e-6);
    assert_false(m->spec.tied_head);
    assert_int_equal(l->n_heads, 4);
    assert_int_equal(l->n_kv_heads, 2);
    assert_int_equal(l->head_dim, 4);
    assert_int_equal(l->ffn_dim, 24);
    assert_close(l->rope_base, 5000);
    assert_close(l->softmax_scale, 0.5);
    assert_false(l->q_bias || l->k_bias || l->v_bias || l->o_bias || l->mlp_bias || l->sinks);
    assert_layers(m, "RRRR", "....", 0); /* a Llama has no window, whatever its config says */
    assert_notices(m, "config.json: keys that LlamaForCausalLM does not read are ignored: sliding_window");
    assert_int_equal(m->n_tensors, m->source->n_tensors);
    const ModelTensor *t = model_tensor(m, ROLE_DOWN, 2);
    assert_string_equal(t->tensor.name, "model.layers.2.mlp.down_proj.weight");
    assert_int_equal(t->layer, 2);
    assert_true(t->origin == checkpoint_find(m->source, t->tensor.name));
    assert_null(model_tensor(m, ROLE_Q_BIAS, 2));
    assert_string_equal(model_tensor(m, ROLE_HEAD, -1)->tensor.name, "lm_head.weight");
    small_close(m);
}

static void test_llama_biases(void **state) {
    (void)state;
    const char *both = LLAMA ", \"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true";
    Model *m = small_open(small_hf(both, QKV_BIAS | O_BIAS | MLP_BIAS | TIED));
    const LayerSpec *l = &m->spec.layers[0];
    assert_true(l->q_bias && l->k_bias && l->v_bias && l->o_bias && l->mlp_bias && m->spec.tied_head);
    assert_non_null(model_tensor(m, ROLE_DOWN_BIAS, 3));
    small_close(m);
    assert_no_model(small_hf(both, QKV_BIAS | MLP_BIAS | TIED),
                    "small: tensor 'model.layers.0.self_attn.o_proj.bias' is missing");
    /* transformers would not look at them either */
    m = small_open(small_hf(LLAMA, QKV_BIAS));
    assert_false(m->spec.layers[0].q_bias);
    assert_null(model_tensor(m, ROLE_Q_BIAS, 0));
    assert_notices(m,
                   "12 tensors (first 'model.layers.0.self_attn.q_proj.bias') are not of the family llama; "
                   "they are carried as they are");
    small_close(m);
}

static void test_mistral(void **state) {
    (void)state;
    Model *m = small_open(small_hf("\"model_type\": \"mistral\", \"sliding_window\": 12", 0));
    assert_string_equal(m->family->name, "llama");
    assert_layers(m, "RRRR", "wwww", 12);
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"mistral\", \"sliding_window\": null", 0));
    assert_layers(m, "RRRR", "....", 0);
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"mistral\"", 0));
    assert_layers(m, "RRRR", "wwww", 4096);
    small_close(m);
    assert_no_model(small_hf("\"model_type\": \"mistral\", \"sliding_window\": 0", 0),
                    "small: config.json: sliding_window: 0 is not between 1 and 2147483647");
    assert_no_model(small_hf("\"model_type\": \"mistral\", \"sliding_window\": \"4k\"", 0),
                    "small: config.json: sliding_window: expected a whole number, found \"4k\"");
}

static void test_qwen2(void **state) {
    (void)state;
    const char *windows = "\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 8, "
                          "\"max_window_layers\": 3";
    Model *m = small_open(small_hf(windows, QKV_BIAS));
    const LayerSpec *l = &m->spec.layers[1];
    assert_true(l->q_bias && l->k_bias && l->v_bias && !l->o_bias && !l->mlp_bias);
    assert_layers(m, "RRRR", "...w", 8);
    small_close(m);
    m = small_open(
        small_hf("\"model_type\": \"qwen2\", \"sliding_window\": 8, \"max_window_layers\": 0", QKV_BIAS));
    assert_layers(m, "RRRR", "....", 0);
    small_close(m);
    assert_no_model(small_hf(windows, 0), "small: tensor 'model.layers.0.self_attn.q_proj.bias' is missing");
}

static void test_smollm3(void **state) {
    (void)state;
    Model *m = small_open(small_hf("\"model_type\": \"smollm3\"", TIED));
    assert_true(m->spec.tied_head);
    assert_close(m->spec.layers[0].rope_base, 2e6);
    assert_layers(m, "RRR.", "....", 0);
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"smollm3\", \"no_rope_layer_interval\": 2, "
                            "\"use_sliding_window\": true, \"sliding_window\": 6",
                            TIED));
    assert_layers(m, "R.R.", ".w.w", 6); /* by default it windows what does not rotate */
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"smollm3\", \"no_rope_layers\": [0, 1, true, false], "
                            "\"use_sliding_window\": true, \"sliding_window\": 6, \"layer_types\": "
                            "[\"full_attention\", \"sliding_attention\", \"sliding_attention\", "
                            "\"full_attention\"]",
                            TIED));
    assert_layers(m, ".RR.", ".ww.", 6);
    small_close(m);
    assert_no_model(small_hf("\"model_type\": \"smollm3\", \"no_rope_layers\": [1, 0]", TIED),
                    "small: config.json: no_rope_layers has 2 entries for 4 layers");
    assert_no_model(small_hf("\"model_type\": \"smollm3\", \"no_rope_layers\": [1, 0, \"x\", 1]", TIED),
                    "small: config.json: no_rope_layers[2] is neither 0 nor 1");
    assert_no_model(small_hf("\"model_type\": \"smollm3\", \"layer_types\": [\"full_attention\"]", TIED),
                    "small: config.json: layer_types has 1 entries for 4 layers");
    assert_no_model(small_hf("\"model_type\": \"smollm3\", \"no_rope_layer_interval\": 0", TIED),
                    "small: config.json: no_rope_layer_interval: 0 is not between 1 and 2147483647");
}

static void test_granite(void **state) {
    (void)state;
    Model *m = small_open(small_hf("\"model_type\": \"granite\", \"attention_multiplier\": 0.2, "
                                   "\"embedding_multiplier\": 3, \"residual_multiplier\": 0.5, "
                                   "\"logits_scaling\": 2.0",
                                   0));
    assert_close(m->spec.layers[2].softmax_scale, 0.2);
    assert_close(m->spec.embedding_scale, 3);
    assert_close(m->spec.residual_scale, 0.5);
    assert_close(m->spec.logit_scale, 0.5);
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"granite\"", 0));
    assert_close(m->spec.layers[0].softmax_scale, 1); /* not 1/sqrt(head_dim) */
    small_close(m);
    assert_no_model(small_hf("\"model_type\": \"granite\", \"logits_scaling\": 0", 0),
                    "small: config.json: logits_scaling is 0");
}

static void test_granite_swa(void **state) {
    (void)state;
    Model *m = small_open(small_hf("\"model_type\": \"granite_swa\"", SINKS | TIED));
    assert_layers(m, "RRRR", ".www", 128);
    assert_true(m->spec.layers[1].sinks);
    assert_non_null(model_tensor(m, ROLE_SINKS, 1));
    small_close(m);
    m = small_open(small_hf("\"model_type\": \"granite_swa\", \"layer_rope_theta\": [0, 100, 0, 200.5], "
                            "\"sliding_window\": 9, \"layer_types\": [\"sliding_attention\", "
                            "\"full_attention\", \"full_attention\", \"sliding_attention\"]",
                            SINKS | TIED));
    assert_layers(m, ".R.R", "w..w", 9);
    assert_close(m->spec.layers[1].rope_base, 100);
    assert_close(m->spec.layers[3].rope_base, 200.5);
    small_close(m);
    assert_no_model(small_hf("\"model_type\": \"granite_swa\"", TIED),
                    "small: tensor 'model.layers.0.self_attn.sinks' is missing");
    assert_no_model(
        small_hf("\"model_type\": \"granite_swa\", \"layer_rope_theta\": [1, 2, -3, 4]", SINKS | TIED),
        "small: config.json: layer_rope_theta[2] is not a number from 0");
}

static void test_rope_keys(void **state) {
    (void)state;
    Model *m =
        small_open(small_hf(LLAMA ", \"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"yarn\", "
                                  "\"rope_theta\": 500, \"factor\": 4.0}",
                            0));
    const RopeScaling *r = &m->spec.layers[0].scaling;
    assert_close(m->spec.layers[0].rope_base, 500);
    assert_int_equal(r->kind, ROPE_SCALING_YARN);
    assert_close(r->factor, 4);
    assert_close(r->original_context, 64);
    assert_close(r->beta_fast, 32);
    assert_close(r->beta_slow, 1);
    assert_true(r->attention_factor == 0 && r->truncate);
    small_close(m);
    m = small_open(
        small_hf(LLAMA ", \"rope_theta\": 7, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}", 0));
    assert_close(m->spec.layers[0].rope_base, 7);
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_LINEAR);
    small_close(m);
    m = small_open(small_hf(LLAMA ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 1e30}", 0));
    assert_layers(m, "....", "....", 0);
    small_close(m);
    /* transformers 5 ignores partial_rotary_factor in classes that rotate whole heads; transformers 4 fails,
     * so an output does not have it. */
    m = small_open(small_hf(LLAMA ", \"partial_rotary_factor\": 0.5", 0));
    assert_layers(m, "RRRR", "....", 0);
    assert_int_equal(m->spec.layers[0].rotary_dim, 4);
    assert_null(json_object_get(m->config, "partial_rotary_factor"));
    assert_notices(m, "config.json: partial_rotary_factor 0.5 is ignored: llama rotates whole heads");
    small_close(m);
}

static void test_rope_keys_by_layer_type(void **state) {
    (void)state;
    Model *m = small_open(
        small_hf("\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 8, "
                 "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"sliding_attention\", "
                 "\"full_attention\"], \"rope_parameters\": {\"sliding_attention\": {\"rope_theta\": 100}, "
                 "\"full_attention\": {\"rope_theta\": 900, \"rope_type\": \"linear\", \"factor\": 3}}",
                 QKV_BIAS));
    assert_layers(m, "RRRR", "w.w.", 8);
    assert_close(m->spec.layers[0].rope_base, 100);
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_NONE);
    assert_close(m->spec.layers[1].rope_base, 900);
    assert_close(m->spec.layers[1].scaling.factor, 3);
    small_close(m);
}

static void test_rope_keys_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\"rope_theta\": 0", "rope_theta is 0"},
        {"\"rope_theta\": \"1e4\"", "rope_theta: expected a number, found \"1e4\""},
        {"\"rope_scaling\": 4", "rope_scaling: expected a mapping, found 4"},
        {"\"rope_scaling\": {\"rope_type\": \"longrope\"}",
         "rope type 'longrope': short_factor is not a list of 2 positive numbers"},
        {"\"rope_scaling\": {\"rope_type\": \"mrope\"}",
         "rope type 'mrope' is not supported (default, linear, dynamic, yarn, llama3, longrope)"},
        {"\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 0], \"long_factor\": [1, 2]}",
         "rope type 'longrope': short_factor is not a list of 2 positive numbers"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\"}",
         "rope type 'linear' has factor 0, original context 64"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": -2}",
         "rope type 'linear' has factor -2, original context 64"},
        {"\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": \"2\"}",
         "factor: expected a number, found \"2\""},
        {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 5}",
         "rope type 'llama3' has bands 5 to 4"},
        {"\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 8, \"beta_fast\": -1}",
         "rope type 'yarn' has beta_fast -1, beta_slow 1, attention factor 0"},
        {"\"partial_rotary_factor\": 1.5", "partial_rotary_factor is 1.5"},
        {"\"partial_rotary_factor\": 0.5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}",
         "partial_rotary_factor is 0.5, but llama rotates whole heads, and transformers fails where such a "
         "key "
         "meets a rope scaling"},
        {"\"rope_theta\": null", "rope_theta: expected a number, found null"},
        {"\"rope_scaling\": {\"type\": null, \"factor\": 2}",
         "type: expected the name of a rope scaling, found null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[300], message[300];
        snprintf(config, sizeof config, LLAMA ", %s", cases[i][0]);
        snprintf(message, sizeof message, "small: config.json: %s", cases[i][1]);
        assert_no_model(small_hf(config, 0), message);
    }
}

/* ---- what a config.json must not say ---- */

/* The whole text, over the tensors of a Llama. */
static Checkpoint *with_config(const char *text) {
    Checkpoint *c = small_hf(LLAMA, 0);
    checkpoint_set_file(c, "config.json", text, strlen(text));
    return c;
}

/* SMALL_SIZES of a Llama with one of them replaced. */
static Checkpoint *with_size(const char *key, const char *value) {
    char text[1000] = "{" LLAMA ", " SMALL_SIZES "}", rest[1000];
    char *at = strstr(text, key);
    assert_non_null(at);
    at = strchr(at, ':') + 2;
    snprintf(rest, sizeof rest, "%s", at + strcspn(at, ",}"));
    snprintf(at, sizeof text - (size_t)(at - text), "%s%s", value, rest);
    return with_config(text);
}

static void test_sizes_refused(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"num_hidden_layers", "2147483648", "num_hidden_layers: 2147483648 is not between 1 and 4096"},
        {"num_hidden_layers", "0", "num_hidden_layers: 0 is not between 1 and 4096"},
        {"num_hidden_layers", "-4", "num_hidden_layers: expected a whole number, found -4"},
        {"num_hidden_layers", "4.5", "num_hidden_layers: expected a whole number, found 4.5"},
        {"num_attention_heads", "0", "num_attention_heads: 0 is not between 1 and 4096"},
        {"num_attention_heads", "3", "hidden_size 16 is not a multiple of 3 heads"},
        {"num_attention_heads", "16", "head_dim 1 is not an even number"},
        {"num_key_value_heads", "0", "num_key_value_heads: 0 is not between 1 and 4096"},
        {"num_key_value_heads", "3", "4 heads cannot share 3 key/value heads evenly"},
        {"num_key_value_heads", "\"2\"", "num_key_value_heads: expected a whole number, found \"2\""},
        {"hidden_size", "null", "hidden_size: expected a whole number, found null"},
        {"hidden_size", "18446744073709551616",
         "hidden_size: expected a whole number, found 1.8446744073709552e19"},
        {"max_position_embeddings", "0", "max_position_embeddings: 0 is not between 1 and 4294967295"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[300];
        snprintf(message, sizeof message, "small: config.json: %s", cases[i][2]);
        assert_no_model(with_size(cases[i][0], cases[i][1]), message);
    }
    assert_no_model(with_config("{" LLAMA "}"),
                    "small: config.json: num_hidden_layers: expected a whole number, found nothing");
    assert_no_model(small_hf(LLAMA ", \"head_dim\": 0", 0),
                    "small: config.json: head_dim: 0 is not between 1 and 8192");
    assert_no_model(small_hf(LLAMA ", \"hidden_act\": \"relu\"", 0),
                    "small: config.json: hidden_act 'relu' is not supported (silu, gelu, gelu_new, "
                    "gelu_pytorch_tanh)");
    assert_no_model(small_hf(LLAMA ", \"tie_word_embeddings\": 1", 0),
                    "small: config.json: tie_word_embeddings: expected true or false, found 1");
}

static void test_sizes_against_tensors(void **state) {
    (void)state;
    assert_no_model(with_size("num_hidden_layers", "4000"),
                    "small: 4000 layers are claimed, but there are only 39 tensors");
    assert_no_model(with_size("num_hidden_layers", "5"),
                    "small: tensor 'model.layers.4.input_layernorm.weight' is missing");
    assert_no_model(with_size("num_hidden_layers", "2"),
                    "small: tensor 'model.layers.2.input_layernorm.weight' is of layer 2, but 2 layers are "
                    "claimed");
    assert_no_model(with_size("vocab_size", "11"),
                    "small: tensor 'model.embed_tokens.weight': shape [10, 16], the configuration says [11, "
                    "16]");
    assert_no_model(with_size("intermediate_size", "25"),
                    "small: tensor 'model.layers.0.mlp.gate_proj.weight': shape [24, 16], the configuration "
                    "says [25, 16]");
    assert_no_model(with_size("num_key_value_heads", "4"),
                    "small: tensor 'model.layers.0.self_attn.k_proj.weight': shape [8, 16], the "
                    "configuration says [16, 16]");
    assert_no_model(with_size("hidden_size", "1048576"),
                    "small: tensor 'model.embed_tokens.weight': shape [10, 16], the configuration says [10, "
                    "1048576]");
}

static void test_shapes(void **state) {
    (void)state;
    static const char *const names[] = {
        "model.norm.weight",
        "lm_head.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.1.self_attn.o_proj.bias",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.mlp.up_proj.bias",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        Checkpoint *c =
            small_hf(LLAMA ", \"attention_bias\": true, \"mlp_bias\": true", QKV_BIAS | O_BIAS | MLP_BIAS);
        Tensor *t = (Tensor *)checkpoint_find(c, names[i]);
        char before[40], message[200];
        snprintf(before, sizeof before, t->rank == 2 ? "%d, %d" : "%d", (int)t->shape[0], (int)t->shape[1]);
        t->shape[0] = 7;
        snprintf(message, sizeof message,
                 t->rank == 2 ? "small: tensor '%s': shape [7, %d], the configuration says [%s]"
                              : "small: tensor '%s': shape [7%.0d], the configuration says [%s]",
                 names[i], t->rank == 2 ? (int)t->shape[1] : 0, before);
        assert_no_model(c, message);
    }
    Checkpoint *c = small_hf(LLAMA, 0);
    ((Tensor *)checkpoint_find(c, "model.norm.weight"))->rank = 2;
    assert_no_model(c, "small: tensor 'model.norm.weight': shape [16, 0], the configuration says [16]");
}

static void test_missing_tensors(void **state) {
    (void)state;
    static const char *const names[] = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
        "model.layers.3.input_layernorm.weight",
        "model.layers.3.post_attention_layernorm.weight",
        "model.layers.3.self_attn.q_proj.weight",
        "model.layers.3.self_attn.k_proj.weight",
        "model.layers.3.self_attn.v_proj.weight",
        "model.layers.3.self_attn.o_proj.weight",
        "model.layers.3.mlp.gate_proj.weight",
        "model.layers.3.mlp.up_proj.weight",
        "model.layers.3.mlp.down_proj.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char message[200];
        snprintf(message, sizeof message, "small: tensor '%s' is missing", names[i]);
        assert_no_model(small_hf_without(LLAMA, 0, names[i]), message);
    }
}

static void test_unknown(void **state) {
    (void)state;
    assert_no_model(small_hf("\"model_type\": \"t5\"", 0),
                    "small: config.json: model_type 't5' is not one derope knows");
    assert_no_model(small_hf("\"x\": 1", 0),
                    "small: config.json: model_type '(none)' is not one derope knows");
    Checkpoint *c = small_hf(LLAMA, 0);
    checkpoint_remove_file(c, "config.json");
    assert_no_model(c, "small: has no config.json, so its architecture is unknown");
    Checkpoint *gguf = small_gguf("mamba", 0);
    assert_no_model(gguf, "small.gguf: architecture 'mamba' is not one derope knows");
    gguf = small_gguf("llama", 0);
    meta_remove(gguf, "general.architecture");
    assert_no_model(gguf, "small.gguf: key 'general.architecture' is missing");
}

static void test_other_tensors(void **state) {
    (void)state;
    Checkpoint *c = small_hf(LLAMA, 0);
    small_add(c, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 2);
    small_add(c, "model.layers.0.self_attn.extra", 0, 2);
    Model *m = small_open(c);
    assert_int_equal(m->n_tensors, c->n_tensors);
    assert_int_equal(m->tensors[m->n_tensors - 1].role, ROLE_OTHER);
    assert_int_equal(m->tensors[m->n_tensors - 2].role, ROLE_OTHER);
    assert_notices(m, "tensor 'model.layers.0.self_attn.extra' is not one of the family llama; it is carried "
                      "as it is");
    small_close(m);
}

/* Such a checkpoint packs its weights under names and shapes of its own. */
static void test_quantisation_config(void **state) {
    (void)state;
    const char *config = LLAMA ", \"quantization_config\": {\"quant_method\": \"gptq\"}";
    Checkpoint *c = small_hf_without(config, 0, "model.layers.1.self_attn.q_proj.weight");
    small_add(c, "model.layers.1.self_attn.q_proj.qweight", 4, 4);
    ((Tensor *)checkpoint_find(c, "model.layers.2.mlp.up_proj.weight"))->shape[0] = 3;
    Model *m = small_open(c);
    assert_true(m->quantized_config);
    assert_null(model_tensor(m, ROLE_Q, 1));
    assert_null(model_tensor(m, ROLE_UP, 2));
    assert_non_null(model_tensor(m, ROLE_K, 1));
    assert_int_equal(m->n_tensors, c->n_tensors);
    assert_notices(
        m, "the source has a quantization_config (gptq): its weights are carried as they are, only metadata "
           "can change");
    small_close(m);
}

/* ---- GGUF ---- */

static void test_gguf_llama(void **state) {
    (void)state;
    Checkpoint *c = small_gguf("llama", QKV_BIAS);
    meta_set_f32(c, "llama.rope.freq_base", 5000);
    meta_set_u32(c, "llama.rope.dimension_count", 4);
    Model *m = small_open(c);
    assert_int_equal(m->spec.vocab, 10);
    assert_false(m->spec.tied_head);
    assert_close(m->spec.layers[0].rope_base, 5000);
    assert_close(m->spec.layers[0].softmax_scale, 0.5);
    assert_true(m->spec.layers[0].q_bias && !m->spec.layers[0].o_bias);
    assert_layers(m, "RRRR", "....", 0);
    assert_null(m->config);
    const ModelTensor *t = model_tensor(m, ROLE_O, 1);
    assert_string_equal(t->tensor.name, "model.layers.1.self_attn.o_proj.weight");
    assert_string_equal(t->origin->name, "blk.1.attn_output.weight");
    small_close(m);
}

/* Interleaved pairs (0,1)(2,3) become halves (0,2)(1,3): rows 0 2 1 3 of each head, of weight and bias. */
static void test_gguf_rows(void **state) {
    (void)state;
    static const char *const archs[] = {"llama", "granite", "smollm3", "granite_swa", "qwen2"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        bool sinks = strcmp(archs[i], "granite_swa") == 0; /* the only one of them that has sinks */
        Checkpoint *c = small_gguf(archs[i], QKV_BIAS | (sinks ? SINKS : 0));
        meta_set_f32(c, small_key(c, "logit_scale"), 1);
        meta_set_u32(c, small_key(c, "attention.sliding_window"), 8);
        meta_set_array(c, small_key(c, "attention.sliding_window_pattern"), META_BOOL, "\1\0\0\1", 4);
        Model *m = small_open(c);
        const float moved[8] = {0, 2, 1, 3, 4, 6, 5, 7}, kept[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        const float *expected = strcmp(archs[i], "qwen2") == 0 ? kept : moved;
        assert_values(&model_tensor(m, ROLE_K_BIAS, 0)->tensor, expected, 8);
        assert_values(&model_tensor(m, ROLE_V_BIAS, 0)->tensor, kept, 8);
        float row[16];
        Error e = {0};
        for (uint64_t r = 0; r < 8; r++) {
            assert_true(tensor_read_rows(&model_tensor(m, ROLE_K, 2)->tensor, r, 1, row, &e));
            assert_true(row[0] == 16 * expected[r] && row[15] == 16 * expected[r] + 15);
            assert_true(tensor_read_rows(&model_tensor(m, ROLE_V, 2)->tensor, r, 1, row, &e));
            assert_true(row[0] == 16 * (float)r);
        }
        small_close(m);
    }
}

static void test_gguf_hybrids(void **state) {
    (void)state;
    Model *m = small_open(small_gguf("smollm3", TIED));
    assert_true(m->spec.tied_head);
    assert_layers(m, "RRR.", "....", 0);
    small_close(m);
    Checkpoint *c = small_gguf("granite", 0);
    meta_set_f32(c, "granite.logit_scale", 4);
    meta_set_f32(c, "granite.residual_scale", 0.5f);
    meta_set_f32(c, "granite.embedding_scale", 12);
    meta_set_f32(c, "granite.attention.scale", 0.125f);
    meta_set_bool(c, "granite.rope.scaling.finetuned", false);
    m = small_open(c);
    assert_layers(m, "....", "....", 0);
    assert_close(m->spec.logit_scale, 0.25);
    assert_close(m->spec.residual_scale, 0.5);
    assert_close(m->spec.embedding_scale, 12);
    assert_close(m->spec.layers[0].softmax_scale, 0.125);
    small_close(m);
    c = small_gguf("granite_swa", SINKS);
    meta_set_f32(c, "granite_swa.logit_scale", 1);
    meta_set_u32(c, "granite_swa.attention.sliding_window", 9);
    meta_set_array(c, "granite_swa.attention.sliding_window_pattern", META_BOOL, "\1\0\1\0", 4);
    meta_set_array(c, "granite_swa.attention.rope_pattern", META_U32, (uint32_t[]){1, 0, 0, 1}, 4);
    m = small_open(c);
    assert_layers(m, "R..R", "w.w.", 9);
    assert_true(m->spec.layers[0].sinks);
    small_close(m);
}

static void test_gguf_granite_refused(void **state) {
    (void)state;
    assert_no_model(small_gguf("granite", 0), "small.gguf: key 'granite.logit_scale' is missing or 0");
    Checkpoint *c = small_gguf("granite_swa", SINKS);
    assert_no_model(c, "small.gguf: key 'granite_swa.attention.sliding_window' is missing or out of range");
    c = small_gguf("granite_swa", SINKS);
    meta_set_u32(c, "granite_swa.attention.sliding_window", 9);
    meta_set_array(c, "granite_swa.attention.sliding_window_pattern", META_BOOL, "\1\0", 2);
    assert_no_model(c, "small.gguf: key 'granite_swa.attention.sliding_window_pattern' is missing or shorter "
                       "than 4 layers");
    c = small_gguf("granite_swa", 0);
    meta_set_f32(c, "granite_swa.logit_scale", 1);
    meta_set_u32(c, "granite_swa.attention.sliding_window", 9);
    meta_set_array(c, "granite_swa.attention.sliding_window_pattern", META_BOOL, "\1\0\1\0", 4);
    assert_no_model(c, "small.gguf: tensor 'blk.0.attn_sinks.weight' is missing");
}

static void test_gguf_scaling(void **state) {
    (void)state;
    Checkpoint *c = small_gguf("qwen2", QKV_BIAS);
    meta_set_string(c, "qwen2.rope.scaling.type", "yarn", 4);
    meta_set_f32(c, "qwen2.rope.scaling.factor", 4);
    meta_set_f32(c, "qwen2.rope.scaling.attn_factor", 0.5f);
    meta_set_u32(c, "qwen2.rope.scaling.original_context_length", 32);
    meta_set_f32(c, "qwen2.rope.scaling.yarn_beta_fast", 20); /* llama.cpp does not look at it */
    Model *m = small_open(c);
    const RopeScaling *r = &m->spec.layers[0].scaling;
    assert_int_equal(r->kind, ROPE_SCALING_YARN);
    assert_close(r->factor, 4);
    assert_close(r->original_context, 32);
    assert_close(r->beta_fast, 32);
    assert_close(r->attention_factor, 0.5 * (0.1 * log(4) + 1));
    small_close(m);
    c = small_gguf("llama", 0); /* a factor without a type is linear */
    meta_set_f32(c, "llama.rope.scale_linear", 2);
    m = small_open(c);
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_LINEAR);
    assert_close(m->spec.layers[0].scaling.factor, 2);
    small_close(m);
    c = small_gguf("llama", 0);
    meta_set_string(c, "llama.rope.scaling.type", "none", 4);
    meta_set_f32(c, "llama.rope.scaling.factor", 2);
    m = small_open(c);
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_NONE);
    small_close(m);
    c = small_gguf("llama", 0);
    meta_set_string(c, "llama.rope.scaling.type", "linear", 6);
    meta_set_f32(c, "llama.rope.scaling.factor", 1e30f);
    m = small_open(c);
    assert_layers(m, "....", "....", 0);
    small_close(m);
    c = small_gguf("llama", 0);
    meta_set_string(c, "llama.rope.scaling.type", "longrope", 8);
    assert_no_model(c, "small.gguf: rope scaling 'longrope' is not supported (none, linear, yarn)");
}

static Checkpoint *with_divisors(float base, float first, float second) {
    Checkpoint *c = small_gguf("llama", 0);
    meta_set_f32(c, "llama.rope.freq_base", base);
    small_add(c, "rope_freqs.weight", 0, 2);
    float *divisors = (float *)tensor_map(checkpoint_find(c, "rope_freqs.weight"));
    divisors[0] = first;
    divisors[1] = second;
    return c;
}

/* llama.cpp's table of divisors, bands 1 and 4: waves of 2 pi and 2 pi sqrt(base) tokens. */
static void test_gguf_llama3(void **state) {
    (void)state;
    /* a context of 20 has the first wave in the middle band */
    double share = (20 / (2 * M_PI) - 1) / 3;
    Model *m = small_open(with_divisors(500, (float)(1 / ((1 - share) / 8 + share)), 8));
    const RopeScaling *r = &m->spec.layers[0].scaling;
    assert_int_equal(r->kind, ROPE_SCALING_LLAMA3);
    assert_close(r->factor, 8);
    assert_close(r->low_freq_factor, 1);
    assert_close(r->high_freq_factor, 4);
    assert_close(r->original_context, 20);
    assert_int_equal(m->tensors[m->n_tensors - 1].role, ROLE_OTHER);
    assert_notices(m, "");
    small_close(m);
    m = small_open(with_divisors(5e6f, 1, 32));
    assert_close(m->spec.layers[0].scaling.original_context, 8192);
    small_close(m);
    m = small_open(with_divisors(500, 1, 8)); /* any context from 26 to 140 */
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_LLAMA3);
    small_close(m);
    m = small_open(with_divisors(500, 1, 1));
    assert_int_equal(m->spec.layers[0].scaling.kind, ROPE_SCALING_NONE);
    small_close(m);
    assert_no_model(with_divisors(500, 4, 2), "small.gguf: tensor 'rope_freqs.weight' is not Llama 3's table "
                                              "(element 0 is 4, expected 2)");
    assert_no_model(with_divisors(500, 1, 0),
                    "small.gguf: tensor 'rope_freqs.weight' does not end in a factor");
    assert_no_model(with_divisors(500, 1, NAN),
                    "small.gguf: tensor 'rope_freqs.weight' does not end in a factor");
    Checkpoint *c = small_gguf("llama", 0);
    small_add(c, "rope_freqs.weight", 0, 3);
    assert_no_model(c, "small.gguf: tensor 'rope_freqs.weight': 3 elements, expected 2");
}

static void test_gguf_sizes_refused(void **state) {
    (void)state;
    static const struct {
        const char *suffix;
        uint32_t value;
        const char *message;
    } cases[] = {
        {"block_count", 2147483648u, "key 'llama.block_count': 2147483648 is not between 1 and 512"},
        {"block_count", 0, "key 'llama.block_count': 0 is not between 1 and 512"},
        {"block_count", 500, "500 layers are claimed, but there are only 39 tensors"},
        {"block_count", 5, "tensor 'blk.4.attn_norm.weight' is missing"},
        {"block_count", 3, "tensor 'blk.3.attn_norm.weight' is of layer 3, but 3 layers are claimed"},
        {"attention.head_count", 0, "key 'llama.attention.head_count': 0 is not between 1 and 4096"},
        {"attention.head_count", 3, "an embedding_length of 16 is not a multiple of 3 heads"},
        {"attention.head_count_kv", 3, "4 heads of 4 dimensions over 3 key/value heads make no model"},
        {"attention.key_length", 0, "key 'llama.attention.key_length': 0 is not between 1 and 8192"},
        {"attention.key_length", 3, "4 heads of 3 dimensions over 2 key/value heads make no model"},
        {"attention.value_length", 8,
         "key 'llama.attention.value_length': 8, while keys have 4 dimensions: not supported"},
        {"rope.dimension_count", 2,
         "key 'llama.rope.dimension_count': 2 of 4 dimensions: llama rotates whole heads"},
        {"rope.dimension_count", 9, "key 'llama.rope.dimension_count': 9 is not between 0 and 4"},
        {"expert_count", 8, "key 'llama.expert_used_count': expected a whole number, found nothing"},
        {"feed_forward_length", 25,
         "tensor 'blk.0.ffn_gate.weight': shape [24, 16], the configuration says [25, 16]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Checkpoint *c = small_gguf("llama", 0);
        char message[300];
        meta_set_u32(c, small_key(c, cases[i].suffix), cases[i].value);
        if (strcmp(cases[i].suffix, "attention.key_length") == 0)
            meta_set_u32(c, small_key(c, "attention.value_length"), cases[i].value);
        snprintf(message, sizeof message, "small.gguf: %s", cases[i].message);
        assert_no_model(c, message);
    }
}

static void test_gguf_values_refused(void **state) {
    (void)state;
    Checkpoint *c = small_gguf("llama", 0);
    meta_set_f32(c, "llama.rope.freq_base", NAN);
    assert_no_model(c, "small.gguf: key 'llama.rope.freq_base': expected a number");
    c = small_gguf("llama", 0);
    meta_set_f32(c, "llama.rope.freq_base", -1);
    assert_no_model(c, "small.gguf: key 'llama.rope.freq_base': -1 is no base");
    c = small_gguf("llama", 0);
    meta_set_string(c, "llama.rope.freq_base", "x", 1);
    assert_no_model(c, "small.gguf: key 'llama.rope.freq_base': expected a number");
    c = small_gguf("llama", 0);
    meta_remove(c, "llama.block_count");
    assert_no_model(c, "small.gguf: key 'llama.block_count': expected a whole number, found nothing");
    c = small_gguf("llama", 0);
    meta_set_string(c, "llama.block_count", "4", 1);
    assert_no_model(c, "small.gguf: key 'llama.block_count': expected a whole number, found another type");
    c = small_gguf("llama", 0);
    meta_set_array(c, "llama.attention.head_count_kv", META_U32, (uint32_t[]){2, 2, 4, 2}, 4);
    assert_no_model(c, "small.gguf: key 'llama.attention.head_count_kv': expected a whole number, found a "
                       "list of different numbers");
    c = small_gguf("llama", 0);
    meta_set_array(c, "llama.attention.head_count_kv", META_U32, (uint32_t[]){2, 2, 2, 2}, 4);
    Model *m = small_open(c);
    assert_int_equal(m->spec.layers[0].n_kv_heads, 2);
    small_close(m);
    c = small_gguf("llama", 0);
    meta_set_string_array(c, "tokenizer.ggml.tokens", (const char *const[]){"a", "b"}, (size_t[]){1, 1}, 2);
    assert_no_model(c, "small.gguf: tensor 'token_embd.weight' has 10 rows for 2 tokens");
}

/* ---- a GGUF that derope wrote ---- */

/* Gives all sinks of a GGUF the value -1e4, as carriers add them. */
static void neutralize_sinks(const Checkpoint *c) {
    for (int i = 0; i < LAYERS; i++) {
        char name[100];
        snprintf(name, sizeof name, "blk.%d.attn_sinks.weight", i);
        float *v = (float *)(uintptr_t)checkpoint_find(c, name)->parts[0].source->map;
        for (int k = 0; k < HEADS; k++)
            v[k] = -1e4f;
    }
}

static void test_gguf_restored(void **state) {
    (void)state;
    const char *config = "{" SMALL_SIZES ", \"model_type\": \"smollm3\", \"tie_word_embeddings\": false, "
                         "\"no_rope_layers\": [1, 1, 0, 0], \"keep\": \"me\"}";
    const char *dtypes = "{\"model.norm.weight\": \"bf16\", \"model.layers.0.mlp.up_proj.weight\": \"i64\"}";
    Checkpoint *c = small_gguf("granite_swa", SINKS);
    meta_set_f32(c, "granite_swa.logit_scale", 1);
    meta_set_string(c, DEROPE_CONFIG, config, strlen(config));
    meta_set_string(c, DEROPE_DTYPES, dtypes, strlen(dtypes));
    neutralize_sinks(c);
    Model *m = small_open(c);
    assert_string_equal(m->family->name, "smollm3");
    assert_layers(m, "RR..", "....", 0);
    assert_string_equal(json_string_value(json_object_get(m->config, "keep")), "me");
    assert_null(model_tensor(m, ROLE_SINKS, 0)); /* the carrier's, not the model's */
    assert_false(m->spec.layers[0].sinks);
    const Tensor *norm = &model_tensor(m, ROLE_FINAL_NORM, -1)->tensor;
    assert_int_equal(norm->dtype, DTYPE_BF16);
    assert_int_equal(norm->exact_dtype, DTYPE_BF16);
    assert_int_equal(model_tensor(m, ROLE_UP, 0)->tensor.dtype, DTYPE_F32); /* no widening leads there */
    const float rows[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (uint64_t r = 0; r < 8; r++) {
        float row[16];
        Error e = {0};
        assert_true(tensor_read_rows(&model_tensor(m, ROLE_K, 0)->tensor, r, 1, row, &e));
        assert_true(row[0] == 16 * rows[r]);
    }
    small_close(m);
    c = small_gguf("llama", 0);
    meta_set_string(c, DEROPE_CONFIG, "{]", 2);
    assert_no_model(c, "small.gguf: derope.config.json:1:2: not valid JSON: string or '}' expected near ']'");
    c = small_gguf("llama", 0);
    meta_set_string(c, DEROPE_CONFIG, "{}", 2);
    assert_no_model(c, "small.gguf: derope.config.json: unknown model_type");
}

/* ---- damage ---- */

/* Accepted, or refused as bad input with a message; never anything else. */
static void assert_sound_model(Checkpoint *c) {
    Error e = {0};
    Model *m = model_open(c, &e);
    if (!m) {
        assert_int_equal(e.code, ERR_INPUT);
        assert_memory_equal(e.message, "small", 5);
        return;
    }
    json_t *o = spec_to_json(&m->spec);
    assert_non_null(o);
    json_decref(o);
    model_close(m);
}

static void test_damaged_config(void **state) {
    (void)state;
    const char *config = "\"model_type\": \"granite_swa\", \"layer_rope_theta\": [0, 100, 0, 2.5], "
                         "\"sliding_window\": 9, \"logits_scaling\": 2, \"rope_scaling\": {\"rope_type\": "
                         "\"yarn\", \"factor\": 4.0}, \"layer_types\": [\"sliding_attention\", "
                         "\"full_attention\", \"full_attention\", \"sliding_attention\"]";
    Checkpoint *c = small_hf(config, SINKS | TIED);
    const SideFile *file = checkpoint_file(c, "config.json");
    size_t n = file->size;
    uint8_t *whole = xmalloc(n), *text = xmalloc(n);
    memcpy(whole, file->bytes, n);
    memcpy(text, whole, n);
    for (size_t i = 0; i < n; i++) {
        checkpoint_add_file(c, "config.json", text, i);
        assert_sound_model(c);
        checkpoint_add_file(c, "config.json", text, n);
        for (int bit = 0; bit < 8; bit++) {
            text[i] = whole[i] ^ (uint8_t)(1 << bit);
            assert_sound_model(c);
        }
        text[i] = whole[i];
    }
    assert_sound_model(c);
    checkpoint_close(c);
    free(whole);
    free(text);
}

static void test_damaged_metadata(void **state) {
    (void)state;
    Checkpoint *c = small_gguf("granite_swa", SINKS);
    meta_set_f32(c, "granite_swa.logit_scale", 1);
    meta_set_f32(c, "granite_swa.attention.scale", 0.5f);
    meta_set_f32(c, "granite_swa.rope.freq_base", 500);
    meta_set_f32(c, "granite_swa.rope.scaling.factor", 4);
    meta_set_string(c, "granite_swa.rope.scaling.type", "yarn", 4);
    meta_set_u32(c, "granite_swa.attention.key_length", 4);
    meta_set_u32(c, "granite_swa.attention.value_length", 4);
    meta_set_u32(c, "granite_swa.rope.dimension_count", 4);
    meta_set_u32(c, "granite_swa.attention.sliding_window", 9);
    meta_set_array(c, "granite_swa.attention.sliding_window_pattern", META_BOOL, "\1\0\1\0", 4);
    meta_set_array(c, "granite_swa.attention.rope_pattern", META_U32, (uint32_t[]){1, 0, 0, 1}, 4);
    for (size_t i = 0; i < c->n_meta; i++) {
        bool is_text = c->meta[i].type == META_STRING; /* its length is checked by the reader */
        for (uint64_t at = is_text ? 8 : 0; at < c->meta[i].size; at++)
            for (int bit = 0; bit < 8; bit++) {
                uint8_t *byte = (uint8_t *)c->meta[i].bytes + at, before = *byte;
                *byte ^= (uint8_t)(1 << bit);
                assert_sound_model(c);
                *byte = before;
            }
        MetaType type = c->meta[i].type;
        c->meta[i].type = type == META_U32 ? META_F32 : META_U32;
        if (c->meta[i].size >= 4) assert_sound_model(c);
        c->meta[i].type = type;
    }
    Model *m = small_open(c);
    assert_layers(m, "R..R", "w.w.", 9);
    small_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_llama_biases),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_smollm3),
        cmocka_unit_test(test_granite),
        cmocka_unit_test(test_granite_swa),
        cmocka_unit_test(test_rope_keys),
        cmocka_unit_test(test_rope_keys_by_layer_type),
        cmocka_unit_test(test_rope_keys_refused),
        cmocka_unit_test(test_sizes_refused),
        cmocka_unit_test(test_sizes_against_tensors),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_missing_tensors),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_other_tensors),
        cmocka_unit_test(test_quantisation_config),
        cmocka_unit_test(test_gguf_llama),
        cmocka_unit_test(test_gguf_rows),
        cmocka_unit_test(test_gguf_hybrids),
        cmocka_unit_test(test_gguf_granite_refused),
        cmocka_unit_test(test_gguf_scaling),
        cmocka_unit_test(test_gguf_llama3),
        cmocka_unit_test(test_gguf_sizes_refused),
        cmocka_unit_test(test_gguf_values_refused),
        cmocka_unit_test(test_gguf_restored),
        cmocka_unit_test(test_damaged_config),
        cmocka_unit_test(test_damaged_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
