/* Perplexity against a loop over raw logits: which windows, which positions, which first token. */
#include <math.h>

#include "cmd/token_input.h"
#include "formats/file.h"
#include "recal/inference.h"
#include "recal/perplexity.h"
#include "recal/random.h"
#include "surgery/model_open.h"
#include "tests/text_model.h"

/* ---- in the library ---- */

/* Rotation with a window, and none: what comes before a window must not shine through. */
static const char config[] =
    "{\"model_type\": \"smollm3\", \"vocab_size\": 40, \"hidden_size\": 32, \"intermediate_size\": 48,"
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
    "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true, \"no_rope_layers\": [1, 0],"
    "\"use_sliding_window\": true, \"sliding_window\": 5,"
    "\"layer_types\": [\"sliding_attention\", \"full_attention\"]}";

enum { N_IDS = 150 };

typedef struct Fixture {
    Checkpoint *source;
    Model *model;
    Net *net;
    int32_t ids[N_IDS];
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    Error e = {0};
    f->source = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(f->source, "config.json", config, sizeof config - 1);
    f->model = model_open_config(f->source, &e);
    f->net = f->model ? net_random(f->model, 7, 2, &e) : NULL;
    if (!f->net) return -1;
    Random r = random_seeded(1);
    for (size_t i = 0; i < f->net->n_weights; i++)
        f->net->weights[i] *= 8; /* far from uniform */
    for (int i = 0; i < N_IDS; i++)
        f->ids[i] = (int32_t)(random_u64(&r) % 40);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    net_close(f->net);
    model_close(f->model);
    checkpoint_close(f->source);
    free(f);
    return scratch_remove(NULL);
}

static bool copy_rows(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)e;
    memcpy((float *)context + first * TINY_VOCAB, logits, count * TINY_VOCAB * sizeof *logits);
    return true;
}

/* -log of the softmax of `logits` at `target`. */
static double loss_of(const float *logits, int32_t target) {
    double sum = 0;
    for (int i = 0; i < TINY_VOCAB; i++)
        sum += exp((double)logits[i] - logits[target]);
    return log(sum);
}

/* Each window alone, by a cache of its own, every position scored that the definition names. */
static void assert_perplexity(Fixture *f, size_t n_ids, size_t T, Score score, int32_t bos) {
    size_t windows = n_ids / T, first = score == SCORE_HALF ? T / 2 + 1 : 1;
    double total = 0, sum = 0, squares = 0;
    float *logits = xcalloc(T * TINY_VOCAB, sizeof *logits);
    Error e = {0};
    for (size_t w = 0; w < windows; w++) {
        int32_t window[N_IDS];
        memcpy(window, f->ids + w * T, T * sizeof *window);
        if (score == SCORE_HALF && bos >= 0) window[0] = bos;
        KvCache *kv = kv_new(f->net, T, &e);
        assert_true(net_run(f->net, kv, window, T, 0, copy_rows, logits, &e));
        kv_free(kv);
        double mean = 0;
        for (size_t i = first; i < T; i++)
            mean += loss_of(logits + (i - 1) * TINY_VOCAB, window[i]);
        total += mean;
        mean /= (double)(T - first);
        sum += mean;
        squares += mean * mean;
    }
    free(logits);
    Perplexity p;
    if (!perplexity(f->net, f->ids, n_ids, T, score, bos, NULL, &p, &e)) fail_msg("%s", e.message);
    assert_int_equal(p.context, T);
    assert_int_equal(p.windows, windows);
    assert_int_equal(p.tokens, windows * (T - first));
    double nll = total / (double)p.tokens, n = (double)windows;
    if (fabs(p.nll - nll) > 1e-5 * nll) fail_msg("T = %zu: %.9g, expected %.9g", T, p.nll, nll);
    double spread = windows > 1 ? sqrt((squares / n - sum / n * sum / n) / (n - 1)) : 0;
    if (fabs(p.stderr_nll - spread) > 1e-4 * nll) fail_msg("T = %zu: +- %g, not %g", T, p.stderr_nll, spread);
}

static void windows_of_all_lengths(void **state) {
    static const size_t contexts[] = {2, 3, 7, 8, 49, 50, 75, 150};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        assert_perplexity(*state, N_IDS, contexts[i], SCORE_ALL, -1);
        assert_perplexity(*state, N_IDS, contexts[i], SCORE_ALL, 1); /* which is for halves alone */
        if (contexts[i] == 2) continue;
        assert_perplexity(*state, N_IDS, contexts[i], SCORE_HALF, -1);
        assert_perplexity(*state, N_IDS, contexts[i], SCORE_HALF, 1);
    }
    for (size_t n = 99; n < 102; n++) { /* an incomplete last window is left out */
        assert_perplexity(*state, n, 10, SCORE_ALL, -1);
        assert_perplexity(*state, n, 10, SCORE_HALF, 1);
    }
}

