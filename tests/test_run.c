/* `derope run` and `derope plan` from the outside: what a recipe makes, what a second run leaves alone, what
 * each change redoes, and what is refused before any work. */
#include <dirent.h>

#include "formats/floats.h"
#include "formats/hash.h"
#include "formats/meta.h"
#include "tests/process.h"
#include "tests/text_model.h"

static const char recipe[] = "source: in\n"
                             "surgery:\n"
                             "  - drop_rope: {layers: 2-3}\n"
                             "  - sliding_window: {size: 8, layers: 0-1}\n"
                             "recalibrate: {data: train, tokens: 1k, context: 32, objective: distill}\n"
                             "evaluate: {text: held.txt, context: [16, 32], tokens: 400}\n"
                             "outputs:\n"
                             "  - {path: out/hf}\n"
                             "  - {path: also/m.gguf}\n";

static const char wording[] =
    "{\"fact\": \" {key} {value}.\", \"question\": \" {key}\", \"keys\": "
    "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\",\"m\",\"n\",\"o\",\"p\"],"
    " \"values\": [\"q\",\"r\",\"s\",\"t\",\"u\",\"v\",\"w\",\"x\",\"y\",\"z\"]}";

/* Everything the recipe reads, and nothing it makes. */
static int fresh(void **state) {
    (void)state;
    run_shell("rm -rf in train tr* out also");
    text_folder("in");
    scratch_folder("train");
    text_file("train/1.txt", 1, 300);
    text_file("train/2.txt", 2, 300);
    text_file("held.txt", 3, 200);
    scratch_text("r.yaml", recipe);
    return 0;
}

/* ---- what a run makes ---- */

static void outputs_in_both_formats(void **state) {
    (void)state;
    const char *words;
    assert_runs("run r.yaml");
    assert_int_equal(entries_in("out"), 2); /* hf, hf.work */
    assert_int_equal(entries_in("also"), 1);
    static const char *const outputs[] = {"out/hf", "also/m.gguf"};
    for (int i = 0; i < 2; i++) {
        char line[100];
        Error e = {0};
        snprintf(line, sizeof line, "verify %s", outputs[i]);
        assert_runs(line);
        snprintf(line, sizeof line, "inspect %s --json", outputs[i]);
        assert_int_equal(run_derope(line, &words), 0);
        json_t *o = json_parse(line, words, strlen(words), &e);
        const json_t *layers = json_object_get(json_object_get(o, "spec"), "layers");
        assert_int_equal(json_array_size(layers), 4);
        for (size_t l = 0; l < 4; l++) {
            const json_t *layer = json_array_get(layers, l);
            assert_string_equal(json_get_string(layer, "position"), l < 2 ? "rope" : "nope");
            assert_int_equal(json_integer_value(json_object_get(layer, "window")), l < 2 ? 8 : 0);
        }
        json_decref(o);
    }
    Checkpoint *hf = opened(scratch_path("out/hf")), *gguf = opened(scratch_path("also/m.gguf"));
    float a[TINY_WIDTH], b[TINY_WIDTH]; /* one training, two outputs */
    Error e = {0};
    assert_true(tensor_read_f32(checkpoint_find(hf, "model.norm.weight"), a, &e));
    assert_true(tensor_read_f32(checkpoint_find(gguf, "output_norm.weight"), b, &e));
    for (int i = 0; i < TINY_WIDTH; i++)
        assert_true(a[i] == bf16_to_f32(f32_to_bf16(b[i])));
    json_t *manifest = checkpoint_json(hf, "derope.json", &e);
    assert_non_null(json_object_get(manifest, "recipe"));
    assert_int_equal(json_array_size(json_object_get(manifest, "sources")), 4);
    json_decref(manifest);
    checkpoint_close(hf);
    checkpoint_close(gguf);
    assert_int_equal(run_derope("run r.yaml r.yaml", &words), 0); /* a table in plain text */
    assert_non_null(strstr(words, "perplexity at a context of                          16        32\n"));
    assert_non_null(strstr(words, "\nr: after recalibration "));
}

static const char *names_of(const char *name) {
    static Buffer names;
    size_t i;
    json_t *r = scratch_json(name), *m;
    names.size = 0;
    json_array_foreach(json_object_get(r, "models"), i, m)
        buffer_printf(&names, "%s%s", i ? "; " : "", json_get_string(m, "name"));
    json_decref(r);
    return buffer_string(&names);
}

