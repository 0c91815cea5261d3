/* `derope generate` from the outside: its KV cache against `derope logits`, which has none; seeds and
 * temperatures; texts longer than the model knows; wrong command lines. And Ctrl-C in what only reads. */
#include "formats/file.h"
#include "tests/process.h"
#include "tests/text_model.h"

/* One character a token and none beside: ids and texts are the same thing in two ways. */
static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789.,:;";

static void letters_folder(const char *name) {
    static const char config[] =
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16,\n"
        " \"intermediate_size\": 24, \"num_hidden_layers\": 4, \"num_attention_heads\": 4,\n"
        " \"num_key_value_heads\": 2, \"vocab_size\": 40, \"max_position_embeddings\": 64,\n"
        " \"rope_theta\": 5000.0, \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": true}";
    Buffer b = {0};
    buffer_printf(&b,
                  "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},\n"
                  " \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"merges\": [],\n"
                  " \"vocab\": {");
    for (int i = 0; i < TINY_VOCAB; i++)
        buffer_printf(&b, "%s\"%c\": %d", i ? ", " : "", alphabet[i], i);
    buffer_printf(&b, "}}}\n");
    Checkpoint *c = tiny_checkpoint(config, false);
    checkpoint_set_file(c, "tokenizer.json", b.data, b.size);
    buffer_free(&b);
    tiny_write(c, name);
}

static int set_up(void **state) {
    (void)state;
    letters_folder("in");
    text_folder("text");
    return 0;
}

/* What `derope generate ARGUMENTS` prints, without the newline at its end. The caller frees it. */
static char *generated(const char *arguments) {
    char line[400];
    const char *words;
    snprintf(line, sizeof line, "generate %s", arguments);
    if (run_derope(line, &words)) fail_msg("%s: %s", line, words);
    size_t n = strlen(words);
    assert_true(n > 0 && words[n - 1] == '\n');
    char *copy = xstrdup(words);
    copy[n - 1] = 0;
    return copy;
}

/* ---- the cache ---- */

/* Each character after the prompt is the likeliest after those before it, by logits computed at once. */
static void assert_likeliest(const char *model, const char *surgery, size_t n_prompt, const char *text) {
    Buffer ids = {0}, logits = {0};
    Error e = {0};
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        buffer_printf(&ids, "%d ", (int)(strchr(alphabet, text[i]) - alphabet));
    scratch_file("ids", ids.data, ids.size);
    char line[400];
    snprintf(line, sizeof line, "logits %s --ids ids --out rows.f32 --force %s", model, surgery);
    assert_runs(line);
    assert_true(file_read(scratch_path("rows.f32"), 1 << 24, &logits, &e));
    assert_int_equal(logits.size, n * TINY_VOCAB * sizeof(float));
    for (size_t i = n_prompt; i < n; i++) {
        const float *row = (const float *)logits.data + (i - 1) * TINY_VOCAB;
        float best = row[0], drawn = row[strchr(alphabet, text[i]) - alphabet];
        for (int v = 1; v < TINY_VOCAB; v++)
            if (row[v] > best) best = row[v];
        /* two that are as likely may change places: sums are rounded in another order */
        if (!(drawn >= best - 1e-4f))
            fail_msg("generate %s %s: character %zu is '%c', %g below the likeliest", model, surgery, i,
                     text[i], (double)(best - drawn));
    }
    buffer_free(&ids);
    buffer_free(&logits);
}

static void greedy_is_argmax_without_a_cache(void **state) {
    (void)state;
    assert_runs("convert in in.gguf");
    assert_runs("convert in mixed.gguf --drop-rope=every:2 --sliding-window 7:0,2");
    static const struct {
        const char *model, *surgery;
        int tokens; /* the model was made for 64, a window's cache holds 518 and moves on */
    } cases[] = {{"in", "", 100},
                 {"in.gguf", "", 40},
                 {"in", "--drop-rope", 100},
                 {"in", "--sliding-window 7", 700},
                 {"in", "--drop-rope=1,3 --sliding-window 5:0,2", 700},
                 {"in", "--rope-scaling yarn:4", 100},
                 {"in", "--scale-attention 3", 40},
                 {"mixed.gguf", "", 100}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[200];
        snprintf(line, sizeof line, "%s the3sea --tokens %d %s", cases[i].model, cases[i].tokens,
                 cases[i].surgery);
        char *text = generated(line);
        assert_int_equal(strlen(text), 7 + cases[i].tokens);
        assert_memory_equal(text, "the3sea", 7);
        assert_likeliest(cases[i].model, cases[i].surgery, 7, text);
        free(text);
    }
}

/* ---- chance ---- */

static void assert_same(const char *a, const char *b, bool same) {
    char *x = generated(a), *y = generated(b);
    if ((strcmp(x, y) == 0) != same) fail_msg("%s: %s\n%s: %s", a, x, b, y);
    free(x);
    free(y);
}

