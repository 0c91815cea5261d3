/* `derope convert` and `derope diff` from the outside: exit codes, messages, files. */
#include <fcntl.h>

#include "formats/file.h"
#include "formats/hash.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "tests/tiny_model.h"

static void wrong_command_lines_are_usage(void **state) {
    (void)state;
    tiny_folder("in");
    assert_fails("convert", 2, "derope convert: an input and an output are needed");
    assert_fails("convert in", 2, "an input and an output are needed");
    assert_fails("convert in ''", 2, "the output's name is empty");
    assert_fails("convert in a b", 2, "one input and one output, not 'b' as well");
    assert_fails("convert in a --drop-rope 2", 2,
                 "not '2' as well (a list of layers is joined on: --drop-rope=LAYERS)");
    assert_fails("convert in a --drop-rope=1 --drop-rope=2", 2,
                 "--drop-rope and --keep-rope: one list of layers, not '2' as well");
    assert_fails("convert in a --drop-rope --keep-rope 3", 2, "one list of layers, not '3' as well");
    assert_fails("convert in out --droop", 2, "unknown option '--droop' (derope convert --help)");
    assert_fails("convert in out --set-context", 2, "--set-context needs a value");
    assert_fails("convert in out --sliding-window eight", 2,
                 "--sliding-window: 'eight' is not a whole number");
    assert_fails("convert in out --rope-scaling yarn", 2,
                 "--rope-scaling: 'yarn' is not TYPE:FACTOR, as yarn:4");
    assert_fails("convert in out --rope-scaling yarm:4", 2, "unknown type 'yarm'; did you mean 'yarn'?");
    assert_fails("convert in out --drop-rope=2-9", 2,
                 "drop_rope: layers: there is no layer 9, the last is 3");
    assert_fails("convert in out --drop-rope=3-1", 2, "layers: 3-1 runs backwards");
    assert_fails("convert in out --dtype q4_0", 2, "dtype q4_0: a safetensors file cannot hold it");
    assert_fails("convert in out.gguf --dtype iq2_xs", 2, "dtype 'iq2_xs': expected f32, bf16");
    assert_fails("convert in out.gguf --max-shard-size 1G", 2, "max_shard_size: a GGUF is one file");
    assert_fails("convert in out --max-shard-size 0", 2,
                 "--max-shard-size: 0 is out of range; expected 1 or more");
    assert_fails("convert in out --carrier lama", 2, "there is no HF carrier 'lama'");
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
    assert_int_equal(access(scratch_path("out.gguf"), F_OK), -1);
}

static void quiet_wherever_it_stands(void **state) {
    (void)state;
    const char *words;
    tiny_folder("in");
    assert_int_equal(run_derope("convert in loud.gguf", &words), 0);
    assert_non_null(strstr(words, "note: "));
    assert_int_equal(run_derope("--quiet convert in before.gguf", &words), 0);
    assert_string_equal(words, "");
    assert_int_equal(run_derope("convert --quiet in between.gguf", &words), 0);
    assert_string_equal(words, "");
    assert_int_equal(run_derope("convert in behind.gguf --quiet", &words), 0);
    assert_string_equal(words, "");
    assert_runs("convert in -- --quiet"); /* a folder of that name */
    assert_int_equal(access(scratch_path("--quiet/config.json"), F_OK), 0);
}

static void missing_inputs_and_refusals(void **state) {
    (void)state;
    tiny_folder("in");
    assert_fails("convert nowhere out", 3, "nowhere: No such file or directory");
    assert_fails("convert in out --carrier granite_swb", 2, "there is no HF carrier");
    assert_fails(
        "convert in out.gguf --drop-rope=1 --sliding-window 8:0 --sliding-window 4:2", 1,
        "no stock architecture of llama.cpp can express this model: own: has no windows per layer; ");
    assert_fails("convert in out.gguf --sliding-window 8", 1,
                 ". What could be carried: all layers rotating or none, without windows; or a mixture");
    assert_fails("convert in out --sliding-window 8:0 --sliding-window 4:2", 1,
                 ". What could be carried: any mixture with one window size");
    /* A suggestion is something that a carrier can express. */
    assert_fails("convert in out.gguf --sliding-window 8", 1, ". What works: with --sliding-window 0");
    assert_int_equal(run_derope("convert in works.gguf --sliding-window 8 --sliding-window 0 --quiet", NULL),
                     0);
    scratch_text("in/config.json", "{\"model_type\": \"mamba\"}");
    assert_fails("convert in out", 3, "config.json: model_type 'mamba' is not one derope knows");
    scratch_text("in/config.json", "{\"model_type\": ");
    assert_fails("convert in out", 3, "in/config.json:1:");
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
}

