/* Evaluation: snapshots of the KV cache, the questions of each task, how answers are counted and intervals
 * computed; and the command `derope eval`, whose perplexities are compared with those of `derope ppl`.
 * tests/peers/test_eval.py compares with transformers. */
#include <math.h>

#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "recal/evaluate/context_extension.h"
#include "recal/evaluate/eval_tasks.h"
#include "recal/evaluate/evaluate_scene.h"
#include "recal/evaluate/wilson_interval.h"
#include "recal/inference.h"
#include "recal/perplexity.h"
#include "surgery/model_open.h"
#include "tests/process.h"
#include "tests/text_model.h"

static const char wording[] =
    "{\"fact\": \" the {key} was in the {value}.\", \"question\": \" the {key} was in the\",\n"
    " \"questions\": \" the {key} were in the\",\n"
    " \"keys\": [\"ant\", \"bat\", \"cat\", \"dog\", \"eel\", \"fox\", \"gnu\", \"hen\", \"ibis\", \"jay\", "
    "\"kid\",\n"
    "  \"lynx\", \"mole\", \"newt\", \"owl\", \"pig\", \"quail\", \"rat\", \"sow\", \"toad\", \"urchin\", "
    "\"vole\"],\n"
    " \"values\": [\"attic\", \"barn\", \"cellar\", \"den\", \"estate\", \"field\", \"garden\", \"hall\", "
    "\"inn\",\n"
    "  \"jar\", \"kiln\", \"loft\", \"mill\", \"nest\", \"oven\", \"pit\", \"quarry\", \"room\", \"sea\", "
    "\"tower\",\n"
    "  \"urn\", \"vault\", \"well\", \"yard\", \"zoo\", \"bin\", \"box\", \"bag\", \"can\", \"cup\", "
    "\"dish\"]}\n";

typedef struct Fixture {
    Checkpoint *source;
    Model *model;
    Net *net;
    Tokenizer *tokenizer;
    Haystack haystack;
    Wording wording;
} Fixture;

static int set_up(void **state) {
    Fixture *f = calloc(1, sizeof *f);
    Error e = {0};
    text_folder("model");
    text_file("hay.txt", 3, 4000);
    scratch_file("wording.json", wording, sizeof wording - 1);
    const char *hay = scratch_path("hay.txt");
    f->source = checkpoint_open(scratch_path("model"), &e);
    f->model = f->source ? model_open(f->source, &e) : NULL;
    f->tokenizer = f->model ? tokenizer_open(f->source, &e) : NULL;
    if (!f->tokenizer || !wording_open(scratch_path("wording.json"), &f->wording, &e) ||
        !haystack_open(&hay, 1, NULL, 1 << 20, f->tokenizer, &f->haystack, &e))
        return -1;
    for (uint32_t i = 0; i < 2; i++) { /* two layers with windows, then two without RoPE */
        f->model->spec.layers[i].window = 9;
        f->model->spec.layers[2 + i].position = POSITION_NOPE;
        f->model->spec.layers[2 + i].rotary_dim = 0;
    }
    f->net = net_open(f->model, 2, &e);
    *state = f;
    return f->net ? 0 : -1;
}

static int tear_down(void **state) {
    Fixture *f = *state;
    net_close(f->net);
    wording_close(&f->wording);
    haystack_close(&f->haystack);
    tokenizer_close(f->tokenizer);
    model_close(f->model);
    checkpoint_close(f->source);
    free(f);
    return scratch_remove(NULL);
}

/* ---- snapshots of the KV cache ---- */

static bool keep_row(void *context, size_t first, size_t count, float *logits, Error *e) {
    (void)first, (void)e;
    memcpy(context, logits + (count - 1) * TINY_VOCAB, TINY_VOCAB * sizeof *logits);
    return true;
}

static void run_ids(Fixture *f, KvCache *kv, const int32_t *ids, size_t n, float *row) {
    Error e = {0};
    if (!net_run(f->net, kv, ids, n, n - 1, keep_row, row, &e)) fail_msg("%s", e.message);
}

/* The cache of a layer with a window holds 521 rows, so it is overwritten several times between the snapshot
 * and its restoration. */
static void a_snapshot_restores_the_sequence(void **state) {
    Fixture *f = *state;
    enum { N = 1800, TAIL = 40 };
    static int32_t ids[N];
    Error e = {0};
    float expected[TINY_VOCAB], row[TINY_VOCAB];
    for (int i = 0; i < N; i++)
        ids[i] = 3 + (i * 7 + i * i) % 36;
    static const size_t places[] = {0, 1, 8, 9, 300, 521, 700};
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        size_t at = places[p];
        KvCache *straight = kv_new(f->net, N + TAIL, &e), *kv = kv_new(f->net, N + TAIL, &e);
        if (at) run_ids(f, straight, ids, at, row);
        run_ids(f, straight, ids + N - TAIL, TAIL, expected);
        if (at) run_ids(f, kv, ids, at, row);
        KvSnapshot *m = kv_snapshot(kv, &e);
        assert_non_null(m);
        for (int again = 0; again < 2; again++) {
            run_ids(f, kv, ids + at, N - at - TAIL, row);
            kv_restore(kv, m);
            assert_int_equal(kv_length(kv), at);
            run_ids(f, kv, ids + N - TAIL, TAIL, row);
            for (int i = 0; i < TINY_VOCAB; i++)
                if (!(fabsf(row[i] - expected[i]) < 1e-4f))
                    fail_msg("snapshot at %zu: logit %d is %g, %g without a snapshot", at, i, (double)row[i],
                             (double)expected[i]);
            kv_restore(kv, m);
        }
        kv_snapshot_free(m);
        kv_free(kv);
        kv_free(straight);
    }
}