static void seeds_and_temperatures(void **state) {
    (void)state;
    assert_same("in sea --temperature 3", "in sea --temperature 3", true);
    assert_same("in sea --temperature 3", "in sea --temperature 3 --seed 1", true);
    assert_same("in sea --temperature 3", "in sea --temperature 3 --seed 2", false);
    assert_same("in sea --temperature 3 --seed 2", "in sea --temperature 3 --seed 2 --threads 1", true);
    assert_same("in sea", "in sea --temperature 0 --seed 9", true);
    assert_same("in sea", "in sea --temperature 1e-9 --seed 9", true);
    assert_same("in sea", "in sea --temperature 50", false);
    assert_same("in sea --temperature 50", "in sea --temperature 1", false);
    /* so hot that all 40 are equally likely */
    char *text = generated("in sea --temperature 1e9 --tokens 400");
    int seen[256] = {0};
    int kinds = 0;
    for (const char *p = text + 3; *p; p++)
        kinds += !seen[(unsigned char)*p]++;
    assert_true(kinds > 36);
    free(text);
}

/* The embedding has 40 rows, the tokenizer 36 tokens: the rest cannot be drawn. A special token ends it. */
static void only_tokens_with_text(void **state) {
    (void)state;
    for (int seed = 1; seed < 9; seed++) {
        char line[100];
        snprintf(line, sizeof line, "text 'the sea' --temperature 1e9 --tokens 200 --seed %d", seed);
        char *text = generated(line);
        assert_memory_equal(text, "the sea", 7);
        assert_null(strchr(text, '<'));
        assert_true(strlen(text) < 7 + 3 * 200);
        free(text);
    }
    char *text = generated("text 'the sea' --tokens 0");
    assert_string_equal(text, "the sea");
    free(text);
}

/* ---- wrong command lines ---- */

static void wrong_command_lines(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int status;
        const char *words;
    } cases[] = {
        {"generate", 2, "a model and a prompt are needed (derope generate --help)"},
        {"generate in", 2, "a model and a prompt are needed"},
        {"generate in sea side", 2, "one model and one prompt, not 'side' as well (quote the prompt)"},
        {"generate in sea --tokens", 2, "--tokens needs a value"},
        {"generate in sea --tokens many", 2, "--tokens: 'many' is not a whole number"},
        {"generate in sea --tokens -1", 2, "--tokens: '-1' is not a whole number"},
        {"generate in sea --tokens 18446744073709551615", 2,
         "--tokens: 18446744073709551615 is out of range; expected 0 to 2147483647"},
        {"generate in sea --tokens 2G", 1, "this model at this length needs about"},
        {"generate in sea --temperature warm", 2, "--temperature: 'warm' is not a number"},
        {"generate in sea --temperature -1", 2, "--temperature: -1 is out of range; expected 0 or more"},
        {"generate in sea --temperature nan", 2, "--temperature: 'nan' is not a number"},
        {"generate in sea --seed x", 2, "--seed: 'x' is not a whole number"},
        {"generate in sea --threads 2000", 2, "--threads: 2000 is out of range; expected 0 to 1024"},
        {"generate in sea --top-k 3", 2, "unknown option '--top-k' (derope generate --help)"},
        {"generate in sea --drop-rope=9", 2, "there is no layer 9, the last is 3"},
        {"generate in ''", 2, "the prompt has no tokens to go on from"},
        {"generate in \"$(printf 'a\\377')\"", 3, "offset 1: byte 0xff is not valid UTF-8"},
        {"generate nowhere sea", 3, "nowhere: No such file or directory"},
        {"ppl in ids --context 1", 2, "--context: 1 is out of range; expected 2 to 1073741824"},
        {"ppl in $(yes ids | head -300) --context 8", 2, "more than 256 texts; name a folder"},
        {"ppl in ids --context 8 --score most", 2, "--score: 'most' is not all or half"},
        {"ppl in ids", 2, "a model, a text and --context are needed"},
        {"logits in --ids ids", 2, "a model, --out and one of --ids and --text are needed"},
        {"logits in --ids ids --text ids --out x", 2,
         "a model, --out and one of --ids and --text are needed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(cases[i].arguments, cases[i].status, cases[i].words);
    char *text = generated("in --tokens 3 -- -sea"); /* a prompt may begin with a dash */
    assert_memory_equal(text, "-sea", 4);
    free(text);
}

/* ---- Ctrl-C ---- */

static void ctrl_c(void **state) {
    (void)state;
    Buffer b = {0};
    text_file("long.txt", 1, 100000);
    scratch_folder("outs");
    assert_interrupted("ppl text long.txt --context 32", has_threads, SIGINT, "derope ppl: interrupted");
    assert_interrupted("logits text --text long.txt --out outs/x.f32", has_threads, SIGINT,
                       "derope logits: outs/x.f32: interrupted; nothing was left behind");
    assert_int_equal(entries_in("outs"), 0);
    assert_interrupted("generate in sea --tokens 1M", has_threads, SIGTERM, "derope generate: interrupted");
    /* while it reads its prompt */
    for (int i = 0; i < 100000; i++)
        buffer_byte(&b, 'a');
    scratch_file("prompt", b.data, b.size);
    assert_interrupted("generate in \"$(cat prompt)\"", has_threads, SIGINT, "derope generate: interrupted");
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_argmax_without_a_cache),
        cmocka_unit_test(seeds_and_temperatures),
        cmocka_unit_test(only_tokens_with_text),
        cmocka_unit_test(wrong_command_lines),
        cmocka_unit_test(ctrl_c),
    };
    return cmocka_run_group_tests_name("generate", tests, set_up, scratch_remove);
}
