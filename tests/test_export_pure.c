/* An export changes nothing in the model: outputs of every type and container, alone, in any order and after
 * an interruption, are the same files byte for byte, manifests included, and are what `plan` promised. */
#include "cmd/output.h"
#include "formats/json.h"
#include "formats/meta.h"
#include "surgery/manifest.h"
#include "surgery/model.h"
#include "surgery/model_open.h"
#include "surgery/passes/passes.h"
#include "tests/process.h"
#include "tests/text_model.h"

/* Every container with every type that it can hold; NULL: the source's. The numbers in the names keep the
 * order in which they are listed here. */
static const struct Output {
    const char *name, *dtype;
} outputs[] = {
    {"00.gguf", "bf16"}, {"01", NULL},       {"02.gguf", "q4_k"}, {"03.zip", NULL},  {"04", "f16"},
    {"05.gguf", NULL},   {"06", "f32"},      {"07.gguf", "q8_0"}, {"08", "bf16"},    {"09.gguf", "f32"},
    {"10.zip", "bf16"},  {"11.gguf", "f16"}, {"12.zip", "f16"},   {"13.zip", "f32"},
};

enum {
    N_OUTPUTS = sizeof outputs / sizeof *outputs,
    WIDE = 256,
    WIDE_FFN = 96,
    WIDE_LAYERS = 2,
    WIDE_VOCAB = 40
};

/* ---- sources ---- */

static void add(Checkpoint *c, const char *name, DType dtype, uint64_t rows, uint64_t cols) {
    uint64_t shape[2] = {rows ? rows : cols, cols}, n = (rows ? rows : 1) * cols;
    float *v = arena_alloc(&c->arena, n * sizeof *v);
    uint16_t *half = arena_alloc(&c->arena, n * sizeof *half);
    uint32_t seed = (uint32_t)c->n_tensors * 7919 + 1;
    for (uint64_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        v[i] = (float)(seed >> 8) / (1 << 25) - 0.25f; /* more digits than 16 bits hold */
        half[i] = f32_to_bf16(v[i]);
    }
    Tensor t =
        tensor_over(&c->arena, name, dtype, rows ? 2 : 1, shape, dtype == DTYPE_F32 ? (const void *)v : half);
    checkpoint_add_tensor(c, &t);
}

/* A Llama whose rows are whole blocks of Q4_K, those of down_proj excepted: 96 columns are blocks of 32
 * alone. With a tensor of nobody's, a file of code, and side files that are text and bytes. */
static void write_source(const char *name, DType dtype) {
    static const char config[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 256,\n"
        " \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": "
        "40,\n"
        " \"num_key_value_heads\": 2, \"max_position_embeddings\": 64, \"rope_theta\": 5000.0,\n"
        " \"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"tie_word_embeddings\": true}";
    static const struct {
        const char *name;
        int rows, cols;
    } rows[] = {{"input_layernorm.weight", 0, WIDE},          {"mlp.down_proj.weight", WIDE, WIDE_FFN},
                {"mlp.gate_proj.weight", WIDE_FFN, WIDE},     {"mlp.up_proj.weight", WIDE_FFN, WIDE},
                {"post_attention_layernorm.weight", 0, WIDE}, {"self_attn.k_proj.weight", WIDE / 2, WIDE},
                {"self_attn.o_proj.weight", WIDE, WIDE},      {"self_attn.q_proj.weight", WIDE, WIDE},
                {"self_attn.v_proj.weight", WIDE / 2, WIDE}};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "model.embed_tokens.weight", dtype, WIDE_VOCAB, WIDE);
    for (int l = 0; l < WIDE_LAYERS; l++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char full[100];
            snprintf(full, sizeof full, "model.layers.%d.%s", l, rows[i].name);
            add(c, full, dtype, (uint64_t)rows[i].rows, (uint64_t)rows[i].cols);
        }
    add(c, "model.norm.weight", dtype, 0, WIDE);
    add(c, "extra", DTYPE_F32, 2, 3);
    checkpoint_set_file(c, "config.json", config, sizeof config - 1);
    checkpoint_set_file(c, "modeling_x.py", "print()\n", 8);
    checkpoint_set_file(c, "notes.txt", "kept", 4);
    checkpoint_set_file(c, "bytes", "\0\1\2", 3);
    tiny_write(c, name);
}

static int sources(void **state) {
    (void)state;
    write_source("f32", DTYPE_F32);
    write_source("bf16", DTYPE_BF16);
    assert_runs("convert f32 q4.gguf --dtype q4_k");  /* of ours: a config.json travels in it */
    assert_runs("convert bf16 own.gguf --drop-rope"); /* another architecture than the source's */
    return 0;
}

static const char *const source_names[] = {"f32", "bf16", "q4.gguf", "own.gguf"};

/* ---- exports of one model ---- */

typedef struct Opened {
    Checkpoint *source;
    Model *model;
} Opened;