/* ---- intervals ---- */

static void intervals(void **state) {
    (void)state;
    static const struct {
        double share, n, low, high;
    } known[] = {
        {0.5, 10, 0.23659, 0.76341}, {0, 20, 0, 0.16113}, {1, 20, 0.83887, 1}, {0.9, 50, 0.78640, 0.95652}};
    double low, high;
    for (size_t i = 0; i < 4; i++) {
        wilson_interval(known[i].share, known[i].n, &low, &high);
        assert_true(fabs(low - known[i].low) < 1e-5 && fabs(high - known[i].high) < 1e-5);
    }
    Perplexity p = {.nll = 1, .stderr_nll = 0.1, .windows = 5};
    perplexity_interval(&p, &low, &high);
    assert_true(fabs(low - exp(1 - 0.2776)) < 1e-9 && fabs(high - exp(1 + 0.2776)) < 1e-9);
    p.windows = 1;
    perplexity_interval(&p, &low, &high);
    assert_true(low == 0 && isinf(high));
}

/* The sums of losses by position, over windows, add up to the loss of the whole text. */
static void loss_by_position(void **state) {
    Fixture *f = *state;
    enum { N = 60, T = 20 };
    int32_t ids[N];
    double sums[T] = {0}, total = 0;
    Perplexity p;
    Error e = {0};
    for (int i = 0; i < N; i++)
        ids[i] = 3 + i * 5 % 36;
    assert_true(perplexity_by_position(f->net, ids, N, T, SCORE_HALF, -1, NULL, sums, &p, &e));
    for (int i = 0; i < T; i++) {
        assert_true((sums[i] != 0) == (i >= T / 2 && i < T - 1));
        total += sums[i];
    }
    assert_true(fabs(total / (double)p.tokens - p.nll) < 1e-6);
}

/* ---- tasks ---- */

static bool stands_in(const Scene *s, const Question *q, const char *word) {
    if (q->needle && strstr(q->needle, word)) return true;
    for (size_t i = 0; i < s->sentences.n; i++)
        if (strstr(s->sentences.texts[i], word)) return true;
    return false;
}

static size_t scene_tokens(const Fixture *f, const Scene *s, const Question *q) {
    Buffer text = {0};
    for (size_t i = 0; i < s->sentences.n; i++)
        buffer_printf(&text, "%s", s->sentences.texts[i]);
    buffer_printf(&text, "%s%s", q->needle ? q->needle : "", q->text);
    size_t n = tokenizer_count(f->tokenizer, buffer_string(&text));
    buffer_free(&text);
    return n;
}

static bool make(Fixture *f, const EvalTask *t, size_t length, uint64_t seed, Scene *s, Error *e) {
    Random r = random_seeded(seed);
    EvalTaskInput in = {.tokenizer = f->tokenizer,
                        .haystack = &f->haystack,
                        .wording = &f->wording,
                        .length = length,
                        .n_questions = 3};
    *s = (Scene){0};
    return t->make(&in, &r, s, e);
}

static bool ask(Fixture *f, const Scene *s, const double *depths, size_t n, size_t length, TaskScore *tallies,
                Error *e) {
    SceneEvaluation how = {
        .net = f->net, .tokenizer = f->tokenizer, .depths = depths, .n_depths = n, .length = length};
    return evaluate_scene(&how, s, tallies, e);
}

static void every_task_can_be_answered(void **state) {
    Fixture *f = *state;
    for (const EvalTask *const *t = eval_tasks; *t; t++)
        for (size_t length = 600; length <= 2400; length *= 2) {
            Scene s, again, other;
            Error e = {0};
            if (!make(f, *t, length, 5, &s, &e)) fail_msg("%s at %zu: %s", (*t)->name, length, e.message);
            assert_true(make(f, *t, length, 5, &again, &e) && make(f, *t, length, 6, &other, &e));
            for (size_t i = 0; i < s.n_questions; i++) {
                const Question *q = &s.questions[i];
                size_t tokens = scene_tokens(f, &s, q);
                if (tokens > length || tokens < length * 8 / 10 - 120)
                    if (strcmp((*t)->name, "key-value") || tokens > length)
                        fail_msg("%s: %zu tokens of %zu", (*t)->name, tokens, length);
                assert_true((*t)->has_depth == (q->needle != NULL));
                for (size_t j = 0; j < q->answers.n; j++)
                    if (!stands_in(&s, q, q->answers.texts[j]))
                        fail_msg("%s: no %s", (*t)->name, q->answers.texts[j]);
                for (size_t j = 0; j < q->candidates.n; j++)
                    for (size_t k = 0; k < j; k++)
                        assert_string_not_equal(q->candidates.texts[j], q->candidates.texts[k]);
                if (q->candidates.n) assert_string_equal(q->candidates.texts[0], q->answers.texts[0]);
                assert_string_equal(q->text, again.questions[i].text);
            }
            assert_int_equal(s.sentences.n, again.sentences.n);
            assert_true(strcmp(s.questions[0].answers.texts[0], other.questions[0].answers.texts[0]) != 0 ||
                        s.sentences.n != other.sentences.n ||
                        strcmp(s.sentences.texts[0], other.sentences.texts[0]) != 0);
            scene_free(&s);
            scene_free(&again);
            scene_free(&other);
        }
}