/* Suites, methods, a report and a card, from a recipe; what is there already is not written again. */
static void a_recipe_evaluates_as_eval_does(void **state) {
    (void)state;
    const char *words;
    Error e = {0};
    static const char line[] =
        "run r.yaml --json --set evaluate.suite=[perplexity,key-value] --set evaluate.against=yarn "
        "--set evaluate.trials=3 --set evaluate.task_context=400 --set evaluate.report=out/r.html "
        "--set evaluate.card=true --set evaluate.base_model=org/in";
    assert_int_equal(run_derope(line, &words), 0);
    const char *json = strstr(words, "[\n");
    json_t *table = json_parse("table", json, strlen(json), &e);
    static const char *const rows[] = {"source", "source under yarn", "after surgery, untrained",
                                       "after recalibration"};
    assert_int_equal(json_array_size(table), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(table, i),
                     *asked = json_object_get(json_object_get(row, "tasks"), "key-value"),
                     *cell = json_array_get(asked, 0);
        assert_string_equal(json_get_string(row, "model"), rows[i]);
        assert_int_equal(json_array_size(json_object_get(row, "perplexity")), 2);
        assert_int_equal(json_array_size(asked), 1);
        assert_int_equal(json_integer_value(json_object_get(cell, "context")), 400);
        assert_int_equal(json_integer_value(json_object_get(cell, "trials")), 3);
    }
    json_decref(table);
    assert_string_equal(names_of("out/r.json"), "source; after surgery, untrained; after recalibration");
    assert_int_equal(
        run_shell("test -s out/r.html && test -s out/r.csv && grep -q 'base_model: org/in' out/hf/README.md "
                  "&& test -s out/hf/perplexity.svg"),
        0);
    assert_runs("verify out/hf");
    run_shell("touch -d '2020-01-01' out/hf/README.md out/r.html");
    assert_runs(line);
    assert_int_equal(run_shell("test out/hf/README.md -nt r.yaml || test out/r.html -nt r.yaml"), 1);
    run_shell("rm out/r.html");
    assert_runs(line);
    assert_int_equal(run_shell("test -s out/r.html"), 0);
    /* the card is about what was trained, not about the source */
    assert_int_equal(run_shell("grep -q '^| \\*\\*after recalibration\\*\\* ' out/hf/README.md"), 0);
}

/* What is asked for may be less than what is measured already, or something else about it. */
static void reports_and_cards_follow_the_recipe(void **state) {
    (void)state;
    static const char more[] = "run r.yaml --set evaluate.suite=key-value --set evaluate.task_context=400 "
                               "--set evaluate.trials=2 --set evaluate.card=true "
                               "--set evaluate.report=out/r.html";
    char line[400];
    snprintf(line, sizeof line, "%s --set evaluate.against=yarn", more);
    assert_runs(line);
    assert_int_equal(run_shell("grep -q yarn out/r.json && ! test -e out/hf/perplexity.svg"), 0);
    run_shell("touch -d 2020-01-01 out/hf/README.md out/r.html");
    assert_runs(line);
    assert_int_equal(run_shell("test out/hf/README.md -nt r.yaml || test out/r.html -nt r.yaml"), 1);
    assert_runs(more); /* a method less */
    assert_int_equal(run_shell("grep -q yarn out/r.json || grep -qi 'source + yarn' out/hf/README.md"), 1);
    snprintf(line, sizeof line, "%s --set evaluate.base_model=org/in", more);
    assert_runs(line);
    assert_int_equal(run_shell("grep -q 'base_model: org/in' out/hf/README.md"), 0);
    assert_runs("verify out/hf");
}

/* A column a length, though not every recipe measures at all of them. */
static void tables_keep_their_columns(void **state) {
    (void)state;
    const char *words;
    double at8 = 0, at32 = 0;
    char other[sizeof recipe];
    snprintf(other, sizeof other, "%s", recipe);
    memcpy(strstr(other, "out/hf"), "out/h2", 6);
    memcpy(strstr(other, "also/m"), "also/n", 6);
    memcpy(strstr(other, "[16, 32]"), "[ 32, 8]", 8);
    scratch_text("q.yaml", other);
    assert_int_equal(run_derope("run r.yaml q.yaml", &words), 0);
    assert_non_null(
        strstr(words, "perplexity at a context of                           8        16        32\n"));
    const char *row = strstr(words, "q: after recalibration ");
    assert_non_null(row);
    assert_int_equal(sscanf(row, "q: after recalibration %lf - %lf", &at8, &at32), 2);
    assert_non_null(strstr(words, "r: after recalibration                               - "));
}

