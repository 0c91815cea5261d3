/* The output matrix of tied models that is in the file all the same, and element types that no weight has. */
#include "surgery/tied_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "formats/json.h"
#include "small_model.h"
#include "surgery/derope_keys.h"
#include "surgery/export.h"
#include "surgery/model_open.h"

#define TIED_LLAMA "\"model_type\": \"llama\", \"tie_word_embeddings\": true"

/* Elements of a tensor that is in memory. */
static float *elements(const Checkpoint *c, const char *name) {
    return (float *)(uintptr_t)checkpoint_find(c, name)->parts[0].source->map;
}

/* An export of the model; the caller closes it. */
static Checkpoint *output(const Model *m, Format format, bool has_dtype, DType dtype) {
    Error e = {0};
    ExportOptions o = {.format = format, .has_dtype = has_dtype, .dtype = dtype};
    Checkpoint *c = model_export(m, &o, NULL, &e);
    if (!c) fail_msg("%s", e.message);
    return c;
}

/* Compares type and values of two tensors of an output. */
static void assert_equal_tensors(const Checkpoint *c, const char *one, const char *other) {
    const Tensor *a = checkpoint_find(c, one), *b = checkpoint_find(c, other);
    char x[33], y[33];
    Error e = {0};
    if (!a || !b) fail_msg("%s or %s is missing", one, other);
    assert_int_equal(a->dtype, b->dtype);
    assert_true(tensor_hash(a, x, &e) && tensor_hash(b, y, &e));
    assert_string_equal(x, y);
}

/* What config.json of an output says about tying: 1, 0, or -1 where it says nothing. */
static int says_tied(const Checkpoint *c) {
    Error e = {0};
    bool tied;
    json_t *config = checkpoint_json(c, "config.json", &e);
    int says = json_get_bool(config, "tie_word_embeddings", &tied) ? tied : -1;
    json_decref(config);
    return says;
}

/* The small model's tensors count from 0, so its embedding and its head are equal. */
static void a_copy_follows_the_embedding(void **state) {
    (void)state;
    Model *m = small_open(small_hf(TIED_LLAMA, 0));
    assert_true(m->spec.tied_head);
    assert_null(model_tensor(m, ROLE_HEAD, -1));
    assert_int_equal(json_array_size(m->notices), 0);
    /* Another type, then other values, as training leaves them. */
    Checkpoint *c = output(m, FORMAT_HF, true, DTYPE_BF16);
    assert_equal_tensors(c, "model.embed_tokens.weight", "lm_head.weight");
    assert_int_equal(checkpoint_find(c, "lm_head.weight")->dtype, DTYPE_BF16);
    checkpoint_close(c);
    float trained[VOCAB * WIDTH] = {[5] = 0.5f};
    Tensor t = tensor_over(&m->arena, "", DTYPE_F32, 2, (uint64_t[]){VOCAB, WIDTH}, trained);
    model_set_tensor(m, ROLE_EMBED, -1, &t);
    c = output(m, FORMAT_HF, false, DTYPE_F32);
    assert_equal_tensors(c, "model.embed_tokens.weight", "lm_head.weight");
    float head[VOCAB * WIDTH];
    Error e = {0};
    assert_true(tensor_read_f32(checkpoint_find(c, "lm_head.weight"), head, &e));
    assert_true(head[5] == 0.5f && head[6] == 0);
    assert_int_equal(says_tied(c), 1);
    checkpoint_close(c);
    /* llama.cpp takes the embedding where there is no output.weight. */
    c = output(m, FORMAT_GGUF, false, DTYPE_F32);
    assert_null(checkpoint_find(c, "output.weight"));
    assert_null(meta_find(c, DEROPE_TENSORS));
    checkpoint_close(c);
    small_close(m);
}