static void no_room(void **state) {
    Fixture *f = *state;
    for (const EvalTask *const *t = eval_tasks; *t; t++) {
        Scene s;
        Error e = {0};
        assert_false(make(f, *t, 8, 5, &s, &e));
        assert_int_equal(e.code, ERR_INPUT);
        assert_non_null(strstr(e.message, "has no room for"));
        scene_free(&s);
    }
}

static void open_hay(Fixture *f, const char *text, size_t n, Haystack *h) {
    const char *path = scratch_file("hay2.txt", text, n);
    Error e = {0};
    if (!haystack_open(&path, 1, NULL, 1 << 20, f->tokenizer, h, &e)) fail_msg("%s", e.message);
}

/* A haystack can be made of text without spaces, and sentences too long for the length are passed over in
 * favour of shorter ones. */
static void hay_fits_the_room(void **state) {
    Fixture *f = *state;
    static char text[20000];
    Haystack h;
    Error e = {0};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 3 == 0 ? '\xe5' : '\x80'; /* characters of three bytes */
    open_hay(f, text, sizeof text - sizeof text % 3, &h);
    assert_true(h.sentences.n > 40);
    for (size_t i = 0; i < h.sentences.n; i++)
        assert_true(strlen(h.sentences.texts[i]) <= 404 && h.sentences.texts[i][0] == '\xe5');
    haystack_close(&h);
    memset(text, 'a', sizeof text);
    for (size_t i = 5; i < sizeof text; i += i % 400 == 5 ? 390 : 10) /* one long, one short, ... */
        memcpy(text + i, ". ", 2);
    open_hay(f, text, sizeof text, &h);
    for (uint64_t seed = 0; seed < 20; seed++) {
        Random r = random_seeded(seed);
        TextList out = {0};
        haystack_fill(&h, &r, 100, &out);
        assert_true(out.n > 3);
        free(out.texts);
    }
    haystack_close(&h);
    const char *blank = scratch_file("blank.txt", " \n", 2);
    assert_false(haystack_open(&blank, 1, NULL, 1 << 20, f->tokenizer, &h, &e));
    assert_non_null(strstr(e.message, "no text to hide anything in"));
}

/* Room is reserved for the right answer; other candidates may be longer. */
static void candidates_may_be_long(void **state) {
    Fixture *f = *state;
    static char word[600];
    Error e = {0};
    Question q = {.text = " sea was"};
    Scene s = {.questions = &q, .n_questions = 1};
    memset(word, 'a', sizeof word - 1);
    text_list_add(&s.sentences, " an inn was there.");
    text_list_add(&q.answers, "the");
    text_list_add(&q.candidates, "the");
    text_list_add(&q.candidates, word);
    TaskScore tally = {0};
    double depth = 0;
    if (!ask(f, &s, &depth, 1, 100, &tally, &e)) fail_msg("%s", e.message);
    assert_int_equal(tally.ranked, 1);
    free(s.sentences.texts);
    free(q.answers.texts);
    free(q.candidates.texts);
}

/* All depths share the prefill of their common beginning, which must not change any score. */
static void shared_prefill_changes_nothing(void **state) {
    Fixture *f = *state;
    static const double depths[] = {0, 0.3, 0.5, 1};
    for (const EvalTask *const *t = eval_tasks; *t; t++) {
        size_t n = (*t)->has_depth ? 4 : 1;
        Scene s;
        Error e = {0};
        TaskScore together[4] = {0};
        assert_true(make(f, *t, 700, 9, &s, &e));
        if (!ask(f, &s, depths, n, 700, together, &e)) fail_msg("%s", e.message);
        for (size_t i = 0; i < n; i++) {
            TaskScore alone = {0};
            assert_true(ask(f, &s, depths + i, 1, 700, &alone, &e));
            assert_int_equal(together[i].trials, s.n_questions);
            assert_int_equal(together[i].answers_found, alone.answers_found);
            assert_int_equal(together[i].ranked, alone.ranked);
            assert_true(together[i].rank_sum == alone.rank_sum &&
                        together[i].ranked_first == alone.ranked_first);
            assert_true(alone.ranked == 0 || (alone.rank_sum >= (double)alone.ranked &&
                                              alone.rank_sum <= 10.0 * (double)alone.ranked));
        }
        scene_free(&s);
    }
}

/* A model that can only produce one token finds, and ranks first, exactly the answer that consists of this
 * token. */
