/* Which releases of transformers and llama.cpp run what: data of families and carriers, and what is said of a
 * checkpoint. tests/peers/test_runtime_claims.py holds the data against the runtimes. */
#include "surgery/runtimes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "small_model.h"
#include "surgery/carriers/carriers.h"
#include "surgery/families/families.h"

/* Two numbers that are plausible for a release of transformers, or for a month of llama.cpp. */
static void assert_since(Format format, const char *since, const char *name) {
    int major = 0, minor = -1, end = 0;
    const char *form = format == FORMAT_GGUF ? "%4d-%2d%n" : "%1d.%d%n";
    if (!since || sscanf(since, form, &major, &minor, &end) != 2 || since[end])
        fail_msg("%s: since '%s'", name, since ? since : "(none)");
    if (format == FORMAT_GGUF)
        assert_true(major >= 2023 && minor >= 1 && minor <= 12);
    else
        assert_true(major >= 4 && minor >= 0);
}

static void every_carrier_and_family_says_since_when(void **state) {
    (void)state;
    for (const Family *const *f = families; *f; f++) {
        bool custom = (*f)->hf.quirks & HF_CUSTOM_CODE;
        if (custom)
            assert_null((*f)->hf.since);
        else
            assert_since(FORMAT_HF, (*f)->hf.since, (*f)->name);
        assert_since(FORMAT_GGUF, (*f)->gguf.since, (*f)->name);
    }
    for (const Carrier *const *c = carriers; *c; c++) {
        if ((*c)->since) assert_since((*c)->format, (*c)->since, (*c)->name);
        assert_ptr_equal(carrier_by_name((*c)->format, (*c)->name), *c);
        /* A class or architecture of its own has a release of its own; the others have the family's. */
        if ((*c)->tensors) assert_non_null((*c)->since);
        for (const Family *const *f = families; *f; f++) {
            char text[200];
            const char *since = carrier_since(*c, *f);
            assert_since((*c)->format, since, (*c)->name);
            carrier_runtimes(*c, *f, text, sizeof text);
            assert_non_null(
                strstr(text, (*c)->format == FORMAT_GGUF ? "llama.cpp from " : "transformers from "));
        }
    }
    assert_null(carrier_by_name(FORMAT_GGUF, "smollm3"));
}

static void releases_are_compared_number_by_number(void **state) {
    (void)state;
    static const struct {
        const char *runtime, *since;
        bool runs;
        const char *why;
    } cases[] = {
        {"transformers 4.56", "4.9", true, ""},
        {"transformers 4.56", "4.56", true, ""},
        {"transformers 4.56", "4.57", false,
         "is too old: model_type x runs as intended from transformers 4.57 on"},
        {"transformers 4.56", "5.0", false,
         "is too old: model_type x runs as intended from transformers 5.0 on"},
        {"transformers 4.56", NULL, false, "has no model_type x: it is custom code"},
        {"transformers 5.23", "4.57", true, ""},
        {"transformers 5.23", "5.15", true, ""},
        {"transformers 5.23", "5.24", false,
         "is too old: model_type x runs as intended from transformers 5.24 on"},
        {"llama.cpp of October 2026", "4.9", false, "reads GGUF only (derope convert OUT OUT.gguf)"},
    };
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, CONFIG_FILE, "{\"model_type\": \"x\"}", 19);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Runtime *r = runtimes;
        while (strcmp(r->name, cases[i].runtime) != 0)
            r++;
        char why[200];
        assert_int_equal(runtime_runs(r, c, cases[i].since, why, sizeof why), cases[i].runs);
        assert_string_equal(why, cases[i].why);
    }
    checkpoint_close(c);
}

