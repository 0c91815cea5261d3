/* The manifest, and what `derope verify` says when an output is no longer what it promises. */
#include "formats/file.h"
#include "formats/file_names.h"
#include "formats/gguf_write.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/derope_keys.h"
#include "tests/tiny_model.h"

static json_t *manifest_of(const char *name) {
    Error e = {0};
    Checkpoint *c = opened(scratch_path(name));
    size_t n = 0;
    const char *text = c->format == FORMAT_GGUF ? meta_string(c, MANIFEST_KEY, &n) : NULL;
    json_t *m = text ? json_parse("manifest", text, n, &e) : checkpoint_json(c, MANIFEST_FILE, &e);
    checkpoint_close(c);
    assert_non_null(m);
    return m;
}

static const json_t *row_of(const json_t *manifest, const char *list, const char *member, const char *value) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(manifest, list), i, row) {
        if (strcmp(json_get_string(row, member), value) == 0) return row;
    }
    fail_msg("%s lists no %s", list, value);
    return NULL;
}

static void tells_what_was_made_from_what(void **state) {
    (void)state;
    tiny_folder("source");
    assert_runs("convert source out.gguf --drop-rope=2-3 --sliding-window 8:0-1");
    json_t *m = manifest_of("out.gguf");
    assert_string_equal(json_get_string(m, "derope"), "0.1.0");
    assert_string_equal(json_get_string(m, "carrier"), "granite_swa");
    assert_string_equal(json_get_string(m, "carrier_says"),
                        "attention.rope_pattern and attention.sliding_window_pattern say it of each layer");
    assert_string_equal(json_get_string(json_object_get(m, "carrier_because"), "granite"),
                        "rotates in all layers or in none");
    const json_t *passes = json_object_get(m, "passes");
    assert_int_equal(json_array_size(passes), 2);
    assert_string_equal(json_get_string(json_array_get(passes, 0), "pass"), "drop_rope");
    assert_string_equal(json_get_string(json_array_get(passes, 0), "layers"), "2-3");

    char hash[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("source/model.safetensors"), hash, &e));
    const json_t *source = row_of(m, "sources", "file", "model.safetensors");
    assert_string_equal(json_get_string(source, "xxh3_128"), hash);
    row_of(m, "sources", "file", "config.json");

    static const struct {
        const char *tensor, *status, *dtype;
    } rows[] = {{"token_embd.weight", "untouched", "bf16"},
                {"blk.1.attn_q.weight", "permuted", "bf16"},
                {"blk.1.attn_norm.weight", "widened", "f32"},
                {"blk.1.attn_sinks.weight", "new", "f32"}};
    Checkpoint *c = opened(scratch_path("out.gguf"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *row = row_of(m, "tensors", "name", rows[i].tensor);
        assert_string_equal(json_get_string(row, "status"), rows[i].status);
        assert_string_equal(json_get_string(row, "dtype"), rows[i].dtype);
        assert_true(tensor_hash(checkpoint_find(c, rows[i].tensor), hash, &e));
        assert_string_equal(json_get_string(row, "xxh3_128"), hash);
    }
    assert_int_equal(json_array_size(json_object_get(m, "tensors")), c->n_tensors);
    const json_t *layers = json_object_get(m, "layers");
    assert_string_equal(json_get_string(json_array_get(layers, 1), "position"), "rope");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(layers, 1), "window")), 8);
    assert_string_equal(json_get_string(json_array_get(layers, 3), "position"), "nope");
    checkpoint_close(c);
    json_decref(m);
}

static json_t *verified(const char *name, int status) {
    char arguments[200];
    const char *said;
    Buffer text = {0};
    Error e = {0};
    snprintf(arguments, sizeof arguments, "verify %s --json > report", name);
    int found = run_derope(arguments, &said);
    if (found != status) fail_msg("verify %s: exit %d: %s", name, found, said);
    assert_true(file_read(scratch_path("report"), 1 << 20, &text, &e));
    json_t *report = json_parse("verify", text.data, text.size, &e);
    buffer_free(&text);
    assert_non_null(report);
    assert_int_equal(json_is_true(json_object_get(report, "ok")), status == 0);
    return report;
}

static void assert_problem(const char *name, const char *text) {
    json_t *report = verified(name, 1);
    const char *first = json_string_value(json_array_get(json_object_get(report, "problems"), 0));
    if (!first || !strstr(first, text)) fail_msg("%s: '%s' does not say '%s'", name, first, text);
    json_decref(report);
}

