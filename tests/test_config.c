/* What a config.json means: keys that are known, ignored or refused, keys with two names, published values
 * that are corrected, and names that tensors have in files of base models and of multimodal models. Held
 * against transformers itself in tests/peers/test_families.py. */
#include <math.h>

#include "formats/json.h"
#include "surgery/notices.h"
#include "tests/small_model.h"

#define LLAMA "\"model_type\": \"llama\""

/* Opens a configuration without weights; `config` is what follows SMALL_SIZES. */
static Model *configured(const char *config) {
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    char text[3000];
    snprintf(text, sizeof text, "{" SMALL_SIZES ", %s}", config);
    c->path = "small";
    checkpoint_set_file(c, "config.json", text, strlen(text));
    Model *m = model_open_config(c, &e);
    if (!m) fail_msg("%s", e.message);
    return m;
}

/* The only notice of the model; "" if it has none. */
static const char *notice(const Model *m) {
    assert_true(json_array_size(m->notices) <= 1);
    return json_array_size(m->notices) ? json_string_value(json_array_get(m->notices, 0)) : "";
}

static void assert_close(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-7 * fabs(expected))) fail_msg("%g is not %g", found, expected);
}

/* ---- known and unknown keys ---- */

static void test_keys_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {LLAMA ", \"is_causal\": false", "is_causal is false: tokens would attend to later ones"},
        {LLAMA ", \"is_causal\": null", "is_causal is null: tokens would attend to later ones"},
        {"\"model_type\": \"qwen3\", \"is_causal\": 0", "is_causal is 0: tokens would attend to later ones"},
        {"\"model_type\": \"gemma\", \"use_bidirectional_attention\": true",
         "use_bidirectional_attention is true: tokens would attend to later ones"},
        {"\"model_type\": \"gemma3_text\", \"use_bidirectional_attention\": \"all\"",
         "use_bidirectional_attention is \"all\": tokens would attend to later ones"},
        {"\"model_type\": \"gpt_oss\", \"swiglu_limit\": 1.5",
         "swiglu_limit is 1.5: derope and llama.cpp limit the experts' activation to 7"},
        {"\"model_type\": \"gpt_oss\", \"swiglu_alpha\": 1",
         "swiglu_alpha is 1: derope and llama.cpp compute the experts' activation with 1.702"},
        {LLAMA ", \"per_layer_config\": {\"0\": {\"head_dim\": 8}}",
         "per_layer_config is {\"0\": {\"head_dim\": 8}}: layers would have configurations of their own"},
        {LLAMA ", \"quantization\": {\"bits\": 4}",
         "quantization is {\"bits\": 4}: MLX's packed weights are not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char message[300];
        snprintf(message, sizeof message, "small: config.json: %s", cases[i][1]);
        assert_no_model(small_hf(cases[i][0], 0), message);
    }
}

static void test_keys_accepted(void **state) {
    (void)state;
    static const char *const cases[] = {
        LLAMA ", \"is_causal\": true, \"pruned_heads\": {}, \"is_encoder_decoder\": false",
        LLAMA ", \"_name_or_path\": \"x\", \"attention_dropout\": 0.1, \"use_cache\": true, \"top_p\": 0.9",
        LLAMA
        ", \"sliding_window\": null, \"never_seen\": null, \"attention_bias\": false, \"mlp_bias\": false",
        "\"model_type\": \"gemma2\", \"use_bidirectional_attention\": null, \"hidden_act\": \"x\", "
        "\"hidden_activation\": \"gelu_pytorch_tanh\"",
        "\"model_type\": \"gpt_oss\", \"swiglu_limit\": 7.0, \"swiglu_alpha\": 1.702, \"attention_bias\": "
        "true",
        "\"model_type\": \"gpt_neox\", \"rotary_pct\": 0.5, \"rotary_emb_base\": 10000, \"layer_norm_eps\": "
        "1e-5",
        "\"model_type\": \"phi\", \"partial_rotary_factor\": 0.5, \"qk_layernorm\": false",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Model *m = configured(cases[i]);
        assert_string_equal(notice(m), "");
        assert_false(m->config_amended);
        small_close(m);
    }
}