static void several_recipes_share_a_report(void **state) {
    (void)state;
    char other[sizeof recipe + 100];
    assert_runs("run r.yaml --report one.html");
    assert_string_equal(names_of("one.json"), "source; after surgery, untrained; after recalibration");
    snprintf(other, sizeof other, "%s", recipe);
    memcpy(strstr(other, "out/hf"), "out/h2", 6);
    memcpy(strstr(other, "also/m"), "also/n", 6);
    memcpy(strstr(other, "held.txt"), "hel2.txt", 8);
    memcpy(strstr(other, "tokens: 400"), "trials: 777", 11);
    text_file("hel2.txt", 4, 200);
    scratch_text("q.yaml", other);
    assert_runs("run r.yaml q.yaml --report both.html");
    assert_string_equal(names_of("both.json"),
                        "source; r: after surgery, untrained; r: after recalibration; source; "
                        "q: after surgery, untrained; q: after recalibration");
    json_t *r = scratch_json("both.json");
    assert_int_equal(json_array_size(json_object_get(r, "perplexity")), 12);
    assert_int_equal(json_array_size(json_object_get(r, "texts")), 2);
    assert_int_equal(json_object_size(json_object_get(r, "settings")), 3); /* they differ in trials */
    assert_string_equal(json_get_string(r, "command"), "derope run r.yaml q.yaml --report both.html");
    assert_int_equal(
        json_integer_value(json_object_get(json_array_get(json_object_get(r, "perplexity"), 11), "model")),
        5);
    json_decref(r);
    scratch_text("theirs.json", "{}");
    assert_fails("run r.yaml --report theirs.html", 1, "theirs.json");
}

/* ---- what a second run does ---- */

/* What `derope run r.yaml ARGUMENTS` did, a letter a step, large if it was done and small if it was skipped:
 * perplexity of the (s)ource and (u)ntrained, (t)raining, (h)f and (g)guf output, perplexity (a)fter. */
static const char *steps_done(const char *arguments) {
    static char steps[] = "sutHGa";
    char line[300];
    const char *words, *models[] = {"source", "after surgery, untrained", "after recalibration"};
    const int at[] = {0, 1, 5};
    Error e = {0};
    int states = access(scratch_path("out/hf.work"), F_OK) == 0 ? entries_in("out/hf.work") : 1;
    snprintf(line, sizeof line, "run r.yaml --json %s", arguments);
    if (run_derope(line, &words)) fail_msg("%s: %s", line, words);
    steps[2] = entries_in("out/hf.work") > states ? 'T' : 't';
    steps[3] = strstr(words, "note: out/hf is up to date") ? 'h'
               : strstr(words, "note: wrote out/hf\n")     ? 'H'
                                                           : '?';
    steps[4] = strstr(words, "note: also/m.gguf is up to date") ? 'g'
               : strstr(words, "note: wrote also/m.gguf\n")     ? 'G'
                                                                : '?';
    const char *json = strstr(words, "[\n");
    json_t *table = json_parse("table", json, strlen(json), &e);
    assert_int_equal(json_array_size(table), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = json_array_get(table, i);
        assert_string_equal(json_get_string(row, "model"), models[i]);
        assert_int_equal(json_array_size(json_object_get(row, "perplexity")), 2);
        bool skipped = json_is_true(json_object_get(row, "skipped"));
        steps[at[i]] = skipped ? "sutHGa"[at[i]] : "SUTHGA"[at[i]];
    }
    json_decref(table);
    return steps;
}

/* Names, sizes, kinds and times of everything under scratch(). */
static const char *snapshot(void) {
    static Buffer text;
    char command[PATH_MAX + 80];
    snprintf(command, sizeof command, "cd '%s' && find . -printf '%%P %%y %%s %%T@ %%C@ %%i\\n' | sort",
             scratch());
    FILE *p = popen(command, "r");
    text.size = 0;
    for (int c; (c = fgetc(p)) != EOF;)
        buffer_byte(&text, (uint8_t)c);
    assert_int_equal(pclose(p), 0);
    assert_true(text.size > 100);
    return buffer_string(&text);
}