static void what_is_said_is_found(void **state) {
    Fixture *f = *state;
    Error e = {0};
    const char *value = ".";
    Question q = {.text = " sea was"};
    Scene s = {.questions = &q, .n_questions = 1};
    text_list_add(&s.sentences, " an inn was there.");
    text_list_add(&q.answers, value);
    text_list_add(&q.candidates, value);
    text_list_add(&q.candidates, "an");
    text_list_add(&q.candidates, "in");
    float *embed = net_at(f->net, f->net->weights, ROLE_EMBED, -1),
          *norm = net_at(f->net, f->net->weights, ROLE_FINAL_NORM, -1);
    float *kept = xmalloc(f->net->n_weights * sizeof *kept);
    memcpy(kept, f->net->weights, f->net->n_weights * sizeof *kept);
    TokenList only = {0};
    assert_true(tokenizer_encode(f->tokenizer, value, 1, false, &only, &e));
    /* all hidden states are equal, so the next token depends on the rows of the output head alone */
    memset(f->net->weights, 0, f->net->n_weights * sizeof *kept);
    for (int i = 0; i < TINY_VOCAB; i++)
        embed[i * TINY_WIDTH] = 1;
    for (int i = 0; i < TINY_WIDTH; i++)
        norm[i] = 1;
    embed[only.ids[0] * TINY_WIDTH] = 2;
    TaskScore tally = {0};
    double depth = 0;
    if (!ask(f, &s, &depth, 1, 100, &tally, &e)) fail_msg("%s", e.message);
    assert_int_equal(tally.trials, 1);
    assert_int_equal(tally.answers_found, 1);
    assert_int_equal(tally.ranked, 1);
    assert_int_equal(tally.ranked_first, 1); /* its token is more likely than those of all other candidates */
    memcpy(f->net->weights, kept, f->net->n_weights * sizeof *kept);
    free(kept);
    token_list_free(&only);
    free(s.sentences.texts);
    free(q.answers.texts);
    free(q.candidates.texts);
}

/* ---- the command ---- */

/* A member of the row of results.json with this method, length and model. */
static double row_value(const json_t *results, const char *table, const char *method, int length, int model,
                        const char *key) {
    size_t i;
    json_t *row;
    double v = NAN;
    json_array_foreach(json_object_get(results, table), i, row) {
        if (json_integer_value(json_object_get(row, "length")) == length &&
            json_integer_value(json_object_get(row, "model")) == model &&
            strcmp(json_string_value(json_object_get(row, "method")), method) == 0) {
            json_get_f64(row, key, &v);
            return v;
        }
    }
    return v;
}

static double ppl(const char *arguments) {
    char line[400];
    const char *words;
    Error e = {0};
    double v = NAN;
    snprintf(line, sizeof line, "--quiet ppl %s --json", arguments);
    assert_int_equal(run_derope(line, &words), 0);
    json_t *list = json_parse("ppl", words, strlen(words), &e);
    json_get_f64(json_array_get(list, 0), "perplexity", &v);
    json_decref(list);
    return v;
}

static void the_same_as_ppl(void **state) {
    (void)state;
    assert_runs("--quiet convert model dropped --drop-rope --set-context 256");
    assert_runs("--quiet eval model dropped --suite perplexity --text hay.txt --tokens 4000 --lengths 32,256 "
                "--against none,pi,ntk,yarn,dynamic-ntk --report same.html");
    json_t *r = scratch_json("same.json");
    assert_int_equal(json_array_size(json_object_get(r, "models")), 2);
    assert_int_equal(json_array_size(json_object_get(r, "perplexity")), 2 * 5 + 2);
    static const struct {
        const char *method, *flags;
    } cases[] = {{"none", ""},
                 {"pi", "--rope-scaling linear:4"},
                 {"ntk", "--rope-scaling ntk:4"},
                 {"yarn", "--rope-scaling yarn:4"},
                 {"dynamic-ntk", "--rope-scaling dynamic:4"}};
    for (size_t i = 0; i < 5; i++) {
        char line[200];
        snprintf(line, sizeof line, "model hay.txt --tokens 4000 --context 256 %s", cases[i].flags);
        double expected = ppl(line),
               found = row_value(r, "perplexity", cases[i].method, 256, 0, "perplexity");
        if (!(fabs(found / expected - 1) < 1e-5))
            fail_msg("%s: %g, ppl says %g", cases[i].method, found, expected);
        /* up to the trained context a method changes nothing */
        assert_true(row_value(r, "perplexity", cases[i].method, 32, 0, "perplexity") ==
                    row_value(r, "perplexity", "none", 32, 0, "perplexity"));
    }
    assert_true(fabs(row_value(r, "perplexity", "none", 256, 1, "perplexity") /
                         ppl("dropped hay.txt --tokens 4000 --context 256") -
                     1) < 1e-6);
    assert_int_equal(run_shell("test -s same.html && test -s same.csv && ! test -e same.state"), 0);
    json_decref(r);
    assert_fails("eval model --suite perplexity --text hay.txt --lengths 32 --report same.html", 1,
                 "same.html");
}

static void scales_are_searched_on_other_text(void **state) {
    (void)state;
    assert_runs("--quiet eval model --suite perplexity --text hay.txt --tokens 4000 --lengths 64 "
                "--task-lengths 128 --softmax-scale search --state scale.state --report scale.html");
    json_t *r = scratch_json("scale.json"), *cells = scratch_json("scale.state");
    assert_int_equal(json_object_size(cells), 7 + 1); /* tasks that were not asked for add no cells */
    json_decref(cells);
    double scale = row_value(r, "perplexity", "none", 64, 0, "softmax_scale"), best = HUGE_VAL, found = 0;
    static const char *const scales[] = {"0.8", "0.9", "1", "1.1", "1.2", "1.3", "1.5"};
    for (size_t i = 0; i < 7; i++) { /* 62 windows; the validation part is a quarter of them, 15 */
        char line[200];
        snprintf(line, sizeof line, "model hay.txt --tokens 960 --context 64 --scale-attention %s",
                 scales[i]);
        double p = ppl(line);
        if (p < best) best = p, found = atof(scales[i]);
    }
    assert_true(scale == found);
    assert_true(row_value(r, "perplexity", "none", 64, 0, "windows") == 62 - 15);
    json_decref(r);
}