static void outputs_are_not_overwritten(void **state) {
    (void)state;
    tiny_folder("in");
    static const char *const outs[] = {"kept.gguf", "kept"};
    for (int i = 0; i < 2; i++) {
        char line[200];
        snprintf(line, sizeof line, "convert in %s", outs[i]);
        assert_runs(line);
        assert_fails(line, 1, "exists already; --force replaces it");
        snprintf(line, sizeof line, "convert in %s --force --drop-rope", outs[i]);
        assert_runs(line);
        snprintf(line, sizeof line, "inspect %s --json", outs[i]);
        const char *said;
        assert_int_equal(run_derope(line, &said), 0);
        assert_non_null(strstr(said, "\"nope\""));
        assert_null(strstr(said, "\"rope\","));
    }
}

static void one_file_brings_what_lies_beside_it(void **state) {
    (void)state;
    tiny_folder("in");
    scratch_text("in/notes.txt", "beside");
    assert_runs("convert in/model.safetensors beside --drop-rope=1");
    assert_file("beside/notes.txt", "beside", 6);
    assert_int_equal(remove(scratch_path("in/notes.txt")), 0);
    assert_int_equal(rename(scratch_path("in/config.json"), scratch_path("in/x.json")), 0);
    assert_fails("convert in/model.safetensors alone", 3, "in/model.safetensors: has no config.json");
}

static void the_source_stays_as_it_is(void **state) {
    (void)state;
    char before[33], after[33];
    Error e = {0};
    tiny_folder("whole");
    assert_true(hash_file(scratch_path("whole/model.safetensors"), before, &e));
    assert_runs("convert whole s.gguf --drop-rope --scale-attention 2 --force");
    assert_fails("convert whole whole --force", 2, "whole: the source is there (whole/");
    assert_fails("convert whole ../$(basename $PWD) --force", 2, "and a source is never written to");
    assert_runs("convert s.gguf t.gguf --force");
    assert_fails("convert t.gguf ./t.gguf --force", 2, "./t.gguf: the source is there (t.gguf)");
    assert_true(hash_file(scratch_path("whole/model.safetensors"), after, &e));
    assert_string_equal(before, after);
    assert_int_equal(entries_in("whole"), 2);
}

static void depfile_spares_what_is_read_and_written(void **state) {
    (void)state;
    tiny_folder("in");
    run_derope("convert in there.gguf", NULL);
    assert_fails("convert in out.gguf --depfile in/config.json", 2, "in/config.json: the source is there");
    assert_fails("convert in out.gguf --depfile ./in/model.safetensors", 2, "the source is there");
    assert_fails("convert in out.gguf --depfile out.gguf", 2, "--depfile: out.gguf is an output itself");
    assert_fails("convert in there.gguf --force --depfile ./there.gguf", 2, "is an output itself");
    assert_fails("convert in out.gguf --depfile nowhere/d", 1, "nowhere/d: cannot write there");
    assert_int_equal(access(scratch_path("out.gguf"), F_OK), -1); /* all this is said before the work */
    assert_runs("convert in out.gguf");
}

static void depfile_is_a_make_rule(void **state) {
    (void)state;
    tiny_folder("in $ #1");
    assert_runs("convert 'in $ #1' 'out x.gguf' --depfile rule.d");
    Buffer text = {0};
    Error e = {0};
    assert_true(file_read(scratch_path("rule.d"), 1 << 16, &text, &e));
    const char *rule = buffer_string(&text);
    assert_memory_equal(rule, "out\\ x.gguf:", 12);
    assert_non_null(strstr(rule, " \\\n  in\\ $$\\ \\#1/model.safetensors"));
    assert_non_null(strstr(rule, " \\\n  in\\ $$\\ \\#1/config.json"));
    assert_non_null(strstr(rule, "\nin\\ $$\\ \\#1/config.json:\n"));
    buffer_free(&text);
    /* make reads it: nothing to do until an input is newer */
    char command[PATH_MAX];
    scratch_text("M", "out\\ x.gguf: ; false\ninclude rule.d\n");
    snprintf(command, sizeof command, "make -C '%s' -f M -q > /dev/null 2>&1", scratch());
    assert_int_equal(WEXITSTATUS(system(command)), 0);
    struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, scratch_path("out x.gguf"), past, 0), 0);
    assert_int_equal(WEXITSTATUS(system(command)), 1);
}