static void test_unknown_keys(void **state) {
    (void)state;
    Model *m = configured(LLAMA ", \"use_sliding_window\": true, \"sliding_window\": 8, \"rope_scaling\": "
                                "{\"type\": \"dynamic\", \"factor\": 2, \"alpha\": 1000}");
    assert_string_equal(notice(m), "config.json: keys that LlamaForCausalLM does not read are ignored: "
                                   "use_sliding_window, sliding_window, rope_scaling.alpha");
    small_close(m);
    /* usual names that the family does not use, and a list that is cut */
    m = configured("\"model_type\": \"gpt_neox\", \"partial_rotary_factor\": 0.5, \"rope_theta\": 500");
    assert_string_equal(notice(m), "config.json: keys that GPTNeoXForCausalLM does not read are ignored: "
                                   "partial_rotary_factor, rope_theta");
    assert_close(m->spec.layers[0].rope_base, 10000);
    small_close(m);
    m = configured(LLAMA ", \"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1, \"f\": 1, \"g\": 1, \"h\": 1, "
                         "\"i\": 1, \"j\": 1, \"k\": 1");
    assert_string_equal(notice(m),
                        "config.json: keys that LlamaForCausalLM does not read are ignored: a, b, c, "
                        "d, e, f, g, h, i, j, ...");
    small_close(m);
}

/* ---- keys and types that stand for others ---- */

static void test_second_names(void **state) {
    (void)state;
    static const char *const cases[] = {
        "\"model_type\": \"mixtral\", \"num_experts\": 6",
        "\"model_type\": \"mixtral\", \"num_experts\": 6, \"num_local_experts\": 4",
        "\"model_type\": \"qwen3_moe\", \"num_local_experts\": 6",
        "\"model_type\": \"qwen3_moe\", \"num_local_experts\": 6, \"num_experts\": 128",
        "\"model_type\": \"gpt_oss\", \"num_experts\": 6, \"num_local_experts\": 128",
        "\"model_type\": \"olmoe\", \"num_local_experts\": 6",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Model *m = configured(cases[i]);
        assert_int_equal(m->spec.layers[0].n_experts, 6);
        assert_true(m->config_amended);
        assert_string_equal(notice(m), "");
        /* an output has one of the names, which both releases of transformers read */
        bool local = json_object_get(m->config, "num_local_experts");
        assert_true(local != (json_object_get(m->config, "num_experts") != NULL));
        small_close(m);
    }
}

static void test_mistral_with_layer_types(void **state) {
    (void)state;
    Model *m = configured("\"model_type\": \"mistral\", \"sliding_window\": 8, \"layer_types\": "
                          "[\"sliding_attention\", \"full_attention\", \"full_attention\", "
                          "\"sliding_attention\"]");
    assert_string_equal(m->family->hf.model_type, "ministral");
    assert_string_equal(json_get_string(m->config, "model_type"), "ministral");
    for (int i = 0; i < LAYERS; i++)
        assert_int_equal(m->spec.layers[i].window, i == 0 || i == 3 ? 8 : 0);
    assert_string_equal(notice(m),
                        "config.json: model_type 'mistral' with layer_types is read as 'ministral', as "
                        "transformers 5 does; transformers 4 ignores layer_types");
    small_close(m);
}

static void test_corrected_values(void **state) {
    (void)state;
    Model *m = configured("\"model_type\": \"gemma\", \"hidden_act\": \"gelu\"");
    assert_int_equal(m->spec.layers[0].activation, ACT_GELU_TANH);
    assert_string_equal(json_get_string(m->config, "hidden_act"), "gelu_pytorch_tanh");
    assert_string_equal(notice(m),
                        "config.json: hidden_act 'gelu' of a Gemma is read as 'gelu_pytorch_tanh', as "
                        "transformers 5 does; transformers 4 computes the exact GELU");
    small_close(m);
    /* only Gemma 3 reads sliding_window_pattern, and it has no soft cap on scores */
    m = configured("\"model_type\": \"gemma2\", \"sliding_window_pattern\": 3");
    assert_true(m->spec.layers[0].window && !m->spec.layers[1].window && m->spec.layers[2].window);
    small_close(m);
    m = configured("\"model_type\": \"gemma3_text\", \"sliding_window_pattern\": 3, "
                   "\"attn_logit_softcapping\": 2.0");
    assert_true(m->spec.layers[1].window && !m->spec.layers[2].window);
    assert_true(m->spec.layers[0].softcap == 0);
    small_close(m);
}