static void first_releases_in_words(void **state) {
    (void)state;
    static const struct {
        Format format;
        const char *since, *text;
    } cases[] = {{FORMAT_HF, "4.53", "transformers from 4.53"},
                 {FORMAT_GGUF, "2025-05", "llama.cpp from May 2025"},
                 {FORMAT_GGUF, "2023-12", "llama.cpp from December 2023"},
                 {FORMAT_HF, NULL, "no stock runtime"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        runtime_since_text(cases[i].format, cases[i].since, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

/* What one runtime says of a checkpoint: "" if it runs it. */
static const char *reason(const Checkpoint *c, const char *runtime, char why[400]) {
    const Runtime *r = runtimes;
    while (strcmp(r->name, runtime) != 0)
        r++;
    bool runs = runtime_runs(r, c, c->format == FORMAT_GGUF ? "2024-01" : "4.28", why, 400);
    assert_int_equal(runs, !*why);
    return why;
}

/* A configuration as such is of an architecture that both releases have; what they do with it differs. */
static void transformers_is_asked_about_the_configuration(void **state) {
    (void)state;
    static const struct {
        const char *config, *in_4, *in_5;
    } cases[] = {
        {"\"model_type\": \"llama\"", "", ""},
        {"\"model_type\": \"llama\", \"is_causal\": true, \"pad_token_id\": 9", "", ""},
        {"\"model_type\": \"llama\", \"pad_token_id\": 10",
         "stops, because pad_token_id is 10 and the vocabulary has 10 tokens",
         "stops, because pad_token_id is 10 and the vocabulary has 10 tokens"},
        {"\"model_type\": \"llama\", \"is_causal\": false", "",
         "attends to later tokens too, because is_causal is false"},
        {"\"model_type\": \"gemma2\", \"use_bidirectional_attention\": true", "",
         "attends to later tokens too, because use_bidirectional_attention is true"},
        {"\"model_type\": \"mistral\", \"layer_types\": [\"full_attention\"]",
         "gives every layer the window, because it does not read layer_types of a mistral", ""},
        {"\"model_type\": \"qwen2\", \"partial_rotary_factor\": 0.5",
         "stops, because partial_rotary_factor is 0.5 and its class rotates whole heads", ""},
        {"\"model_type\": \"phi3\", \"partial_rotary_factor\": 0.5", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[400], text[600];
        Checkpoint *c = checkpoint_new(FORMAT_HF);
        snprintf(text, sizeof text, "{" SMALL_SIZES ", %s}", cases[i].config);
        checkpoint_set_file(c, CONFIG_FILE, text, strlen(text));
        assert_string_equal(reason(c, "transformers 4.56", why), cases[i].in_4);
        assert_string_equal(reason(c, "transformers 5.23", why), cases[i].in_5);
        checkpoint_close(c);
    }
}

static void transformers_is_asked_about_the_tensors(void **state) {
    (void)state;
    char why[400];
    Checkpoint *c = small_hf("\"model_type\": \"llama\", \"tie_word_embeddings\": true", 0);
    assert_string_equal(reason(c, "transformers 4.56", why), "");
    const Tensor *head = checkpoint_find(c, "lm_head.weight");
    ((float *)(uintptr_t)head->parts[0].source->map)[3] = 0;
    assert_string_equal(reason(c, "transformers 4.56", why),
                        "uses the embedding as output matrix, from which tensor 'lm_head.weight' differs");
    assert_string_equal(reason(c, "transformers 5.23", why), "");
    Tensor *t = (Tensor *)(uintptr_t)checkpoint_find(c, "model.layers.1.mlp.up_proj.weight");
    t->dtype = t->storage_dtype = DTYPE_I8;
    assert_string_equal(reason(c, "transformers 5.23", why),
                        "takes the codes of tensor 'model.layers.1.mlp.up_proj.weight' (i8) for weights");
    checkpoint_close(c);
}

/* A GGUF of qwen2 that llama.cpp runs, apart from what a test changes. */
static Checkpoint *runnable(void) {
    Checkpoint *c = small_gguf("qwen2", QKV_BIAS);
    meta_set_string(c, "tokenizer.ggml.model", "gpt2", 4);
    meta_set_string_array(c, "tokenizer.ggml.merges", (const char *const[]){"a b"}, (size_t[]){3}, 1);
    return c;
}

static void llama_cpp_is_asked_about_keys_and_types(void **state) {
    (void)state;
    static const char llama[] = "llama.cpp of October 2026";
    char why[400];
    Checkpoint *c = runnable();
    assert_string_equal(reason(c, llama, why), "");
    c->alignment = 8;
    assert_string_equal(reason(c, llama, why), "aborts, because general.alignment is 8; it needs 32");
    c->alignment = 64;
    assert_string_equal(reason(c, llama, why), "");
    meta_set_u32(c, "qwen2.rope.dimension_count", 2);
    assert_string_equal(reason(c, llama, why),
                        "aborts, because rope.dimension_count is 2 and heads have 4 dimensions");
    meta_remove(c, "qwen2.rope.dimension_count");
    meta_set_bool(c, "qwen2.attention.causal", false);
    assert_string_equal(reason(c, llama, why),
                        "does not load it or computes something else: key "
                        "'qwen2.attention.causal' is false; derope computes models with true only");
    meta_remove(c, "qwen2.attention.causal");
    Tensor *norm = (Tensor *)(uintptr_t)checkpoint_find(c, "output_norm.weight");
    norm->dtype = DTYPE_F64;
    assert_string_equal(reason(c, llama, why), "aborts at tensor 'output_norm.weight', because it is f64");
    norm->dtype = DTYPE_F32;
    Tensor *matrix = (Tensor *)(uintptr_t)checkpoint_find(c, "blk.1.ffn_up.weight");
    matrix->dtype = DTYPE_I8;
    assert_string_equal(reason(c, llama, why), "aborts at tensor 'blk.1.ffn_up.weight', because it is i8");
    matrix->dtype = DTYPE_Q4_0;
    assert_string_equal(reason(c, llama, why), "");
    meta_remove(c, "tokenizer.ggml.merges");
    assert_string_equal(reason(c, llama, why),
                        "does not load a tokenizer of model gpt2 without tokenizer.ggml.merges");
    meta_set_string(c, "tokenizer.ggml.model", "no_vocab", 8);
    assert_string_equal(reason(c, llama, why), "would take token ids only: there is no tokenizer");
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_carrier_and_family_says_since_when),
        cmocka_unit_test(releases_are_compared_number_by_number),
        cmocka_unit_test(first_releases_in_words),
        cmocka_unit_test(transformers_is_asked_about_the_configuration),
        cmocka_unit_test(transformers_is_asked_about_the_tensors),
        cmocka_unit_test(llama_cpp_is_asked_about_keys_and_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