static void put_json(const char *name, const json_t *v) {
    Buffer text = {0};
    json_print(v, 0, &text);
    scratch_file(name, text.data, text.size);
    buffer_free(&text);
}

static bool has_state(pid_t child) {
    (void)child;
    return access(scratch_path("stop.state"), F_OK) == 0;
}

static void goes_on_where_it_stopped(void **state) {
    (void)state;
    static const char line[] =
        "eval model --text hay.txt --wording wording.json --suite all --lengths 500,700 --trials 4 "
        "--depths 3 --tokens 4000 --report stop.html";
    char other[300];
    assert_interrupted(line, has_state, SIGINT, "interrupted; run it again to go on");
    json_t *cells = scratch_json("stop.state");
    assert_true(json_object_size(cells) > 0);
    assert_int_equal(run_shell("test -e stop.html"), 1);
    /* A value that no measurement could give is put into the state. If it appears in the results, the cell
     * was not measured again. */
    void *at = json_object_iter(cells);
    json_t *first = json_object_iter_value(at);
    assert_true(json_is_object(first)); /* perplexity comes first */
    json_object_set_new(first, "perplexity", json_real(12345));
    put_json("stop.state", cells);
    json_decref(cells);
    assert_runs(line);
    json_t *r = scratch_json("stop.json");
    assert_true(row_value(r, "perplexity", "none", 500, 0, "perplexity") == 12345);
    json_decref(r);
    snprintf(other, sizeof other, "%s --force --seed 2", line);
    assert_runs(other);
    r = scratch_json("stop.json");
    assert_true(row_value(r, "perplexity", "none", 500, 0, "perplexity") < 12345);
    assert_int_equal(json_array_size(json_object_get(r, "tasks")), 2 * (5 * 3 + 4));
    assert_true(row_value(r, "tasks", "none", 500, 0, "trials") == 4);
    json_decref(r);
}

/* A damaged cell is measured again; the sound cells beside it are not. */
static void damaged_states_are_measured_again(void **state) {
    (void)state;
    static const char line[] = "--quiet eval model --text hay.txt --wording wording.json --suite all "
                               "--lengths 400 --trials 2 --depths 2 --tokens 800 --state bad.state "
                               "--report bad.html --force";
    static const char *const wrong[] = {"7",
                                        "null",
                                        "[]",
                                        "{}",
                                        "[[]]",
                                        "{\"perplexity\": \"low\"}",
                                        "[7, \"x\"]",
                                        "[{\"score\": 2, \"trials\": 1}]",
                                        "{\"perplexity\": 2, \"nll\": 1, \"method\": 3}",
                                        "[{\"score\": 1, \"trials\": -1}]",
                                        "[{\"score\": 1, \"trials\": 1, \"first\": {}}]"};
    assert_runs(line);
    json_t *good = scratch_json("bad.state"), *expected = scratch_json("bad.json");
    size_t rows = json_array_size(json_object_get(expected, "tasks"));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Error e = {0};
        json_t *bad = json_object(), *value = NULL;
        const char *key;
        json_object_foreach(good, key, value)
            json_object_set_new(bad, key, json_parse("wrong", wrong[i], strlen(wrong[i]), &e));
        put_json("bad.state", bad);
        json_decref(bad);
        assert_runs(line);
        json_t *r = scratch_json("bad.json");
        assert_true(row_value(r, "perplexity", "none", 400, 0, "perplexity") > 1);
        if (strcmp(wrong[i], "[]") != 0) /* an empty array is sound: the task was left out */
            assert_int_equal(json_array_size(json_object_get(r, "tasks")), rows);
        json_decref(r);
    }
    json_decref(good);
    json_decref(expected);
}

/* Inputs are never overwritten, and a file that is not a state file is not replaced as one. */
static void inputs_are_spared(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int status;
        const char *words;
    } cases[] = {
        {"--report model/config --force", 2, "model/config.json: the source is there"},
        {"--state model/tokenizer.json", 2, "model/tokenizer.json: the source is there"},
        {"--transcript model/model.safetensors --force", 2, "a source is never written to"},
        {"--transcript ./hay.txt --force", 2, "./hay.txt is read from"},
        {"--state wording.json", 2, "wording.json is read from"},
        {"--state mine.txt", 1, "mine.txt: exists already"},
        {"--state package.json", 1, "package.json: exists already"},
        {"--report notes.html", 1, "notes.state: exists already"},
        {"--state nowhere/x", 1, "nowhere/x: cannot write there"},
    };
    scratch_file("mine.txt", "mine", 4);
    scratch_file("notes.state", "mine", 4);
    scratch_file("package.json", "{\"name\": 1}", 11);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        snprintf(line, sizeof line,
                 "eval model --text hay.txt --wording wording.json --suite perplexity --lengths 32 %s",
                 cases[i].arguments);
        assert_fails(line, cases[i].status, cases[i].words);
    }
    assert_runs("inspect model");
    assert_file("mine.txt", "mine", 4);
    assert_file("notes.state", "mine", 4);
    assert_file("package.json", "{\"name\": 1}", 11);
}