static void sound_outputs_verify(void **state) {
    (void)state;
    tiny_folder("source");
    static const char *const outs[] = {"v.gguf", "v"};
    for (int i = 0; i < 2; i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "convert source %s --drop-rope --force", outs[i]);
        assert_runs(arguments);
        json_t *report = verified(outs[i], 0);
        const json_t *llama = row_of(report, "runtimes", "runtime", "llama.cpp of October 2026");
        const json_t *four = row_of(report, "runtimes", "runtime", "transformers 4.56");
        assert_int_equal(json_is_true(json_object_get(llama, "runs")), false); /* no tokenizer, or no GGUF */
        assert_int_equal(json_is_true(json_object_get(four, "runs")), i == 1);
        assert_int_equal(json_integer_value(json_object_get(report, "tensors_verified")), 38);
        json_decref(report);
    }
}

/* transformers 4 knows rope_theta and rope_scaling alone. */
static void what_rope_parameters_add_is_for_transformers_5(void **state) {
    (void)state;
    static const struct {
        const char *keys;
        bool four;
    } cases[] = {
        {", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5000}", true},
        {", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 7000}", false},
        {", \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2, \"rope_theta\": 5000}", false},
        {", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}, \"rope_parameters\": {}", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[1000];
        snprintf(config, sizeof config, "%.*s%s}", (int)strlen(tiny_config) - 1, tiny_config, cases[i].keys);
        tiny_write(tiny_checkpoint(config, false), "source");
        assert_runs("convert source both --force");
        json_t *report = verified("both", 0);
        const json_t *four = row_of(report, "runtimes", "runtime", "transformers 4.56");
        assert_int_equal(json_is_true(json_object_get(four, "runs")), cases[i].four);
        json_decref(report);
    }
}

/* Inverts the byte `from_end` bytes before the file's end. */
static void damage(const char *name, long from_end) {
    FILE *f = fopen(scratch_path(name), "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -from_end, SEEK_END), 0);
    int byte = fgetc(f);
    assert_int_equal(fseek(f, -from_end, SEEK_END), 0);
    fputc(~byte & 0xff, f);
    fclose(f);
}

static void edited_outputs_do_not(void **state) {
    (void)state;
    tiny_folder("source");
    assert_runs("convert source e --drop-rope=0-1 --force");
    damage("e/model.safetensors", 2);
    assert_problem("e", "tensor 'model.norm.weight' has hash");

    assert_runs("convert source e --drop-rope=0-1 --force");
    assert_int_equal(remove(scratch_path("e/config.json")), 0);
    assert_problem("e", "file config.json is missing");

    assert_runs("convert source e --drop-rope=0-1 --force");
    scratch_text("e/modeling_x.py", "print()\n");
    assert_problem("e", "file modeling_x.py is code nobody wrote here");
    assert_int_equal(remove(scratch_path("e/modeling_x.py")), 0);

    scratch_text("e/config.json", tiny_config); /* the source's: every layer rotates */
    json_t *report = verified("e", 1);
    const json_t *problems = json_object_get(report, "problems");
    assert_string_equal(json_string_value(json_array_get(problems, 0)),
                        "file config.json is not the one that was written");
    assert_string_equal(
        json_string_value(json_array_get(problems, 1)),
        "read again, other positions, windows or rotations than were written, in layers 0, 1");
    json_decref(report);

    assert_runs("convert source e.gguf --drop-rope --force");
    Checkpoint *c = opened(scratch_path("e.gguf"));
    meta_set_bool(c, "granite.rope.scaling.finetuned", true);
    Error e = {0};
    WriteOptions o = {.force = true};
    assert_true(gguf_write(c, scratch_path("e2.gguf"), &o, &e));
    checkpoint_close(c);
    report = verified("e2.gguf", 1);
    problems = json_object_get(report, "problems");
    assert_string_equal(json_string_value(json_array_get(problems, 0)),
                        "the GGUF's keys are not the ones that were written");
    assert_non_null(strstr(json_string_value(json_array_get(problems, 1)), "in layers 0, 1, 2, 3"));
    json_decref(report);
}

static void what_has_no_manifest_is_bad_input(void **state) {
    (void)state;
    tiny_folder("source");
    assert_fails("verify source", 3, "source: has no manifest (derope.json)");
    scratch_text("source/derope.json", "{\"tensors\": 3}");
    assert_fails("verify source", 3, "source: the manifest lists no tensors");
    scratch_text("source/derope.json", "{\"tensors\": [");
    assert_fails("verify source", 3, "source/derope.json:1:");
    scratch_text("source/derope.json", "{\"tensors\": [3, {\"name\": 1}], \"files\": [1], \"layers\": 2}");
    assert_fails("verify source", 1, "the manifest has a tensor without name, dtype or hash");
    assert_int_equal(remove(scratch_path("source/derope.json")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_was_made_from_what),
        cmocka_unit_test(sound_outputs_verify),
        cmocka_unit_test(what_rope_parameters_add_is_for_transformers_5),
        cmocka_unit_test(edited_outputs_do_not),
        cmocka_unit_test(what_has_no_manifest_is_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