static void a_head_that_differs_is_the_head(void **state) {
    (void)state;
    Checkpoint *c = small_hf(TIED_LLAMA, 0);
    elements(c, "lm_head.weight")[VOCAB * WIDTH - 1] = -1; /* the last element */
    Model *m = small_open(c);
    assert_false(m->spec.tied_head);
    assert_non_null(model_tensor(m, ROLE_HEAD, -1));
    assert_int_equal(json_array_size(m->notices), 1);
    assert_non_null(strstr(json_string_value(json_array_get(m->notices, 0)), "'lm_head.weight' differs"));
    Checkpoint *hf = output(m, FORMAT_HF, false, DTYPE_F32), *gguf = output(m, FORMAT_GGUF, false, DTYPE_F32);
    assert_int_equal(says_tied(hf), 0); /* transformers 4 would tie them */
    assert_non_null(checkpoint_find(gguf, "output.weight"));
    checkpoint_close(hf);
    checkpoint_close(gguf);
    small_close(m);
}

/* An output.weight beside a config.json that ties is a copy that an architecture demanded, unless somebody
 * changed it since. */
static void a_gguf_is_asked_the_same(void **state) {
    (void)state;
    const char *config = "{" SMALL_SIZES ", " TIED_LLAMA "}";
    for (int edited = 0; edited < 2; edited++) {
        Checkpoint *c = small_gguf("llama", 0);
        meta_set_string(c, DEROPE_CONFIG, config, strlen(config));
        if (edited) elements(c, "output.weight")[0] = 7;
        Model *m = small_open(c);
        assert_int_equal(m->spec.tied_head, !edited);
        Checkpoint *hf = output(m, FORMAT_HF, false, DTYPE_F32);
        assert_int_equal(says_tied(hf), !edited);
        assert_int_equal(checkpoint_find(hf, "lm_head.weight") != NULL, edited);
        checkpoint_close(hf);
        small_close(m);
    }
}

/* The same matrix in another type is still a copy; one of another shape is not. */
static void copies_are_compared_by_value(void **state) {
    (void)state;
    static const float values[4] = {1, -2, 0.5f, 0};
    static const uint16_t halves[4] = {0x3f80, 0xc000, 0x3f00, 0}, others[4] = {0x3f80, 0xc000, 0x3f00, 1};
    Arena arena = {0};
    Error e = {0};
    bool same;
    Tensor a = tensor_over(&arena, "a", DTYPE_F32, 2, (uint64_t[]){2, 2}, values),
           b = tensor_over(&arena, "b", DTYPE_BF16, 2, (uint64_t[]){2, 2}, halves),
           c = tensor_over(&arena, "c", DTYPE_BF16, 2, (uint64_t[]){2, 2}, others),
           d = tensor_over(&arena, "d", DTYPE_F32, 2, (uint64_t[]){1, 4}, values);
    assert_true(tied_head_is_copy(&(TiedHead){&a, &b}, &same, &e) && same);
    assert_true(tied_head_is_copy(&(TiedHead){&a, &c}, &same, &e) && !same);
    assert_true(tied_head_is_copy(&(TiedHead){&a, &d}, &same, &e) && !same);
    assert_true(tied_head_is_copy(&(TiedHead){&a, NULL}, &same, &e) && !same);
    arena_free(&arena);
}

static void codes_are_no_weights(void **state) {
    (void)state;
    static const DType types[] = {DTYPE_I8, DTYPE_U8, DTYPE_I32, DTYPE_BOOL, DTYPE_C64};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char message[300];
        Checkpoint *c = small_hf("\"model_type\": \"llama\", \"tie_word_embeddings\": false", 0);
        Tensor *t = (Tensor *)(uintptr_t)checkpoint_find(c, "model.layers.2.mlp.up_proj.weight");
        t->dtype = t->storage_dtype = types[i];
        snprintf(
            message, sizeof message,
            "small: tensor 'model.layers.2.mlp.up_proj.weight' is a weight, but is stored as %s, which no "
            "quantization_config explains; save the model without quantization, or with its "
            "quantization_config",
            dtype_info(types[i])->name);
        c->path = "small";
        assert_no_model(c, message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_follows_the_embedding), cmocka_unit_test(a_head_that_differs_is_the_head),
        cmocka_unit_test(a_gguf_is_asked_the_same),     cmocka_unit_test(copies_are_compared_by_value),
        cmocka_unit_test(codes_are_no_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