/* ---- rotation ---- */

static void test_rope_by_window(void **state) {
    (void)state;
    /* types follow from the pattern of windows where layer_types is absent */
    Model *m =
        configured("\"model_type\": \"gemma3_text\", \"sliding_window\": 8, \"sliding_window_pattern\": 2, "
                   "\"rope_parameters\": {\"sliding_attention\": {\"rope_theta\": 100}, "
                   "\"full_attention\": {\"rope_theta\": 900, \"rope_type\": \"linear\", \"factor\": 3}}");
    for (int i = 0; i < LAYERS; i++) {
        const LayerSpec *l = &m->spec.layers[i];
        assert_int_equal(l->window, i % 2 ? 0 : 8);
        assert_close(l->rope_base, i % 2 ? 900 : 100);
        assert_int_equal(l->scaling.kind, i % 2 ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE);
    }
    small_close(m);
    /* the legacy keys, and what is not stated */
    m = configured("\"model_type\": \"gemma3_text\", \"sliding_window_pattern\": 2, \"rope_scaling\": "
                   "{\"rope_type\": \"linear\", \"factor\": 8}, \"rope_theta\": 5000");
    assert_close(m->spec.layers[0].rope_base, 10000);
    assert_close(m->spec.layers[1].rope_base, 5000);
    assert_close(m->spec.layers[1].scaling.factor, 8);
    small_close(m);
    /* OLMo 3 has no key for the base of layers with a window */
    m = configured("\"model_type\": \"olmo3\", \"rope_theta\": 5000");
    assert_close(m->spec.layers[0].rope_base, 500000);
    assert_close(m->spec.layers[3].rope_base, 5000);
    small_close(m);
}

static void test_original_context(void **state) {
    (void)state;
    /* beside the mapping, then inside; a class may have a default that wins over the one inside */
    Model *m =
        configured(LLAMA ", \"original_max_position_embeddings\": 16, \"rope_scaling\": {\"rope_type\": "
                         "\"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 32}");
    assert_close(m->spec.layers[0].scaling.original_context, 16);
    small_close(m);
    static const char phi3[] = "\"model_type\": \"phi3\", \"rope_scaling\": {\"type\": \"longrope\", "
                               "\"short_factor\": [1, 2], \"long_factor\": [3, 4]";
    char config[300];
    snprintf(config, sizeof config, "%s, \"original_max_position_embeddings\": 32}", phi3);
    m = configured(config);
    assert_close(m->spec.layers[0].scaling.original_context, 4096);
    small_close(m);
    /* a stated factor counts, also where the contexts have another ratio */
    snprintf(config, sizeof config, "%s, \"factor\": 9}, \"original_max_position_embeddings\": 32", phi3);
    m = configured(config);
    assert_close(m->spec.layers[0].scaling.factor, 9);
    assert_false(m->config_amended);
    small_close(m);
}

/* Outside Phi-3, transformers 4 would compute another attention factor, so it is stated. */
static void test_attention_factor_stated(void **state) {
    (void)state;
    Model *m = configured(LLAMA ", \"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 2], "
                                "\"long_factor\": [3, 4], \"factor\": 9, "
                                "\"original_max_position_embeddings\": 32}");
    double stated = 0;
    assert_true(json_get_f64(json_object_get(m->config, "rope_scaling"), "attention_factor", &stated));
    assert_close(stated, sqrt(1 + log(9) / log(32)));
    assert_close(m->spec.layers[0].scaling.attention_factor, stated);
    assert_int_equal(json_integer_value(json_object_get(m->config, "original_max_position_embeddings")), 32);
    small_close(m);
}