/* After surgery that changes values (a scale in q_proj), types and metadata. */
static Opened open_operated(const char *name) {
    Error e = {0};
    Opened o = {.source = opened(scratch_path(name))};
    o.model = model_open(o.source, &e);
    if (!o.model) fail_msg("%s", e.message);
    json_t *args = json_pack("{s:f}", "factor", 1.25);
    if (!pass_apply(o.model, "scale_attention", args, &e)) fail_msg("%s", e.message);
    json_decref(args);
    return o;
}

static void close_operated(Opened *o) {
    model_close(o->model);
    checkpoint_close(o->source);
}

static void write_output(const Model *m, size_t i, const char *folder) {
    char name[64];
    Error e = {0};
    snprintf(name, sizeof name, "%s/%s", folder, outputs[i].name);
    OutputRequest r = {
        .path = scratch_path(name), .dtype = outputs[i].dtype, .force = true, .notices_told = 99};
    if (!output_write(m, &r, &e)) fail_msg("%s: %s", name, e.message);
}

/* The same files, whatever else the model was exported to before. */
static void every_order_gives_the_same_bytes(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof source_names / sizeof *source_names; s++) {
        run_shell("rm -rf alone together; mkdir alone together");
        for (size_t i = 0; i < N_OUTPUTS; i++) {
            Opened o = open_operated(source_names[s]);
            write_output(o.model, i, "alone");
            close_operated(&o);
        }
        /* steps that have no factor in common with the number of outputs visit all of them */
        static const size_t steps[] = {1, N_OUTPUTS - 1, 5};
        for (size_t k = 0; k < (s ? 2 : sizeof steps / sizeof *steps); k++) {
            Opened o = open_operated(source_names[s]);
            json_t *notices = json_deep_copy(o.model->notices);
            for (size_t i = 0; i < N_OUTPUTS; i++)
                write_output(o.model, (i + k) * steps[k] % N_OUTPUTS, "together");
            assert_true(json_equal(notices, o.model->notices));
            json_decref(notices);
            close_operated(&o);
            if (run_shell("diff -rq alone together")) fail_msg("%s, order %zu", source_names[s], k);
        }
    }
}

static json_t *manifest_of(const char *path) {
    Error e = {0};
    Checkpoint *c = opened(path);
    json_t *manifest = manifest_read(c, &e);
    assert_non_null(manifest);
    checkpoint_close(c);
    return manifest;
}

static bool has_notice(const json_t *notices, const char *text) {
    size_t i;
    const json_t *n;
    json_array_foreach(notices, i, n) if (strstr(json_string_value(n), text)) return true;
    return false;
}

/* A model keeps the table of tensors that it was opened with, and reports are of one export each. */
static void an_export_leaves_the_model_alone(void **state) {
    (void)state;
    Error e = {0};
    Opened o = open_operated("f32");
    ModelTensor *before = xmalloc(o.model->n_tensors * sizeof *before);
    memcpy(before, o.model->tensors, o.model->n_tensors * sizeof *before);
    Model shallow = *o.model;
    const struct {
        ExportOptions options;
        const char *says;
    } cases[] = {
        {{.format = FORMAT_GGUF, .has_dtype = true, .dtype = DTYPE_Q4_K}, "are not whole blocks of q4_k"},
        {{.format = FORMAT_GGUF, .has_dtype = true, .dtype = DTYPE_F16}, "modeling_x.py is left out"},
        {{.format = FORMAT_HF, .has_dtype = true, .dtype = DTYPE_BF16}, "modeling_x.py is left out"},
        {{.format = FORMAT_HF}, "modeling_x.py is left out"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ExportReport report = {0};
        Checkpoint *out = model_export(o.model, &cases[i].options, &report, &e);
        if (!out) fail_msg("%s", e.message);
        assert_true(has_notice(report.notices, cases[i].says));
        assert_int_equal(has_notice(report.notices, "whole blocks"), i == 0);
        assert_memory_equal(before, o.model->tensors, o.model->n_tensors * sizeof *before);
        shallow.source = o.model->source;
        assert_memory_equal(&shallow, o.model, sizeof shallow);
        checkpoint_close(out);
        export_report_free(&report);
    }
    free(before);
    close_operated(&o);
}

/* ---- recipes ---- */

static void write_recipe(const char *name, const char *source, const char *steps) {
    Buffer b = {0};
    buffer_printf(&b, "source: %s\n%soutputs:\n", source, steps);
    for (size_t i = 0; i < N_OUTPUTS; i++) {
        buffer_printf(&b, "  - {path: out/%s", outputs[i].name);
        if (outputs[i].dtype) buffer_printf(&b, ", dtype: %s", outputs[i].dtype);
        buffer_printf(&b, "}\n");
    }
    scratch_text(name, buffer_string(&b));
    buffer_free(&b);
}

static json_t *named(const json_t *list, const char *name) {
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) if (strcmp(json_get_string(row, "name"), name) == 0) return row;
    return NULL;
}