/* ---- transcript, card and other outputs ---- */

static json_t *line_of(const char *text, size_t n) {
    for (; n; n--)
        text = strchr(text, '\n') + 1;
    const char *end = strchr(text, '\n');
    Error e = {0};
    json_t *v = end ? json_parse("line", text, (size_t)(end - text), &e) : NULL;
    assert_non_null(v);
    return v;
}

static void a_transcript_holds_every_question(void **state) {
    (void)state;
    enum { TRIALS = 6, DEPTHS = 3 };
    Buffer text = {0};
    Error e = {0};
    assert_runs("--quiet eval model --text hay.txt --wording wording.json --suite needle --lengths 200,300 "
                "--trials 6 "
                "--depths 3 --transcript asked.jsonl --report asked.html");
    assert_true(file_read(scratch_path("asked.jsonl"), 1 << 22, &text, &e));
    const char *lines = buffer_string(&text);
    size_t n = 0, found = 0, first = 0;
    for (const char *p = lines; (p = strchr(p, '\n')); p++)
        n++;
    assert_int_equal(n, 2 * TRIALS * DEPTHS);
    for (size_t i = 0; i < n; i++) {
        json_t *o = line_of(lines, i);
        const char *prompt = json_get_string(o, "prompt"),
                   *answer = json_string_value(json_array_get(json_object_get(o, "answers"), 0));
        assert_non_null(strstr(prompt, answer));
        assert_string_equal(json_string_value(json_array_get(json_object_get(o, "candidates"), 0)), answer);
        assert_int_equal(json_array_size(json_object_get(o, "candidates")), 10);
        bool said = strstr(json_get_string(o, "said"), answer) != NULL;
        assert_int_equal(json_integer_value(json_object_get(o, "found")), said);
        found += said;
        first += json_integer_value(json_object_get(o, "place")) == 1;
        json_decref(o);
    }
    json_t *r = scratch_json("asked.json"), *row;
    double score = 0, likeliest = 0;
    size_t i;
    json_array_foreach(json_object_get(r, "tasks"), i, row) {
        score += TRIALS * json_number_value(json_object_get(row, "score"));
        likeliest += TRIALS * json_number_value(json_object_get(row, "first"));
    }
    assert_true(fabs(score - (double)found) < 1e-9 && fabs(likeliest - (double)first) < 1e-9);
    json_decref(r);
    buffer_free(&text);
    assert_fails("eval model --lengths 200 --wording wording.json --transcript asked.jsonl", 1,
                 "asked.jsonl");
}

/* With a transcript, questions are asked again; perplexities are taken from the state. */
static void a_transcript_keeps_what_needs_no_asking(void **state) {
    (void)state;
    static const char line[] = "--quiet eval model --text hay.txt --wording wording.json --suite all "
                               "--lengths 300 --trials 1 --depths 1 --tokens 800 --state said.state";
    char more[400];
    assert_runs(line);
    json_t *cells = scratch_json("said.state"), *value;
    const char *key;
    json_object_foreach(cells, key, value) if (json_is_object(value))
        json_object_set_new(value, "perplexity", json_real(12345));
    put_json("said.state", cells);
    json_decref(cells);
    snprintf(more, sizeof more, "%s --transcript said.jsonl --report said.html", line);
    assert_runs(more);
    json_t *r = scratch_json("said.json");
    assert_true(row_value(r, "perplexity", "none", 300, 0, "perplexity") == 12345);
    json_decref(r);
    assert_int_equal(run_shell("grep -q '\"task\":\"needle\"\\|\"task\": \"needle\"' said.jsonl"), 0);
}

static void tasks_have_lengths_of_their_own(void **state) {
    (void)state;
    assert_runs(
        "--quiet eval model --text hay.txt --wording wording.json --suite perplexity,needle --lengths 32,64 "
        "--task-lengths 200 --trials 2 --depths 1 --tokens 1000 --report own.html");
    json_t *r = scratch_json("own.json");
    assert_int_equal(json_array_size(json_object_get(r, "perplexity")), 2);
    assert_int_equal(json_array_size(json_object_get(r, "tasks")), 1);
    assert_true(row_value(r, "tasks", "none", 200, 0, "trials") == 2);
    json_decref(r);
}

static bool file_has(const char *name, const char *words) {
    Buffer text = {0};
    Error e = {0};
    assert_true(file_read(scratch_path(name), 1 << 22, &text, &e));
    bool has = strstr(buffer_string(&text), words) != NULL;
    buffer_free(&text);
    return has;
}

/* The front matter comes from the source's card, the base model from the command, and `derope verify` checks
 * the card's files. */