static void a_second_run_skips_every_step(void **state) {
    (void)state;
    assert_string_equal(steps_done(""), "SUTHGA");
    char *before = xstrdup(snapshot());
    assert_string_equal(steps_done(""), "suthga");
    assert_string_equal(snapshot(), before);
    run_shell("touch in/* train/* held.txt r.yaml"); /* times are not contents */
    assert_string_equal(steps_done(""), "suthga");
    free(before);
}

static void each_change_redoes_what_depends_on_it(void **state) {
    (void)state;
    static const struct {
        const char *shell, *arguments, *steps;
    } cases[] = {
        {"true", "", "SUTHGA"},
        {"true", "--set recalibrate.lr=2e-3", "suTHGA"},
        {"true", "", "sutHGa"}, /* back: the weights are still there */
        {"true", "--set recalibrate.tokens=2k", "suTHGA"},
        {"true", "--set recalibrate.tokens=2k --set evaluate.tokens=300", "SUthgA"},
        {"sed -i 's/tokens: 400/tokens: 300/; s/tokens: 1k/tokens: 2k/' r.yaml", "", "suthga"},
        {"true", "--set outputs.1.dtype=f32", "suthGa"},
        {"true", "--set 'surgery=[{drop_rope: {layers: 3}}]'", "sUTHGA"},
        {"true", "", "sutHGa"},
        {"echo the thin sea. >> held.txt", "", "SUthgA"},
        {"echo the thin sea. >> train/2.txt", "", "suTHGA"},
        {"mv train/2.txt train/3.txt", "", "suTHGA"},
        {"mv train texts && ln -s texts train", "", "suthga"}, /* the same files elsewhere */
        {"sed -i 's/5000.0/6000.0/' in/config.json", "", "SUTHGA"},
        {"printf ' ' >> in/tokenizer.json", "", "SUTHGA"},
        {"printf '\\1' | dd of=in/model.safetensors bs=1 seek=6000 conv=notrunc 2> /dev/null", "", "SUTHGA"},
        {"true", "--force", "SUtHGA"}, /* into the state of the same name */
        {"rm out/hf.work/*", "", "SUThgA"},
        {"rm -r out/hf", "", "sutHga"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_shell(cases[i].shell);
        const char *steps = steps_done(cases[i].arguments);
        if (strcmp(steps, cases[i].steps) != 0)
            fail_msg("case %zu, %s, run %s: did %s, expected %s", i, cases[i].shell, cases[i].arguments,
                     steps, cases[i].steps);
    }
}

/* A file that brings its companions: they are inputs as well. */
static void companions_are_inputs(void **state) {
    (void)state;
    assert_string_equal(steps_done("--set source=in/model.safetensors"), "SUTHGA");
    run_shell("sed -i 's/5000.0/6000.0/' in/config.json");
    assert_string_equal(steps_done("--set source=in/model.safetensors"), "SUTHGA");
}

static void force_trains_again(void **state) {
    (void)state;
    assert_runs("run r.yaml");
    char before[33], after[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("also/m.gguf"), before, &e));
    run_shell("ls -i out/hf.work/*.state > inode");
    assert_runs("run r.yaml --force");
    assert_int_not_equal(run_shell("ls -i out/hf.work/*.state | cmp -s - inode"), 0);
    assert_true(hash_file(scratch_path("also/m.gguf"), after, &e));
    assert_string_equal(before, after);
}

/* ---- --depfile ---- */

static int make_says(const char *goal) {
    char command[200];
    snprintf(command, sizeof command, "make -f M -q '%s' > /dev/null 2>&1", goal);
    return run_shell(command);
}

static void depfile_spares_what_is_read(void **state) {
    (void)state;
    char before[33], after[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("r.yaml"), before, &e));
    assert_fails("run r.yaml --depfile ./r.yaml", 2, "--depfile: ./r.yaml is read from");
    assert_fails("run r.yaml --depfile held.txt", 2, "--depfile: held.txt is read from");
    assert_fails("run r.yaml --depfile also/m.gguf", 2, "--depfile: also/m.gguf is an output itself");
    assert_true(hash_file(scratch_path("r.yaml"), after, &e));
    assert_string_equal(before, after);
    assert_int_equal(access(scratch_path("out/hf"), F_OK), -1);
}