static void assert_no_perplexity(Fixture *f, size_t n_ids, size_t T, Score score, ErrorCode code,
                                 const char *message) {
    Perplexity p;
    Error e = {0};
    assert_false(perplexity(f->net, f->ids, n_ids, T, score, -1, NULL, &p, &e));
    assert_string_equal(e.message, message);
    assert_int_equal(e.code, code);
}

static void what_scores_nothing_is_refused(void **state) {
    assert_no_perplexity(*state, N_IDS, 0, SCORE_ALL, ERR_USAGE, "a context of 0 tokens predicts nothing");
    assert_no_perplexity(*state, N_IDS, 1, SCORE_ALL, ERR_USAGE, "a context of 1 tokens predicts nothing");
    assert_no_perplexity(*state, N_IDS, 2, SCORE_HALF, ERR_USAGE,
                         "the second half of a context of 2 tokens predicts nothing");
    assert_no_perplexity(*state, N_IDS, 151, SCORE_ALL, ERR_INPUT,
                         "the text has 150 tokens, fewer than one window of 151");
    Fixture *f = *state;
    f->ids[140] = 40;
    assert_no_perplexity(f, N_IDS, 10, SCORE_ALL, ERR_INPUT,
                         "window 14 of 10 tokens: token 0 is 40, the vocabulary has 40");
    f->ids[140] = 39;
}

static void weights_that_are_no_numbers(void **state) {
    Fixture *f = *state;
    float was = f->net->weights[5];
    f->net->weights[5] = NAN;
    assert_no_perplexity(f, N_IDS, 10, SCORE_ALL, ERR_FAILED, "window 0 of 10 tokens: its mean loss is nan");
    f->net->weights[5] = was;
}

static void a_stop_is_heard(void **state) {
    Fixture *f = *state;
    volatile int stop = 1;
    Perplexity p;
    Error e = {0};
    assert_false(perplexity(f->net, f->ids, N_IDS, 10, SCORE_ALL, -1, &stop, &p, &e));
    assert_int_equal(e.code, ERR_INTERRUPTED);
}

/* ---- on the command line ---- */

static json_t *printed(const char *arguments) {
    const char *said;
    int status = run_derope(arguments, &said);
    if (status) fail_msg("derope %s: exit %d: %s", arguments, status, said);
    Error e = {0};
    json_t *v = json_parse("stdout", said, strlen(said), &e);
    if (!v) fail_msg("%s: %s", e.message, said);
    return v;
}

/* The text's tokens as `tokenize` prints them. */
static size_t tokens_of(const char *model, const char *text, int32_t *ids, size_t capacity) {
    char arguments[200];
    snprintf(arguments, sizeof arguments, "tokenize %s %s --json", model, text);
    json_t *v = printed(arguments), *list = json_object_get(json_array_get(v, 0), "ids");
    size_t n = json_array_size(list);
    assert_in_range(n, 1, capacity);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    json_decref(v);
    return n;
}

/* The losses of a window's tokens after `skip`, from what `logits` writes. */
static double window_loss(const char *model, const int32_t *ids, size_t n, size_t skip) {
    char arguments[200];
    Buffer text = {0}, raw = {0};
    Error e = {0};
    for (size_t i = 0; i < n; i++)
        buffer_printf(&text, "%d ", ids[i]);
    scratch_file("window", text.data, text.size);
    snprintf(arguments, sizeof arguments, "logits %s --ids window --out window.f32 --force", model);
    assert_runs(arguments);
    assert_true(file_read(scratch_path("window.f32"), 1 << 24, &raw, &e));
    assert_int_equal(raw.size, n * TINY_VOCAB * sizeof(float));
    double sum = 0;
    for (size_t i = skip + 1; i < n; i++)
        sum += loss_of((float *)(void *)raw.data + (i - 1) * TINY_VOCAB, ids[i]);
    buffer_free(&text);
    buffer_free(&raw);
    return sum;
}

static void assert_printed(const char *model, const char *text, size_t T, bool half, const char *options,
                           const int32_t *ids, size_t n, int32_t bos) {
    char arguments[200];
    snprintf(arguments, sizeof arguments, "ppl %s %s --context %zu%s --json", model, text, T, options);
    size_t windows = n / T, skip = half ? T / 2 : 0;
    double sum = 0;
    for (size_t w = 0; w < windows; w++) {
        int32_t window[64];
        memcpy(window, ids + w * T, T * sizeof *window);
        if (half && bos >= 0) window[0] = bos;
        sum += window_loss(model, window, T, skip);
    }
    json_t *v = printed(arguments), *row = json_array_get(v, 0);
    assert_int_equal(json_array_size(v), 1);
    size_t tokens = windows * (T - 1 - skip);
    assert_int_equal(json_integer_value(json_object_get(row, "context")), T);
    assert_int_equal(json_integer_value(json_object_get(row, "tokens")), tokens);
    assert_int_equal(json_integer_value(json_object_get(row, "windows")), windows);
    double expected = exp(sum / (double)tokens), got = json_real_value(json_object_get(row, "perplexity"));
    if (fabs(got - expected) > 1e-4 * expected) fail_msg("%s: %g, expected %g", arguments, got, expected);
    json_decref(v);
}