static void a_card_is_part_of_the_output(void **state) {
    (void)state;
    static const char card[] = "---\nlicense: apache-2.0\nlanguage: [en, \"no\"]\nbase_model: org/older\n"
                               "tags:\n- small\nwidget: {x: 1}\n---\n# The source\n";
    assert_runs("--quiet convert model for-card --drop-rope");
    scratch_file("model/README.md", card, sizeof card - 1);
    assert_runs("--quiet convert model carded --drop-rope");
    run_shell("rm model/README.md");
    static const char line[] =
        "--quiet eval model carded --suite perplexity --text hay.txt --tokens 1000 --lengths 32,64 "
        "--card carded";
    char named[300];
    snprintf(named, sizeof named, "%s --base-model org/source", line);
    assert_runs(named);
    static const char front[] = "---\nlicense: apache-2.0\nlanguage:\n- en\n- \"no\"\n";
    assert_true(file_has("carded/README.md", front) &&
                file_has("carded/README.md", "base_model: org/source\n"));
    assert_true(file_has("carded/README.md", "- small\n- derope\n") &&
                file_has("carded/README.md", "\n# carded\n"));
    assert_false(file_has("carded/README.md", "The source") || file_has("carded/README.md", "widget"));
    assert_true(file_has("carded/perplexity.svg", "<svg"));
    assert_runs("verify carded");
    assert_runs(line); /* a card that derope wrote keeps its base_model */
    assert_true(file_has("carded/README.md", "base_model: org/source\n"));
    run_shell("echo >> carded/README.md");
    assert_fails("verify carded", 1, "file README.md is not the one that was written");
    assert_runs(
        "--quiet eval for-card --suite perplexity --text hay.txt --tokens 1000 --lengths 32 --card for-card");
    assert_false(file_has("for-card/README.md", "base_model"));
    assert_fails("eval model --suite perplexity --text hay.txt --lengths 32 --card model", 3,
                 "model: a model card can only be written into an HF folder that derope wrote, and this one "
                 "has no derope.json");
    assert_fails("eval model --card carded", 2, "--card: 'carded' is not among the models");
}

/* A card that cannot be written is reported before anything is measured. */
static void a_folder_that_takes_no_card(void **state) {
    (void)state;
    const char *words, *named = getenv("DEROPE");
    char binary[PATH_MAX], line[PATH_MAX + 300];
    if (!may_mount()) skip();
    assert_non_null(realpath(named ? named : "build/derope", binary));
    snprintf(
        line, sizeof line,
        "--quiet convert model disk/o --drop-rope && mount -o remount,ro disk && '%s' eval disk/o --text "
        "hay.txt --suite perplexity --lengths 32 --card disk/o --state seal.state",
        binary);
    int status = run_on_disk("size=4m", line, &words);
    if (status != 1 || !strstr(words, "disk/o/README.md: cannot write there"))
        fail_msg("exit %d, '%s'", status, words);
    assert_int_equal(access(scratch_path("seal.state"), F_OK), -1);
}

static void names_and_lengths_are_told_apart(void **state) {
    (void)state;
    run_shell("mkdir -p sub && cp -r model sub/");
    assert_runs("--quiet eval model sub/model --suite perplexity --text hay.txt --tokens 200 --lengths 32,32 "
                "--report two.html");
    json_t *r = scratch_json("two.json"), *models = json_object_get(r, "models");
    assert_int_equal(json_array_size(json_object_get(r, "perplexity")), 2);
    assert_string_equal(json_get_string(json_array_get(models, 0), "name"), "model");
    assert_string_equal(json_get_string(json_array_get(models, 1), "name"), "sub/model");
    json_decref(r);
}

/* By default enough of the text is read for a window of every length, if the text is long enough. */
static void enough_of_the_text_is_read(void **state) {
    (void)state;
    assert_runs("--quiet eval model --suite perplexity --text hay.txt --tokens 64 --report few.html");
    json_t *r = scratch_json("few.json");
    assert_true(row_value(r, "perplexity", "none", 64, 0, "perplexity") > 1);
    assert_true(isnan(row_value(r, "perplexity", "none", 128, 0, "perplexity")));
    json_decref(r);
    text_file("long.txt", 4, 30000);
    const char *words, *says = "the text has ";
    unsigned long long tokens = 0;
    assert_int_equal(run_derope("eval model --suite perplexity --text long.txt --lengths 10M", &words), 3);
    const char *at = strstr(words, says);
    assert_non_null(at);
    assert_int_equal(sscanf(at + strlen(says), "%llu tokens, fewer than one window", &tokens), 1);
    assert_true(tokens > 65536);
}

/* The front matter of an existing card is taken over whatever its line ends, and hostile cards do no harm. */
static void cards_of_every_kind(void **state) {
    (void)state;
    static char deep[100000];
    static const struct {
        const char *card, *kept, *said;
    } cases[] = {
        {"---\r\nlicense: mit\r\n---\r\n# x\r\n", "license: mit\n", NULL},
        {"\xef\xbb\xbf---\nlicense: mit\n---\n", "license: mit\n", NULL},
        {"---\nlicense: mit\ntags: &a [*a, small]\n---", "tags:\n- small\n", NULL},
        {"---\nlicense: [mit\n---\n", "tags:\n- derope\n",
         "nothing is taken over from the existing model card"},
        {"---\nlicense: caf\xe9\n---\n", "tags:\n- derope\n", "not valid YAML"},
        {"---\n---\n", "tags:\n- derope\n", NULL},
        {deep, "tags:\n- derope\n", "more than 16 deep"},
    };
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "---\na: ", 7);
    memcpy(deep + sizeof deep - 6, "\n---\n", 5);
    assert_runs("--quiet convert model kinds --drop-rope");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *words;
        scratch_file("kinds/README.md", cases[i].card, strlen(cases[i].card));
        int status = run_derope("eval kinds --suite perplexity --text hay.txt --tokens 100 --lengths 32 "
                                "--card kinds",
                                &words);
        assert_int_equal(status, 0);
        if (cases[i].said ? !strstr(words, cases[i].said) : strstr(words, "taken over") != NULL)
            fail_msg("%zu: %s", i, words);
        assert_true(file_has("kinds/README.md", cases[i].kept));
        assert_runs("verify kinds");
    }
    run_shell("rm kinds/README.md; cp hay.txt theirs.md; ln -s ../theirs.md kinds/README.md");
    assert_runs(
        "--quiet eval kinds --suite perplexity --text hay.txt --tokens 100 --lengths 32 --card kinds");
    assert_int_equal(run_shell("cmp -s hay.txt theirs.md && ! test -L kinds/README.md"), 0);
}