static void depfile_names_every_input(void **state) {
    (void)state;
    assert_runs("convert in sharded --max-shard-size 2k --force");
    run_shell("rm sharded/derope.json; mv train 'tr $ :%#a'; cp 'tr $ :%#a/1.txt' 'tr $ :%#a/3[1].txt'");
    const char *run = "run r.yaml --set source=sharded --set 'recalibrate.data=tr $ :%#a' "
                      "--set evaluate.wording=w.json --depfile r.d";
    scratch_text("w.json", wording);
    assert_runs(run);
    scratch_text("M", "out/hf also/m.gguf: ; false\ninclude r.d\n");
    run_shell("find . -exec touch -d @1000 {} +; touch -d @2000 out/hf also/m.gguf");
    assert_int_equal(make_says("out/hf"), 0);
    static const char *const inputs[] = {"r.yaml",
                                         "held.txt",
                                         "w.json",
                                         "tr $ :%#a/1.txt",
                                         "tr $ :%#a/2.txt",
                                         "tr $ :%#a/3[1].txt",
                                         "sharded/config.json",
                                         "sharded/tokenizer.json",
                                         "sharded/tokenizer_config.json",
                                         "sharded/model.safetensors.index.json",
                                         "sharded/model-00001-of-00011.safetensors",
                                         "sharded/model-00011-of-00011.safetensors"};
    struct timespec late[2] = {{.tv_sec = 3000}, {.tv_sec = 3000}},
                    past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        assert_int_equal(utimensat(AT_FDCWD, scratch_path(inputs[i]), late, 0), 0);
        if (make_says("out/hf") != 1 || make_says("also/m.gguf") != 1) fail_msg("not named: %s", inputs[i]);
        assert_int_equal(utimensat(AT_FDCWD, scratch_path(inputs[i]), past, 0), 0);
    }
    run_shell("touch -d @3000 held.txt");
    assert_runs(run); /* nothing to do, and make learns of it */
    assert_int_equal(make_says("out/hf"), 0);
    assert_int_equal(make_says("also/m.gguf"), 0);
    run_shell("rm 'tr $ :%#a/2.txt'"); /* vanished: redo, do not stop */
    assert_int_equal(make_says("out/hf"), 1);
}

/* ---- plan ---- */

/* Layers that are no neighbours are listed, not made a range. */
static void plan_lists_layers_that_are_apart(void **state) {
    (void)state;
    const char *words;
    scratch_text("apart.yaml",
                 "source: in\nsurgery: [drop_rope: {layers: \"0,2-3\"}]\noutputs: [{path: out}]\n");
    assert_int_equal(run_derope("plan apart.yaml", &words), 0);
    if (!strstr(words, "  layers 0,2-3: rope -> nope, window 0 -> 0\n")) fail_msg("%s", words);
    scratch_text("apart.yaml", "source: in\nsurgery: [drop_rope: {layers: 1}]\noutputs: [{path: out}]\n");
    assert_int_equal(run_derope("plan apart.yaml", &words), 0);
    if (!strstr(words, "  layer 1: rope -> nope, window 0 -> 0\n")) fail_msg("%s", words);
}