static void shards_and_types(void **state) {
    (void)state;
    tiny_folder("in");
    assert_runs("convert in shards --max-shard-size 2k");
    assert_int_equal(access(scratch_path("shards/model.safetensors.index.json"), F_OK), 0);
    assert_runs("convert shards joined");
    assert_same_file("in/model.safetensors", "joined/model.safetensors");
    assert_runs("convert in wide --dtype f32");
    Checkpoint *c = opened(scratch_path("wide"));
    for (size_t i = 0; i < c->n_tensors; i++)
        assert_int_equal(c->tensors[i].dtype, DTYPE_F32);
    Error e = {0};
    json_t *config = checkpoint_json(c, "config.json", &e);
    assert_string_equal(json_get_string(config, "torch_dtype"), "float32");
    json_decref(config);
    checkpoint_close(c);
}

/* Multipliers and no rotation: in HF only granite_swa says that, with sinks that llama.cpp's granite lacks.
 */
static void granite_without_rotation_reads_back(void **state) {
    (void)state;
    static const char config[] =
        "{\"architectures\": [\"GraniteForCausalLM\"], \"model_type\": \"granite\", \"hidden_size\": 16,\n"
        " \"intermediate_size\": 24, \"num_hidden_layers\": 4, \"num_attention_heads\": 4,\n"
        " \"num_key_value_heads\": 2, \"vocab_size\": 40, \"max_position_embeddings\": 64,\n"
        " \"attention_multiplier\": 0.25, \"residual_multiplier\": 0.5, \"rms_norm_eps\": 1e-05,\n"
        " \"tie_word_embeddings\": true, \"torch_dtype\": \"bfloat16\"}";
    tiny_write(tiny_checkpoint(config, false), "granite");
    assert_runs("convert granite bare.gguf --drop-rope");
    assert_runs("verify bare.gguf");
    assert_runs("convert granite there --drop-rope");
    assert_runs("convert bare.gguf back");
    assert_runs("verify back");
    assert_same_file("there/model.safetensors", "back/model.safetensors");
    /* those sinks do nothing, so llama.cpp's granite can do without them */
    assert_runs("convert there again.gguf");
    assert_runs("verify again.gguf");
    Checkpoint *bare = opened(scratch_path("bare.gguf")), *again = opened(scratch_path("again.gguf"));
    assert_int_equal(bare->n_tensors, again->n_tensors);
    assert_string_equal(meta_string(again, "general.architecture", NULL), "granite");
    checkpoint_close(bare);
    checkpoint_close(again);
    scratch_text("ids", "1 5 9 30 2 7");
    assert_runs("logits granite --drop-rope --ids ids --out a.f32");
    assert_runs("logits again.gguf --ids ids --out b.f32");
    assert_same_file("a.f32", "b.f32");
    Checkpoint *c = opened(scratch_path("back"));
    Error e = {0};
    json_t *read = checkpoint_json(c, "config.json", &e);
    assert_string_equal(json_get_string(read, "model_type"), "granite_swa");
    double multiplier;
    assert_true(json_get_f64(read, "residual_multiplier", &multiplier) && multiplier == 0.5);
    json_decref(read);
    checkpoint_close(c);
}

/* File names are bytes; JSON and GGUF hold text. */
static void names_that_are_not_text(void **state) {
    (void)state;
    tiny_folder("a\xff"
                "b");
    const char *said;
    Error e = {0};
    assert_runs("convert a\xff"
                "b o\xff.gguf --drop-rope --depfile 'd\xff'");
    assert_runs("convert a\xff"
                "b o\xff");
    static const char *const lines[] = {"inspect a\xff"
                                        "b --json",
                                        "verify o\xff.gguf --json", "verify o\xff --json",
                                        "diff a\xff"
                                        "b o\xff --json",
                                        "inspect o\xff.gguf --json"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(run_derope(lines[i], &said), 0);
        json_t *o = json_parse(lines[i], said, strlen(said), &e);
        if (!o) fail_msg("%s: %s", e.message, said);
        json_decref(o);
        assert_non_null(strstr(said, "\xef\xbf\xbd"));
    }
    Checkpoint *c = opened(scratch_path("o\xff.gguf"));
    assert_string_equal(meta_string(c, "general.name", NULL), "a\xef\xbf\xbd"
                                                              "b");
    checkpoint_close(c);
}

static json_t *difference(const char *a, const char *b) {
    char line[300];
    const char *said;
    Error e = {0};
    snprintf(line, sizeof line, "diff %s %s --json", a, b);
    if (run_derope(line, &said)) fail_msg("%s: %s", line, said);
    json_t *o = json_parse("diff", said, strlen(said), &e);
    if (!o) fail_msg("%s", e.message);
    return o;
}