static void wrong_command_lines(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int status;
        const char *words;
    } cases[] = {
        {"eval", 2, "a model is needed (derope eval --help)"},
        {"eval model --suite needles", 2,
         "--suite: unknown 'needles' (all, perplexity, needle, needle-multikey"},
        {"eval model --suite perplexity", 2, "perplexity needs a text: --text FILE"},
        {"eval model --against yarn,ropeless", 2,
         "--against: unknown 'ropeless' (none, pi, ntk, yarn, dynamic-ntk)"},
        {"eval model --suite ''", 2, "--suite: the list is empty"},
        {"eval model nowhere --text hay.txt --suite perplexity --lengths 32 --report all.html", 3,
         "derope eval: nowhere: No such file or directory"},
        {"eval model --text hay.txt --suite perplexity --lengths 2 --score half", 2,
         "the second half of a context of 2 tokens predicts nothing"},
        {"eval model --lengths 1", 2, "--lengths: 1 is out of range; expected 2 to 1073741824"},
        {"eval model --lengths 64,,128", 2, "--lengths: '64,,128' is not a list a,b,..."},
        {"eval model --trials 0", 2, "--trials: 0 is out of range; expected 1 to 100000"},
        {"eval model --depths 65", 2, "--depths: 65 is out of range; expected 1 to 64"},
        {"eval model --softmax-scale 0", 2, "--softmax-scale: 0 is not a number above 0 and up to 100"},
        {"eval model --softmax-scale search", 2, "searching the softmax scale needs perplexity"},
        {"eval model --score most", 2, "--score: 'most' is not all or half"},
        {"eval model --wording nowhere", 3, "nowhere: No such file or directory"},
        {"eval model --wording hay.txt", 3, "hay.txt:1:3: not valid JSON"},
        {"eval nowhere --lengths 64", 3, "nowhere: No such file or directory"},
        {"eval model --lengths 16 --wording wording.json", 0,
         "needle is left out: a length of 16 tokens has no room for facts and a question, which take"},
        {"eval model --report nowhere/r.html", 1, "nowhere"},
        {"eval model --text hay.txt --suite perplexity --lengths 1M", 3, "fewer than one window of 1000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(cases[i].arguments, cases[i].status, cases[i].words);
}

static void wordings_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{}", "\"fact\" has to be text"},
        {"{\"fact\": \"a\"}", "\"question\" has to be text"},
        {"{\"fact\": \"a {key}\", \"question\": \"b {key}\", \"keys\": [\"k\"]}",
         "\"keys\" has 1 words; expected 16 or more"},
        {"{\"fact\": \"a\", \"question\": \"b\", \"questions\": 7}", "\"questions\" has to be text"},
        {"{\"fact\": \"a\", \"question\": \"b\", \"keys\": [7]}", "\"keys\" has to be a list of words"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Wording w;
        Error e = {0};
        assert_false(wording_open(scratch_file("bad.json", cases[i].text, strlen(cases[i].text)), &w, &e));
        assert_int_equal(e.code, ERR_INPUT);
        if (!strstr(e.message, cases[i].words)) fail_msg("%s", e.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_restores_the_sequence),
        cmocka_unit_test(intervals),
        cmocka_unit_test(loss_by_position),
        cmocka_unit_test(every_task_can_be_answered),
        cmocka_unit_test(no_room),
        cmocka_unit_test(hay_fits_the_room),
        cmocka_unit_test(candidates_may_be_long),
        cmocka_unit_test(shared_prefill_changes_nothing),
        cmocka_unit_test(what_is_said_is_found),
        cmocka_unit_test(the_same_as_ppl),
        cmocka_unit_test(scales_are_searched_on_other_text),
        cmocka_unit_test(goes_on_where_it_stopped),
        cmocka_unit_test(damaged_states_are_measured_again),
        cmocka_unit_test(inputs_are_spared),
        cmocka_unit_test(a_transcript_holds_every_question),
        cmocka_unit_test(a_transcript_keeps_what_needs_no_asking),
        cmocka_unit_test(tasks_have_lengths_of_their_own),
        cmocka_unit_test(a_card_is_part_of_the_output),
        cmocka_unit_test(cards_of_every_kind),
        cmocka_unit_test(enough_of_the_text_is_read),
        cmocka_unit_test(a_folder_that_takes_no_card),
        cmocka_unit_test(names_and_lengths_are_told_apart),
        cmocka_unit_test(wrong_command_lines),
        cmocka_unit_test(wordings_are_checked),
    };
    return cmocka_run_group_tests_name("eval", tests, set_up, tear_down);
}
