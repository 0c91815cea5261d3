/* Outputs are read again before they get their names. Here an export is damaged as an error of a writer would
 * damage it, and the check has to find it; what has been written is then removed. */
#include "surgery/export_check.h"

#include <unistd.h>

#include "formats/gguf_write.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "surgery/export.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"
#include "tests/tiny_model.h"

/* A model after surgery, and the output that is about to be written. */
typedef struct Case {
    Checkpoint *source, *out;
    Model *m;
    ExportReport report;
} Case;

static bool check(void *context, const char *path, Error *e) {
    const Case *c = context;
    return export_check(c->m, c->report.carrier, c->out, path, e);
}

/* Layers 2 and 3 of the tiny Llama lose their rotation, 0 and 1 get a window. */
static Case begin(const char *name, Format format) {
    static const char drop[] = "{\"layers\": \"2-3\"}", window[] = "{\"size\": 8, \"layers\": \"0-1\"}";
    Error e = {0};
    Case c = {.source = opened(tiny_folder(name))};
    c.m = model_open(c.source, &e);
    json_t *a = json_parse("drop", drop, strlen(drop), &e),
           *b = json_parse("window", window, strlen(window), &e);
    ExportOptions o = {.format = format};
    if (!c.m || !pass_apply(c.m, "drop_rope", a, &e) || !pass_apply(c.m, "sliding_window", b, &e))
        fail_msg("%s", e.message);
    c.out = model_export(c.m, &o, &c.report, &e);
    if (!c.out) fail_msg("%s", e.message);
    json_decref(a);
    json_decref(b);
    return c;
}

/* Writes the output. Fails the test unless the error contains `message` (NULL: unless it succeeds) and the
 * file is there only after a success. Frees the case. */
static void write_out(Case *c, const char *name, const char *message) {
    Error e = {0};
    const char *path = scratch_path(name);
    WriteOptions o = {.force = true, .check = check, .check_context = c};
    bool gguf = c->out->format == FORMAT_GGUF;
    bool ok = gguf ? gguf_write(c->out, path, &o, &e) : hf_write(c->out, path, &o, &e);
    if (ok != !message || (message && !strstr(e.message, message)))
        fail_msg("%s", ok ? "accepted" : e.message);
    assert_int_equal(access(path, F_OK), ok ? 0 : -1);
    assert_int_equal(e.code, ok ? ERR_NONE : ERR_FAILED);
    checkpoint_close(c->out);
    export_report_free(&c->report);
    model_close(c->m);
    checkpoint_close(c->source);
}

static void what_was_asked_is_accepted(void **state) {
    (void)state;
    Case c = begin("good", FORMAT_HF);
    write_out(&c, "good-out", NULL);
    c = begin("good", FORMAT_HF);
    write_out(&c, "good.zip", NULL);
    c = begin("good", FORMAT_GGUF);
    write_out(&c, "good.gguf", NULL);
}

/* The config.json that travels in the GGUF is right in all these cases; llama.cpp does not read it. */
static void keys_that_say_something_else_are_found(void **state) {
    (void)state;
    Case c = begin("keys", FORMAT_GGUF);
    meta_set_u32(c.out, "granite_swa.context_length", 63);
    write_out(&c, "context.gguf", "context is 63 when it is read again, and not 64");
    c = begin("keys", FORMAT_GGUF);
    meta_set_u32(c.out, "granite_swa.attention.sliding_window", 9);
    write_out(&c, "window.gguf", "layer 0: window is 9 when it is read again, and not 8");
    c = begin("keys", FORMAT_GGUF);
    meta_set_array(c.out, "granite_swa.attention.rope_pattern", META_U32, (uint32_t[]){1, 1, 1, 0}, 4);
    write_out(&c, "pattern.gguf", "layer 2: position is rope when it is read again, and not nope");
    c = begin("keys", FORMAT_GGUF);
    meta_set_f32(c.out, "granite_swa.attention.scale", 0.25f);
    write_out(&c, "scale.gguf", "layer 0: softmax_scale is 0.25 when it is read again, and not 0.5");
    c = begin("keys", FORMAT_GGUF);
    meta_set_f32(c.out, "granite_swa.embedding_scale", 2);
    write_out(&c, "factor.gguf", "embedding_scale is 2 when it is read again, and not 1");
}

static void a_config_that_says_something_else_is_found(void **state) {
    (void)state;
    Error e = {0};
    Case c = begin("config", FORMAT_HF);
    json_t *config = checkpoint_json(c.out, "config.json", &e);
    json_array_set_new(json_object_get(config, "no_rope_layers"), 3, json_integer(1));
    char *text = json_dumps(config, 0);
    checkpoint_set_file(c.out, "config.json", text, strlen(text));
    free(text);
    json_decref(config);
    write_out(&c, "config-out", "layer 3: position is rope when it is read again, and not nope");
}

/* The comparison of tensors is with what the export described. */
static void a_tensor_that_is_missing_is_found(void **state) {
    (void)state;
    Case c = begin("tensors", FORMAT_HF), other = begin("tensors", FORMAT_HF);
    Error e = {0};
    WriteOptions o = {.force = true};
    other.out->n_tensors--;
    assert_true(hf_write(other.out, scratch_path("fewer"), &o, &e));
    assert_false(export_check(c.m, c.report.carrier, c.out, scratch_path("fewer"), &e));
    assert_non_null(strstr(e.message, "is missing when it is read again"));
    other.out->n_tensors++;
    write_out(&other, "other", NULL);
    write_out(&c, "all", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_asked_is_accepted),
        cmocka_unit_test(keys_that_say_something_else_are_found),
        cmocka_unit_test(a_config_that_says_something_else_is_found),
        cmocka_unit_test(a_tensor_that_is_missing_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