static void test_gpt_oss_without_scaling(void **state) {
    (void)state;
    static const struct {
        const char *config;
        RopeScalingKind kind;
        const char *notice;
    } cases[] = {
        {"\"x_\": null", ROPE_SCALING_YARN, ""},
        {"\"rope_scaling\": null, \"transformers_version\": \"5.23.0\"", ROPE_SCALING_YARN,
         "config.json: rope_scaling is null, which means none to transformers 4 and YaRN by 32 to "
         "transformers "
         "5; read as YaRN, since transformers_version is 5.23.0"},
        {"\"rope_scaling\": null, \"transformers_version\": \"4.56.0\"", ROPE_SCALING_NONE,
         "config.json: rope_scaling is null, which means none to transformers 4 and YaRN by 32 to "
         "transformers "
         "5; read as none, since transformers_version is 4.56.0"},
        {"\"rope_scaling\": {\"rope_type\": \"default\"}", ROPE_SCALING_NONE, ""},
        {"\"rope_scaling\": null, \"rope_parameters\": {\"rope_theta\": 900}", ROPE_SCALING_NONE, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[300];
        snprintf(config, sizeof config, "\"model_type\": \"gpt_oss\", %s", cases[i].config);
        Model *m = configured(config);
        assert_int_equal(m->spec.layers[0].scaling.kind, cases[i].kind);
        assert_string_equal(notice(m), cases[i].notice);
        small_close(m);
    }
}

/* transformers makes a mask without a window's size and fails. */
static void test_windows_without_a_size(void **state) {
    (void)state;
    assert_no_model(
        small_hf("\"model_type\": \"qwen2\", \"use_sliding_window\": false, \"sliding_window\": 8, "
                 "\"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\", "
                 "\"full_attention\"]",
                 QKV_BIAS),
        "small: config.json: layer_types[2] is 'sliding_attention', but no sliding_window is in use");
    assert_no_model(small_hf("\"model_type\": \"exaone4\", \"sliding_window_pattern\": \"LG\"", 0),
                    "small: config.json: sliding_window_pattern: expected a whole number, found \"LG\"");
    assert_no_model(
        small_hf("\"model_type\": \"gpt_neox\", \"head_dim\": 8", 0),
        "small: config.json: head_dim is 8, but gpt_neox takes hidden_size / num_attention_heads, 4");
    assert_no_model(small_hf("\"model_type\": \"falcon\", \"rotary\": true", 0),
                    "small: config.json: rotary is true: transformers fails on this key (alibi says it)");
}

/* ---- names of tensors ---- */

/* The checkpoint with every tensor called something else: `base` replaces "model.", `head` precedes other
 * names. */
static Checkpoint *renamed(Checkpoint *c, const char *base, const char *head) {
    Checkpoint *out = checkpoint_new(FORMAT_HF);
    out->path = "small";
    const SideFile *config = checkpoint_file(c, "config.json");
    checkpoint_set_file(out, "config.json", config->bytes, config->size);
    for (size_t i = 0; i < c->n_tensors; i++) {
        Tensor t = c->tensors[i];
        bool inner = strncmp(t.name, "model.", 6) == 0;
        t.name = arena_printf(&out->arena, "%s%s", inner ? base : head, t.name + (inner ? 6 : 0));
        small_add(out, t.name, t.rank == 2 ? t.shape[0] : 0, t.shape[t.rank - 1]);
    }
    checkpoint_close(c);
    return out;
}

static void test_bare_names(void **state) {
    (void)state;
    Model *m = small_open(renamed(small_hf(LLAMA, 0), "", ""));
    assert_string_equal(model_tensor(m, ROLE_DOWN, 2)->tensor.name, "model.layers.2.mlp.down_proj.weight");
    assert_string_equal(model_tensor(m, ROLE_DOWN, 2)->origin->name, "layers.2.mlp.down_proj.weight");
    assert_string_equal(model_tensor(m, ROLE_HEAD, -1)->tensor.name, "lm_head.weight");
    assert_string_equal(notice(m), "");
    small_close(m);
}

static void test_prefixes(void **state) {
    (void)state;
    assert_no_model(
        renamed(small_hf(LLAMA, 0), "module.model.", "module."),
        "small: tensor 'model.embed_tokens.weight' is missing, but there is "
        "'module.model.embed_tokens.weight': remove 'module.' from the start of the names, which a "
        "program that wraps models left there");
    assert_no_model(renamed(small_hf(LLAMA, 0), "_orig_mod.model.", "_orig_mod."),
                    "small: tensor 'model.embed_tokens.weight' is missing, but there is "
                    "'_orig_mod.model.embed_tokens.weight': remove '_orig_mod.' from the start of the names, "
                    "which a program that wraps models left there");
}

static const char gemma3[] =
    "\"model_type\": \"gemma3\", \"dtype\": \"bfloat16\", \"vision_config\": {\"hidden_size\": 8}, "
    "\"text_config\": {" SMALL_SIZES
    ", \"head_dim\": 4, \"sliding_window\": 8, \"tie_word_embeddings\": false}";

static Checkpoint *gemma3_named(const char *base, const char *head) {
    static const char *const norms[] = {"self_attn.q_norm", "self_attn.k_norm", "pre_feedforward_layernorm",
                                        "post_feedforward_layernorm"};
    Checkpoint *c = small_hf(gemma3, 0);
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < 4; k++) {
            char name[100];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, norms[k]);
            small_add(c, name, 0, k < 2 ? HEAD_DIM : WIDTH);
        }
    c = renamed(c, base, head);
    small_add(c, "vision_tower.patch.weight", 4, 4);
    return c;
}