static void plan_touches_nothing_and_tells_all(void **state) {
    (void)state;
    char *before = xstrdup(snapshot());
    const char *words;
    Error e = {0};
    assert_int_equal(run_derope("plan r.yaml", &words), 0);
    static const char *const told[] = {
        "source in\n",
        "  layers 2-3: rope -> nope",
        "recalibrate: 1000 tokens, distill, about 0 s on two cores, 0.00 GB of memory (",
        ("evaluate: source; after surgery, untrained; after recalibration; perplexity at 16, 32; about 1260 "
         "tokens"),
        "output out/hf (hf, ",
        "  carrier smollm3: transformers from 4.53\n    not own: has no keys for rotation",
        "  tensors: 38 changed\n",
        "  key model_type: \"llama\" -> \"smollm3\"\n",
        "  key no_rope_layers: absent -> [1, 1, 0, 0]\n",
        "output also/m.gguf (gguf, ",
        "  carrier granite_swa: llama.cpp",
        "  tensors: 38 changed, 4 new\n",
        "  key granite_swa.attention.sliding_window_pattern: new\n"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!strstr(words, told[i])) fail_msg("'%s' is not in: %s", told[i], words);

    scratch_text("q.yaml", "source: in\nsurgery: [drop_rope]\noutputs: {path: q.gguf, dtype: f32}\n");
    run_shell("rm q.yaml"); /* the folder's own times change */
    scratch_text("q.yaml", "source: in\nsurgery: [drop_rope]\noutputs: {path: q.gguf}\n");
    free(before);
    before = xstrdup(snapshot());
    assert_int_equal(run_derope("plan q.yaml", &words), 0);
    assert_non_null(strstr(words, "    permuted: blk.*.attn_q.weight (bf16), * = 0-3\n"));
    assert_non_null(strstr(words, "    widened: output_norm.weight (bf16 -> f32)\n"));
    assert_int_equal(run_derope("plan r.yaml --set evaluate.suite=[perplexity,needle,copy] "
                                "--set evaluate.task_context=[64,128]",
                                &words),
                     0);
    assert_non_null(strstr(words, "; perplexity at 16, 32; needle, copy at 64, 128; about "));
    assert_int_equal(run_derope("plan r.yaml --json --set evaluate.against=yarn", &words), 0);
    json_t *plan = json_parse("plan", words, strlen(words), &e);
    const json_t *recal = json_object_get(plan, "recalibration"),
                 *output = json_array_get(json_object_get(plan, "outputs"), 1);
    assert_int_equal(json_integer_value(json_object_get(recal, "tokens")), 1000);
    assert_int_equal(json_integer_value(json_object_get(recal, "text_files")), 2);
    assert_true(json_number_value(json_object_get(recal, "seconds_estimated")) > 0);
    assert_true(json_integer_value(json_object_get(recal, "memory_bytes")) > 100000);
    assert_int_equal(json_array_size(json_object_get(json_object_get(plan, "evaluation"), "models")), 4);
    assert_string_equal(json_get_string(output, "carrier"), "granite_swa");
    assert_int_equal(json_array_size(json_object_get(plan, "layers")), 4);
    json_decref(plan);
    assert_string_equal(snapshot(), before);
    free(before);
}

/* A recipe can be planned before what it says is all there is to say. */
static void plans_hold(void **state) {
    (void)state;
    const char *words;
    Error e = {0};
    assert_int_equal(run_derope("plan r.yaml --json", &words), 0);
    json_t *plan = json_parse("plan", words, strlen(words), &e);
    assert_runs("run r.yaml");
    size_t i;
    json_t *output;
    json_array_foreach(json_object_get(plan, "outputs"), i, output) {
        Checkpoint *c = opened(scratch_path(json_get_string(output, "path")));
        uint64_t bytes = 0;
        for (size_t t = 0; t < c->n_tensors; t++)
            bytes += tensor_bytes(&c->tensors[t]);
        assert_int_equal(json_integer_value(json_object_get(output, "bytes")), bytes);
        const char *text = i ? meta_string(c, "derope.manifest", NULL) : NULL;
        json_t *manifest =
            i ? json_parse("manifest", text, strlen(text), &e) : checkpoint_json(c, "derope.json", &e);
        assert_string_equal(json_get_string(manifest, "carrier"), json_get_string(output, "carrier"));
        json_decref(manifest);
        checkpoint_close(c);
    }
    json_decref(plan);
}

/* ---- refusals ---- */

#define HEAD "source: in\n"
#define TAIL "outputs: {path: new/o}\n"