/* The model of text_model.h with a tokenizer that adds BOS. */
static void bos_folder(const char *name) {
    char path[100];
    Buffer json = text_tokenizer();
    json.size -= 3; /* "}}\n" */
    buffer_printf(&json,
                  "}, \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
                  "{\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
                  "\"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}}}");
    text_folder(name);
    snprintf(path, sizeof path, "%s/tokenizer.json", name);
    scratch_file(path, json.data, json.size);
    buffer_free(&json);
}

static void as_printed(void **state) {
    (void)state;
    int32_t ids[500];
    text_folder("plain");
    bos_folder("bos");
    text_file("text", 3, 30);
    for (int adds = 0; adds < 2; adds++) {
        const char *model = adds ? "bos" : "plain";
        size_t n = tokens_of(model, "text", ids, 500);
        assert_int_equal(ids[0] == 1, adds); /* BOS at the start of the text, if it is added at all */
        assert_true(n > 60 && n % 16);
        assert_printed(model, "text", 16, false, "", ids, n, -1);
        assert_printed(model, "text", 16, true, " --score half", ids, n, adds ? 1 : -1);
        assert_printed(model, "text", 16, false, " --tokens 47", ids, 47, -1);
    }
}

/* half drops one newline at the end, as llama-perplexity does; several texts are joined by newlines. */
static void ends_and_joints_of_texts(void **state) {
    (void)state;
    int32_t ids[100];
    text_folder("joined");
    scratch_text("x", "the sea\n\n");
    scratch_text("y", "");
    scratch_text("z", "inn.\n");
    scratch_text("all", "the sea\n\n\ninn.\n");
    scratch_text("short", "the sea\n\n\ninn.");
    size_t n = tokens_of("joined", "all", ids, 100);
    assert_printed("joined", "x y z", n, false, "", ids, n, -1);
    assert_fails("ppl joined x y z --context 100 --json", 3, "fewer than one window of 100");
    char too_long[100];
    snprintf(too_long, sizeof too_long, "ppl joined all --context %zu --score half --json", n);
    assert_fails(too_long, 3, "fewer than one window");
    assert_int_equal(tokens_of("joined", "short", ids, 100), n - 1);
    assert_printed("joined", "x y z", n - 1, true, " --score half", ids, n - 1, -1);
    assert_fails("ppl joined all --context 2 --score half", 2, "predicts nothing");
    json_t *v = printed("ppl joined all --context 2,3,4 --json");
    assert_int_equal(json_array_size(v), 3);
    json_decref(v);
}

/* Files are read in parts; the tokens are those of the whole, as many as are asked for. */
static void long_texts(void **state) {
    (void)state;
    text_folder("long");
    text_file("words", 3, 150000);
    Buffer text = {0};
    Error e = {0};
    Checkpoint *c = opened(scratch_path("long"));
    Tokenizer *t = tokenizer_open(c, &e);
    assert_true(file_read(scratch_path("words"), 1 << 24, &text, &e));
    size_t once = text.size;
    assert_true(once > 600000);
    buffer_reserve(&text, once + 1); /* it is appended to itself */
    buffer_byte(&text, '\n');
    buffer_append(&text, text.data, once);
    TokenList whole = {0}, got = {0};
    assert_true(tokenizer_encode(t, (char *)text.data, text.size, true, &whole, &e));
    const char *paths[] = {scratch_path("words"), scratch_path("words")};
    for (uint64_t max = 0; max <= 100000; max += 50000) {
        int32_t bos;
        got.n = 0;
        assert_true(perplexity_tokens(t, paths, 2, NULL, false, max, &got, &bos, &e));
        assert_int_equal(got.n, max ? max : whole.n);
        assert_memory_equal(got.ids, whole.ids, got.n * sizeof *got.ids);
        assert_int_equal(bos, -1);
    }
    token_list_free(&whole);
    token_list_free(&got);
    buffer_free(&text);
    tokenizer_close(t);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_of_all_lengths),
        cmocka_unit_test(what_scores_nothing_is_refused),
        cmocka_unit_test(weights_that_are_no_numbers),
        cmocka_unit_test(a_stop_is_heard),
        cmocka_unit_test(as_printed),
        cmocka_unit_test(ends_and_joints_of_texts),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests_name("perplexity", tests, set_up, tear_down);
}