static const json_t *named(const json_t *o, const char *list, const char *member, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(o, list), i, row) {
        if (strcmp(json_get_string(row, member), name) == 0) return row;
    }
    fail_msg("%s lists no %s", list, name);
    return NULL;
}

static void diff_tells_what_differs(void **state) {
    (void)state;
    tiny_folder("in");
    assert_runs("convert in same.gguf --force");
    json_t *o = difference("in", "same.gguf"); /* under HF names, whatever the order of rows */
    assert_true(json_is_true(json_object_get(o, "equal")));
    json_decref(o);

    assert_runs("convert in doubled --scale-attention 2 --set-context 128 --force");
    o = difference("in", "doubled");
    assert_true(json_is_false(json_object_get(o, "equal")));
    const json_t *row = named(o, "tensors", "name", "model.layers.0.self_attn.q_proj.weight");
    assert_string_equal(json_get_string(row, "status"), "changed");
    Checkpoint *c = opened(scratch_path("in"));
    Error e = {0};
    float values[TINY_WIDTH * TINY_WIDTH], largest = 0; /* |2q - q| = |q| */
    assert_true(tensor_read_f32(checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight"), values, &e));
    for (int i = 0; i < TINY_WIDTH * TINY_WIDTH; i++)
        if (values[i] > largest || -values[i] > largest) largest = values[i] > 0 ? values[i] : -values[i];
    double found;
    assert_true(json_get_f64(row, "max_abs_difference", &found));
    assert_true(found == largest);
    checkpoint_close(c);
    row = named(o, "tensors", "name", "model.norm.weight");
    assert_string_equal(json_get_string(row, "status"), "equal");
    row = named(o, "settings", "key", "max_position_embeddings");
    assert_int_equal(json_integer_value(json_object_get(row, "a")), 64);
    assert_int_equal(json_integer_value(json_object_get(row, "b")), 128);
    json_decref(o);

    assert_runs("convert in wider --dtype f32 --force");
    o = difference("in", "wider");
    row = named(o, "tensors", "name", "model.norm.weight");
    assert_string_equal(json_get_string(row, "status"), "same values");
    json_decref(o);

    /* The tiny Llama as safetensors whose first two rows of one matrix are exchanged. */
    Checkpoint *moved = tiny_checkpoint(tiny_config, false);
    Tensor *t = (Tensor *)(uintptr_t)checkpoint_find(moved, "model.layers.0.self_attn.k_proj.weight");
    uint16_t *rows = (uint16_t *)(uintptr_t)t->parts[0].source->map;
    for (int i = 0; i < TINY_WIDTH; i++) {
        uint16_t first = rows[i];
        rows[i] = rows[TINY_WIDTH + i];
        rows[TINY_WIDTH + i] = first;
    }
    tiny_write(moved, "moved");
    o = difference("in", "moved");
    row = named(o, "tensors", "name", "model.layers.0.self_attn.k_proj.weight");
    assert_string_equal(json_get_string(row, "status"), "permuted");
    assert_null(json_object_get(row, "max_abs_difference"));
    json_decref(o);

    assert_runs("convert in a.gguf --drop-rope=0 --force");
    assert_runs("convert in b.gguf --drop-rope --force");
    o = difference("a.gguf", "b.gguf");
    row = named(o, "tensors", "name", "blk.0.attn_sinks.weight");
    assert_string_equal(json_get_string(row, "status"), "only in a");
    row = named(o, "settings", "key", "general.architecture");
    assert_string_equal(json_get_string(row, "a"), "granite_swa");
    assert_string_equal(json_get_string(row, "b"), "granite");
    row = named(o, "settings", "key", "ARCH.rope.scaling.finetuned");
    assert_null(json_object_get(row, "a"));
    json_decref(o);
    assert_fails("diff in", 2, "two models are needed");
    assert_fails("diff in nowhere", 3, "nowhere: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_command_lines_are_usage),
        cmocka_unit_test(quiet_wherever_it_stands),
        cmocka_unit_test(missing_inputs_and_refusals),
        cmocka_unit_test(outputs_are_not_overwritten),
        cmocka_unit_test(one_file_brings_what_lies_beside_it),
        cmocka_unit_test(the_source_stays_as_it_is),
        cmocka_unit_test(depfile_is_a_make_rule),
        cmocka_unit_test(depfile_spares_what_is_read_and_written),
        cmocka_unit_test(shards_and_types),
        cmocka_unit_test(names_that_are_not_text),
        cmocka_unit_test(granite_without_rotation_reads_back),
        cmocka_unit_test(diff_tells_what_differs),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