static void mistakes_that_the_model_shows(void **state) {
    (void)state;
    static const struct {
        const char *text, *arguments, *words;
    } cases[] = {
        {HEAD TAIL "surgery:\n  - drop_rope\n  - drop_rope: {layers: 2-9}\n", "",
         "r.yaml:5:5: drop_rope: layers: there is no layer 9, the last is 3"},
        {HEAD TAIL "surgery:\n  - drop_rope: {layers: 3-1}\n", "",
         "r.yaml:4:5: drop_rope: layers: 3-1 runs backwards"},
        {HEAD TAIL "surgery:\n  - rope_scaling: {type: yarm, factor: 2}\n", "",
         "r.yaml:4:26: unknown rope_scaling.type 'yarm'; did you mean 'yarn'?"},
        {HEAD TAIL "surgery:\n  - cast: {dtype: bf17}\n", "",
         "r.yaml:4:19: unknown cast.dtype 'bf17'; did you mean 'bf16'?"},
        {HEAD TAIL, "--set 'surgery=[{drop_rope: {layers: 4}}]'",
         "--set surgery.0: drop_rope: layers: there is no layer 4, the last is 3"},
        {HEAD "outputs:\n  - {path: new/o.gguf}\n  - {path: new/o, dtype: q8_0}\n", "",
         "r.yaml:4:5: dtype q8_0: a safetensors file cannot hold it"},
        {HEAD "outputs:\n  - {path: new/o.gguf, max_shard_size: 2G}\n", "",
         "r.yaml:3:5: max_shard_size: a GGUF is one file"},
        {HEAD "outputs:\n  - {path: new/o, carrier: granite}\n", "",
         "r.yaml:3:5: there is no HF carrier 'granite'"},
        {HEAD TAIL "surgery: [drop_rope]\n", "--set outputs.0.carrier=own",
         "r.yaml:2:10: the carrier own cannot express this: it has no keys for rotation"},
        {HEAD "outputs: {path: in}\n", "", "r.yaml:2:10: in: the source is there"},
        {HEAD "outputs: {path: .}\n", "--force", "r.yaml:2:10: .: the source is there"},
        {HEAD TAIL "recalibrate: {data: train, tokens: 1, context: 8, batch: 8, accumulate: 3}\n", "",
         "r.yaml:3:14: a batch of 8 sequences cannot be run in 3 equal parts"},
        {HEAD TAIL "recalibrate: {data: train, tokens: 1, context: 8, lr: 0}\n", "",
         "r.yaml:3:14: lr 0, beta1 0.9 and beta2 0.95 would train nothing"},
        {HEAD TAIL "evaluate: {text: held.txt, context: 16, report: new/o/r.html}\n", "",
         "r.yaml:3:49: the report new/o/r.html would lie in the output new/o"},
        {HEAD TAIL "evaluate: {text: held.txt, context: 16, report: in/config.html}\n", "",
         "r.yaml:3:49: in/config.json: the source is there"},
        {HEAD "outputs: {path: new/o.gguf}\nevaluate: {text: held.txt, context: 16, card: true}\n", "",
         "r.yaml:3:47: a card goes into an HF folder, and no output is one"},
        {HEAD TAIL "evaluate: {text: held.txt, context: 2, score: half}\n", "",
         "r.yaml:3:11: the second half of a context of 2 tokens predicts nothing"},
        {HEAD TAIL "recalibrate: {data: train, tokens: 1, contex: 8}\n", "",
         "r.yaml:3:39: unknown key in recalibrate: 'contex'; did you mean 'context'?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[200];
        scratch_text("r.yaml", cases[i].text);
        snprintf(line, sizeof line, "run r.yaml %s", cases[i].arguments);
        assert_fails(line, 4, cases[i].words);
        if (strstr(line, "--force") || strstr(cases[i].text, "report:")) continue; /* plan writes none */
        snprintf(line, sizeof line, "plan r.yaml %s", cases[i].arguments);
        assert_fails(line, 4, cases[i].words);
    }
    assert_int_equal(access(scratch_path("new"), F_OK), -1);
}

static void missing_inputs_leave_no_trace(void **state) {
    (void)state;
    static const char *const lines[] = {
        "r.yaml --set source=nowhere", "r.yaml --set recalibrate.data=nowhere",
        "r.yaml --set evaluate.text=nowhere", "r.yaml --set evaluate.wording=nowhere", "nowhere"};
    for (int i = 0; i < 10; i++) {
        char line[100];
        snprintf(line, sizeof line, "%s %s", i % 2 ? "plan" : "run", lines[i / 2]);
        assert_fails(line, 3, "nowhere: No such file or directory");
    }
    scratch_folder("none");
    assert_fails("run r.yaml --set recalibrate.data=none", 3, "none: there is no file in this folder");
    assert_fails("run", 2, "a recipe is needed");
    assert_fails("run r.yaml r.yaml --depfile d", 2, "--depfile goes with one recipe");
    assert_fails("run r.yaml --set source", 2, "--set source: expected key=value");
    assert_fails("plan r.yaml r.yaml", 2, "one recipe, not 'r.yaml' as well");
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
    run_shell("rmdir none");
}

static void what_others_made_is_not_replaced(void **state) {
    (void)state;
    scratch_folder("also");
    scratch_text("also/m.gguf", "mine");
    assert_fails("run r.yaml", 1, "also/m.gguf: exists already; --force replaces it");
    assert_int_equal(access(scratch_path("out"), F_OK), -1); /* and nothing was begun */
    assert_file("also/m.gguf", "mine", 4);
    assert_runs("run r.yaml --force");
    assert_runs("verify also/m.gguf");
    run_shell("rm -r out also; mkdir -p out/hf; touch out/hf/mine");
    assert_fails("run r.yaml", 1, "out/hf: exists already");
    assert_int_equal(entries_in("out"), 1);
}

/* ---- Ctrl-C ---- */

static void ctrl_c_while_training(void **state) {
    (void)state;
    char before[33], after[33];
    Error e = {0};
    assert_true(hash_file(scratch_path("in/model.safetensors"), before, &e));
    scratch_text("r.yaml", HEAD "recalibrate: {data: train, tokens: 1M, context: 32}\n" TAIL);
    unsigned long long first, second;
    assert_interrupted("run r.yaml", has_threads, SIGINT, " tokens; run it again to go on");
    static const char stopped[] = "derope: finishing this step; another Ctrl-C ends the program at once\n"
                                  "derope run: interrupted after %llu";
    assert_int_equal(sscanf(said(), stopped, &first), 1);
    assert_int_equal(entries_in("new"), 1); /* o.work */
    assert_interrupted("run r.yaml", has_threads, SIGTERM, " tokens; run it again to go on");
    assert_int_equal(sscanf(said(), stopped, &second), 1);
    assert_true(second > first);
    assert_true(hash_file(scratch_path("in/model.safetensors"), after, &e));
    assert_string_equal(before, after);
    run_shell("rm -r new");
}

static void ctrl_c_while_evaluating(void **state) {
    (void)state;
    text_file("long.txt", 4, 200000);
    scratch_text("r.yaml", HEAD "evaluate: {text: long.txt, context: 32}\n" TAIL);
    assert_interrupted("run r.yaml", has_threads, SIGINT, "derope run: interrupted; run it again to go on");
    assert_int_equal(entries_in("new"), 0); /* nothing to keep, so no o.work either */
    scratch_text("r.yaml", HEAD TAIL);
    assert_runs("run r.yaml");
    assert_int_equal(entries_in("new"), 1);
    run_shell("rm -r new");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(outputs_in_both_formats, fresh),
        cmocka_unit_test_setup(a_recipe_evaluates_as_eval_does, fresh),
        cmocka_unit_test_setup(reports_and_cards_follow_the_recipe, fresh),
        cmocka_unit_test_setup(tables_keep_their_columns, fresh),
        cmocka_unit_test_setup(several_recipes_share_a_report, fresh),
        cmocka_unit_test_setup(a_second_run_skips_every_step, fresh),
        cmocka_unit_test_setup(each_change_redoes_what_depends_on_it, fresh),
        cmocka_unit_test_setup(companions_are_inputs, fresh),
        cmocka_unit_test_setup(force_trains_again, fresh),
        cmocka_unit_test_setup(depfile_names_every_input, fresh),
        cmocka_unit_test_setup(depfile_spares_what_is_read, fresh),
        cmocka_unit_test_setup(plan_lists_layers_that_are_apart, fresh),
        cmocka_unit_test_setup(plan_touches_nothing_and_tells_all, fresh),
        cmocka_unit_test_setup(plans_hold, fresh),
        cmocka_unit_test_setup(mistakes_that_the_model_shows, fresh),
        cmocka_unit_test_setup(missing_inputs_leave_no_trace, fresh),
        cmocka_unit_test_setup(what_others_made_is_not_replaced, fresh),
        cmocka_unit_test_setup(ctrl_c_while_training, fresh),
        cmocka_unit_test_setup(ctrl_c_while_evaluating, fresh),
    };
    return cmocka_run_group_tests_name("run", tests, NULL, scratch_remove);
}
