/* Keys and tensors of a GGUF that change what llama.cpp computes, or whether it loads the file, and that no
 * reader asks for. */
#include "surgery/arch_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "formats/json.h"
#include "small_model.h"
#include "surgery/derope_keys.h"

/* True if one of the model's notices contains `text`. */
static bool has_notice(const Model *m, const char *text) {
    size_t i;
    json_t *notice;
    json_array_foreach(m->notices, i, notice) {
        if (strstr(json_string_value(notice), text)) return true;
    }
    return false;
}

/* A small Llama or Qwen 2 with one more key. `value` is given to keys of numbers and booleans alike. */
static Checkpoint *with_key(const char *arch, const char *suffix, MetaType type, double value) {
    Checkpoint *c = small_gguf(arch, strcmp(arch, "qwen2") == 0 ? QKV_BIAS : 0);
    uint64_t whole = (uint64_t)value;
    float single = (float)value;
    MetaEntry m = {.key = small_key(c, suffix), .type = type, .count = 1, .size = meta_type_size(type)};
    m.bytes = type == META_F32 ? (const uint8_t *)&single
              : type == META_F64
                  ? (const uint8_t *)&value
                  : (const uint8_t *)&whole; /* integers are little-endian here as in the file */
    meta_set_raw(c, &m);
    return c;
}

static void values_that_are_not_computed_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *arch, *suffix;
        MetaType type;
        double value;
        const char *message; /* NULL: the value changes nothing, so the file is read */
    } cases[] = {
        {"llama", "attention.causal", META_BOOL, 1, NULL},
        {"llama", "attention.causal", META_BOOL, 0,
         "small.gguf: key 'llama.attention.causal' is false; derope computes models with true only"},
        {"qwen2", "nextn_predict_layers", META_U32, 0, NULL},
        {"qwen2", "nextn_predict_layers", META_U32, 1,
         "small.gguf: key 'qwen2.nextn_predict_layers' is 1; derope computes models with 0 only"},
        {"llama", "rope.dimension_count_swa", META_U32, 2,
         "small.gguf: key 'llama.rope.dimension_count_swa' is 2; derope computes models only in which "
         "rope.dimension_count is the same"},
        {"llama", "context_length", META_U64, 64,
         "small.gguf: key 'llama.context_length' is a u64: llama.cpp reads a u32 there and does not load the "
         "file"},
        {"llama", "rope.freq_base", META_F64, 10000,
         "small.gguf: key 'llama.rope.freq_base' is a f64: llama.cpp reads a f32 there and does not load the "
         "file"},
        {"llama", "rope.scaling.finetuned", META_U32, 1,
         "small.gguf: key 'llama.rope.scaling.finetuned' is a u32: llama.cpp reads a boolean there and does "
         "not "
         "load the file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Checkpoint *c = with_key(cases[i].arch, cases[i].suffix, cases[i].type, cases[i].value);
        if (cases[i].message)
            assert_no_model(c, cases[i].message);
        else
            small_close(small_open(c));
    }
}

/* The config.json that travels in a GGUF does not hide what its keys say. */
static void keys_are_checked_beside_a_config(void **state) {
    (void)state;
    const char *config = "{" SMALL_SIZES ", \"model_type\": \"llama\", \"tie_word_embeddings\": false}";
    Checkpoint *c = with_key("llama", "attention.causal", META_BOOL, 0);
    meta_set_string(c, DEROPE_CONFIG, config, strlen(config));
    assert_no_model(
        c, "small.gguf: key 'llama.attention.causal' is false; derope computes models with true only");
}

static void missing_keys_are_named(void **state) {
    (void)state;
    Checkpoint *c = small_gguf("llama", 0);
    meta_remove(c, "llama.attention.layer_norm_rms_epsilon");
    assert_no_model(c,
                    "small.gguf: key 'llama.attention.layer_norm_rms_epsilon' is missing; llama.cpp does not "
                    "load the file without it");
}

/* clamp_kqv is MPT's and attention.scale Granite's: in a Llama, llama.cpp passes over both. A default says
 * nothing, so it is not mentioned. */
static void keys_without_effect_are_named(void **state) {
    (void)state;
    Checkpoint *c = with_key("llama", "attention.clamp_kqv", META_F32, 0.5);
    meta_set_f32(c, "llama.attention.scale", 0.5f);
    meta_set_f32(c, "llama.rope.scaling.yarn_beta_fast", 32);
    meta_set_u32(c, "llama.of_the_future", 1);
    Model *m = small_open(c);
    assert_true(has_notice(m, "llama.attention.clamp_kqv, llama.attention.scale"));
    assert_true(has_notice(m, "does not know, and takes to be without effect: llama.of_the_future"));
    assert_false(has_notice(m, "yarn_beta_fast"));
    assert_true(m->spec.layers[0].softmax_scale == 0.5); /* 1/sqrt(4), not the key */
    small_close(m);
    assert_true(arch_reads_key("granite", "attention.scale"));
    assert_false(arch_reads_key("llama", "attention.scale"));
    assert_false(arch_reads_key("llama", "of_the_future"));
}

/* llama.cpp loads no file with a tensor that it does not know; a bias of the logits it does know, in Qwen 2,
 * and derope does not. */
static void tensors_of_no_role_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *arch, *tensor;
    } cases[] = {{"llama", "blk.0.mystery.weight"},
                 {"llama", "blk.1.attn_q_norm.weight"},
                 {"llama", "blk.1.attn_sinks.weight"},
                 {"qwen2", "rope_freqs.weight"},
                 {"qwen2", "output.bias"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Checkpoint *c = small_gguf(cases[i].arch, strcmp(cases[i].arch, "qwen2") == 0 ? QKV_BIAS : 0);
        char message[400];
        small_add(c, cases[i].tensor, 0, i == 3 ? HEAD_DIM / 2 : VOCAB);
        /* A table of ones is no scaling, so it is read, and then found to be foreign. */
        if (i == 3)
            for (int k = 0; k < HEAD_DIM / 2; k++)
                ((float *)(uintptr_t)c->tensors[c->n_tensors - 1].parts[0].source->map)[k] = 1;
        snprintf(message, sizeof message,
                 "small.gguf: tensor '%s' is not one that architecture '%s' has here: derope does not know "
                 "what it "
                 "does, and llama.cpp does not load a file with tensors that it does not know",
                 cases[i].tensor, cases[i].arch);
        assert_no_model(c, message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_that_are_not_computed_are_refused),
        cmocka_unit_test(keys_are_checked_beside_a_config),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(keys_without_effect_are_named),
        cmocka_unit_test(tensors_of_no_role_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