static void test_multimodal(void **state) {
    (void)state;
    static const char *const names[][2] = {{"language_model.model.", "language_model."},
                                           {"model.language_model.", ""}};
    for (size_t i = 0; i < 2; i++) {
        Model *m = small_open(gemma3_named(names[i][0], names[i][1]));
        assert_string_equal(m->family->hf.model_type, "gemma3_text");
        assert_string_equal(json_get_string(m->config, "model_type"), "gemma3_text");
        assert_string_equal(json_get_string(m->config, "dtype"), "bfloat16");
        assert_null(json_object_get(m->config, "vision_config"));
        assert_int_equal(m->n_tensors, m->source->n_tensors - 1);
        assert_string_equal(model_tensor(m, ROLE_Q, 1)->tensor.name,
                            "model.layers.1.self_attn.q_proj.weight");
        assert_string_equal(notice(m),
                            "the source is a multimodal model (gemma3): its text model is opened, as "
                            "gemma3_text; other tensors, which are left out: 1 (first "
                            "'vision_tower.patch.weight')");
        small_close(m);
    }
}

/* Published text_configs leave out sizes that are the defaults of the class. */
static void test_multimodal_defaults(void **state) {
    (void)state;
    Model *m = configured("\"model_type\": \"gemma3\", \"text_config\": {\"model_type\": \"gemma3_text\", "
                          "\"hidden_size\": 2560, \"num_hidden_layers\": 34, \"sliding_window\": 1024}");
    assert_int_equal(m->spec.vocab, 262208);
    assert_int_equal(m->spec.layers[0].n_heads, 8);
    assert_int_equal(m->spec.layers[0].head_dim, 256);
    assert_int_equal(m->spec.hidden_size, 2560);
    assert_true(m->spec.tied_head);
    small_close(m);
}

static void test_multimodal_refused(void **state) {
    (void)state;
    assert_no_model(
        small_hf("\"model_type\": \"qwen2_vl\", \"text_config\": {}", 0),
        "small: config.json: model_type 'qwen2_vl' is a multimodal model that derope does not know "
        "(known: gemma3, mistral3, llama4, llava, llava_next, aya_vision, internvl, idefics3, "
        "smolvlm)");
    assert_no_model(
        small_hf("\"model_type\": \"mistral3\", \"text_config\": {\"model_type\": \"ministral3\"}", 0),
        "small: config.json: the text model of 'mistral3' has model_type 'ministral3', which is not "
        "one derope knows");
    assert_no_model(small_hf("\"model_type\": \"llama4\", \"text_config\": 3", 0),
                    "small: config.json: text_config: expected a mapping, found 3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_refused),
        cmocka_unit_test(test_keys_accepted),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_second_names),
        cmocka_unit_test(test_mistral_with_layer_types),
        cmocka_unit_test(test_corrected_values),
        cmocka_unit_test(test_rope_by_window),
        cmocka_unit_test(test_original_context),
        cmocka_unit_test(test_attention_factor_stated),
        cmocka_unit_test(test_gpt_oss_without_scaling),
        cmocka_unit_test(test_windows_without_a_size),
        cmocka_unit_test(test_bare_names),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_multimodal),
        cmocka_unit_test(test_multimodal_defaults),
        cmocka_unit_test(test_multimodal_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