/* What plan --json says of an output is what its manifest says when it is there. */
static void assert_promised(const json_t *plan, const json_t *manifest, const char *path) {
    const json_t *tensors = json_object_get(plan, "tensors"),
                 *listed = json_object_get(tensors, "not_untouched"), *row;
    size_t i, changed = 0;
    assert_string_equal(json_get_string(plan, "carrier"), json_get_string(manifest, "carrier"));
    if (!json_equal(json_object_get(plan, "notices"), json_object_get(manifest, "notices")))
        fail_msg("%s: other notices than planned", path);
    json_array_foreach(json_object_get(manifest, "tensors"), i, row) {
        const char *name = json_get_string(row, "name"), *status = json_get_string(row, "status");
        const json_t *promise = named(listed, name);
        if (!promise) assert_string_equal(status, "untouched");
        if (!promise) continue;
        changed++;
        if (strcmp(json_get_string(promise, "status"), status) != 0 ||
            strcmp(json_get_string(promise, "dtype"), json_get_string(row, "dtype")) != 0)
            fail_msg("%s: tensor %s is %s in %s, not as planned", path, name, status,
                     json_get_string(row, "dtype"));
    }
    assert_int_equal(changed, json_array_size(listed));
}

static void outputs_are_what_plan_said(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof source_names / sizeof *source_names; s++) {
        const char *words;
        Error e = {0};
        run_shell("rm -rf out");
        write_recipe("all.yaml", source_names[s], "surgery: [{drop_rope: {layers: 1}}]\n");
        assert_int_equal(run_derope("plan all.yaml --json > plan.json", &words), 0);
        json_t *plan = scratch_json("plan.json"), *output;
        assert_runs("run all.yaml");
        size_t i;
        json_array_foreach(json_object_get(plan, "outputs"), i, output) {
            json_t *manifest = manifest_of(scratch_path(json_get_string(output, "path")));
            assert_promised(output, manifest, json_get_string(output, "path"));
            assert_int_equal(has_notice(json_object_get(manifest, "notices"), "whole blocks of q4_k"),
                             outputs[i].dtype && strcmp(outputs[i].dtype, "q4_k") == 0);
            json_decref(manifest);
        }
        assert_int_equal(i, N_OUTPUTS);
        json_decref(plan);
        if (s) continue;
        /* an output without a type has the source's, whatever was written before it */
        Checkpoint *c = opened(scratch_path("out/01"));
        assert_int_equal(checkpoint_find(c, "model.embed_tokens.weight")->dtype, DTYPE_F32);
        checkpoint_close(c);
        c = opened(scratch_path("out/05.gguf"));
        assert_int_equal(checkpoint_find(c, "token_embd.weight")->dtype, DTYPE_F32);
        assert_null(checkpoint_json(c, "derope.json", &e));
        checkpoint_close(c);
    }
}

/* Three outputs stand there. */
static bool third_is_written(pid_t child) {
    (void)child;
    return access(scratch_path("out/02.gguf"), F_OK) == 0;
}

/* However far a run came before it was stopped, the next one makes the files that one run makes. */
static void assert_goes_on(const char *recipe) {
    char run[64];
    snprintf(run, sizeof run, "run %s", recipe);
    run_shell("rm -rf out whole");
    assert_runs(run);
    run_shell("cp -r out whole");
    for (size_t done = 0; done < N_OUTPUTS; done += 5) { /* what is there when it stops after so many */
        for (size_t i = done; i < N_OUTPUTS; i++) {
            char line[64];
            snprintf(line, sizeof line, "rm -r out/%s", outputs[i].name);
            run_shell(line);
        }
        assert_runs(run);
        if (run_shell("diff -rq -x '*.work' out whole"))
            fail_msg("%s, stopped after %zu outputs", recipe, done);
    }
    run_shell("rm -rf out");
    pid_t child = start_derope(run); /* killed without a chance to tidy up */
    if (wait_until(child, third_is_written)) kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_runs(run);
    if (run_shell("diff -rq -x '*.work' out whole")) fail_msg("%s, killed", recipe);
}

static void an_interrupted_run_ends_in_the_same_bytes(void **state) {
    (void)state;
    write_recipe("plain.yaml", "f32",
                 "surgery: [{drop_rope: {layers: 1}}, {scale_attention: {factor: 1.25}}]\n");
    assert_goes_on("plain.yaml");
    text_folder("text"); /* it has a tokenizer */
    scratch_folder("train");
    text_file("train/1.txt", 1, 300);
    write_recipe("trained.yaml", "text",
                 "surgery: [{drop_rope: {layers: 2-3}}]\n"
                 "recalibrate: {data: train, tokens: 1k, context: 32}\n");
    assert_goes_on("trained.yaml");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_export_leaves_the_model_alone),
        cmocka_unit_test(every_order_gives_the_same_bytes),
        cmocka_unit_test(outputs_are_what_plan_said),
        cmocka_unit_test(an_interrupted_run_ends_in_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, sources, scratch_remove);
}
