/* derope eval: models side by side on texts and tasks, at one length after the other. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/evaluate/eval_grid.h"
#include "cmd/evaluate/eval_state.h"
#include "cmd/model_card.h"
#include "cmd/output.h"
#include "cmd/report/report_csv.h"
#include "cmd/report/report_files.h"
#include "cmd/token_input.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/output.h"
#include "recal/text_data.h"

enum {
    FLAG_SUITE = 256,
    FLAG_LENGTHS,
    FLAG_TASK_LENGTHS,
    FLAG_TEXT,
    FLAG_AGAINST,
    FLAG_TRIALS,
    FLAG_DEPTHS,
    FLAG_SEED,
    FLAG_SOFTMAX,
    FLAG_REPORT,
    FLAG_CARD,
    FLAG_TRANSCRIPT,
    FLAG_BASE_MODEL,
    FLAG_JSON,
    FLAG_CSV,
    FLAG_SCORE,
    FLAG_TOKENS,
    FLAG_FIELD,
    FLAG_WORDING,
    FLAG_STATE,
    FLAG_FORCE,
    FLAG_THREADS
};

static const struct option options[] = {
    {"suite", required_argument, NULL, FLAG_SUITE},
    {"lengths", required_argument, NULL, FLAG_LENGTHS},
    {"task-lengths", required_argument, NULL, FLAG_TASK_LENGTHS},
    {"text", required_argument, NULL, FLAG_TEXT},
    {"against", required_argument, NULL, FLAG_AGAINST},
    {"trials", required_argument, NULL, FLAG_TRIALS},
    {"depths", required_argument, NULL, FLAG_DEPTHS},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"softmax-scale", required_argument, NULL, FLAG_SOFTMAX},
    {"report", required_argument, NULL, FLAG_REPORT},
    {"transcript", required_argument, NULL, FLAG_TRANSCRIPT},
    {"card", required_argument, NULL, FLAG_CARD},
    {"base-model", required_argument, NULL, FLAG_BASE_MODEL},
    {"json", no_argument, NULL, FLAG_JSON},
    {"csv", no_argument, NULL, FLAG_CSV},
    {"score", required_argument, NULL, FLAG_SCORE},
    {"tokens", required_argument, NULL, FLAG_TOKENS},
    {"field", required_argument, NULL, FLAG_FIELD},
    {"wording", required_argument, NULL, FLAG_WORDING},
    {"state", required_argument, NULL, FLAG_STATE},
    {"force", no_argument, NULL, FLAG_FORCE},
    {"threads", required_argument, NULL, FLAG_THREADS},
    {0},
};

typedef struct Arguments {
    EvalOptions o;
    const char *models[EVAL_MAX_ITEMS], *texts[EVAL_MAX_ITEMS], *report, *transcript, *card, *base_model;
    size_t n_models;
    bool json, csv, force;
} Arguments;

/* ---- arguments ---- */

typedef bool (*TakeItem)(EvalOptions *o, const char *item, Error *e);

/* "a,b,c" */
static bool each_item(EvalOptions *o, const char *option, const char *list, TakeItem take, Error *e) {
    char item[64];
    if (!*list) return cmd_usage(e, "%s: the list is empty", option);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (!n || n >= sizeof item) return cmd_usage(e, "%s: '%.60s' is not a list a,b,...", option, list);
        memcpy(item, p, n);
        item[n] = 0;
        if (!take(o, item, e)) return error_place(e, "%s", option);
        p += n + (p[n] == ',');
    }
    return true;
}

static bool add_length(uint64_t *list, size_t *count, const char *item, Error *e) {
    uint64_t n;
    if (!cmd_parse_u64("a length", item, &n, e)) return false;
    if (n < 2 || n > 1 << 30) return cmd_usage(e, "%s is not 2 to 1G tokens", item);
    if (*count == EVAL_MAX_ITEMS) return cmd_usage(e, "more than %d", EVAL_MAX_ITEMS);
    list[(*count)++] = n;
    return true;
}

static bool take_length(EvalOptions *o, const char *item, Error *e) {
    return add_length(o->lengths, &o->n_lengths, item, e);
}

static bool take_task_length(EvalOptions *o, const char *item, Error *e) {
    return add_length(o->task_lengths, &o->n_task_lengths, item, e);
}

static bool take_count(const char *option, const char *text, size_t most, size_t *out, Error *e) {
    uint64_t n;
    if (!cmd_parse_u64(option, text, &n, e)) return false;
    if (n < 1 || n > most) return cmd_usage(e, "%s: %s is not 1 to %zu", option, text, most);
    *out = n;
    return true;
}

static bool take_text(Arguments *a, const char *path, Error *e) {
    if (a->o.n_texts == EVAL_MAX_ITEMS)
        return cmd_usage(e, "more than %d texts; name a folder", EVAL_MAX_ITEMS);
    a->texts[a->o.n_texts++] = path;
    return true;
}

static bool take_option(Arguments *a, int option, char **argv, Error *e) {
    EvalOptions *o = &a->o;
    switch (option) {
    case FLAG_SUITE:
        return each_item(o, "--suite", optarg, eval_options_add_suite, e);
    case FLAG_LENGTHS:
        return each_item(o, "--lengths", optarg, take_length, e);
    case FLAG_TASK_LENGTHS:
        return each_item(o, "--task-lengths", optarg, take_task_length, e);
    case FLAG_AGAINST:
        return each_item(o, "--against", optarg, eval_options_add_extension, e);
    case FLAG_TEXT:
        return take_text(a, optarg, e);
    case FLAG_TRIALS:
        return take_count("--trials", optarg, 100000, &o->trials, e);
    case FLAG_DEPTHS:
        return take_count("--depths", optarg, EVAL_MAX_ITEMS, &o->n_depths, e);
    case FLAG_SEED:
        return cmd_parse_u64("--seed", optarg, &o->seed, e);
    case FLAG_SOFTMAX:
        return eval_options_set_scale(o, optarg, e) || error_place(e, "--softmax-scale");
    case FLAG_SCORE:
        return score_parse(optarg, &o->score, e) || error_place(e, "--score");
    case FLAG_TOKENS:
        return cmd_parse_u64("--tokens", optarg, &o->max_tokens, e);
    case FLAG_THREADS:
        return cmd_parse_threads(optarg, &o->threads, e);
    case FLAG_REPORT:
        a->report = optarg;
        return true;
    case FLAG_TRANSCRIPT:
        a->transcript = optarg;
        return o->transcript = true;
    case FLAG_CARD:
        a->card = optarg;
        return true;
    case FLAG_BASE_MODEL:
        a->base_model = optarg;
        return true;
    case FLAG_FIELD:
        o->field = optarg;
        return true;
    case FLAG_WORDING:
        o->wording = optarg;
        return true;
    case FLAG_STATE:
        o->state = optarg;
        return true;
    case FLAG_JSON:
        return a->json = true;
    case FLAG_CSV:
        return a->csv = true;
    case FLAG_FORCE:
        return a->force = true;
    default:
        return cmd_bad_option(e, option, argv);
    }
}

/* Enough for a window of the longest length that is asked for. */
static uint64_t default_tokens(const EvalOptions *o) {
    uint64_t tokens = 65536;
    for (size_t i = 0; i < o->n_lengths; i++)
        if (o->lengths[i] > tokens) tokens = o->lengths[i];
    return tokens;
}

static bool parse(int argc, char **argv, Arguments *a, Error *e) {
    int option;
    Scan scan = {0};
    while ((option = cmd_next(&scan, argc, argv, options)) != -1) {
        if (option != 0) {
            if (!take_option(a, option, argv, e)) return false;
        } else if (a->n_models == EVAL_MAX_ITEMS) {
            return cmd_usage(e, "more than %d models", EVAL_MAX_ITEMS);
        } else {
            a->models[a->n_models++] = scan.operand;
        }
    }
    if (!a->n_models) return cmd_usage(e, "a model is needed (derope eval --help)");
    bool among = !a->card;
    for (size_t i = 0; i < a->n_models; i++)
        among = among || strcmp(a->card, a->models[i]) == 0;
    if (!among) return cmd_usage(e, "--card: '%s' is not among the models", a->card);
    a->o.texts = a->texts;
    if (!a->o.max_tokens) a->o.max_tokens = default_tokens(&a->o);
    return eval_options_complete(&a->o, e);
}

/* ---- what is printed ---- */

static void print_perplexity(const json_t *results) {
    size_t i;
    const json_t *row, *models = json_object_get(results, "models");
    if (json_array_size(json_object_get(results, "perplexity")))
        printf("%-28s %-12s %8s %12s   95 %% interval\n", "perplexity", "method", "length", "");
    json_array_foreach(json_object_get(results, "perplexity"), i, row) {
        double low = 0, high = 0, x = 0;
        json_int_t model = json_integer_value(json_object_get(row, "model"));
        bool has = json_get_f64(row, "low", &low) && json_get_f64(row, "high", &high);
        json_get_f64(row, "perplexity", &x);
        printf("%-28.28s %-12s %8lld %12.4f", json_get_string(json_array_get(models, (size_t)model), "name"),
               json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
               x);
        if (has) printf("   %.4f - %.4f", low, high);
        putchar('\n');
    }
}

/* Depths side by side. */
static void print_tasks(const json_t *results) {
    size_t i;
    const json_t *row, *models = json_object_get(results, "models"), *before = NULL;
    json_array_foreach(json_object_get(results, "tasks"), i, row) {
        static const char *const same[] = {"model", "method", "task", "length"};
        bool goes_on = before != NULL;
        for (int k = 0; k < 4; k++)
            goes_on = goes_on && json_equal(json_object_get(row, same[k]), json_object_get(before, same[k]));
        json_int_t model = json_integer_value(json_object_get(row, "model"));
        if (!before) printf("%-28s %-12s %8s %-18s share found, by depth\n", "tasks", "method", "length", "");
        if (before && !goes_on) putchar('\n');
        if (!goes_on)
            printf(
                "%-28.28s %-12s %8lld %-18s", json_get_string(json_array_get(models, (size_t)model), "name"),
                json_get_string(row, "method"), (long long)json_integer_value(json_object_get(row, "length")),
                json_get_string(row, "task"));
        double score = 0;
        json_get_f64(row, "score", &score);
        printf(" %5.2f", score);
        before = row;
    }
    if (before) putchar('\n');
}

/* Every file that will be written, but for a card's; the caller frees each. */
static size_t written_files(const Arguments *a, char *out[REPORT_FILES + 2]) {
    size_t n = 0;
    for (size_t i = 0; a->report && i < REPORT_FILES; i++)
        out[n++] = report_file(a->report, i);
    if (a->transcript) out[n++] = xstrdup(a->transcript);
    if (a->o.state) out[n++] = xstrdup(a->o.state);
    return n;
}

/* Texts and words are not written to, --force or not. */
static bool texts_spared(const Arguments *a, char *const *outputs, size_t n, Error *e) {
    json_t *files = json_array(), *file;
    bool ok = true;
    size_t i;
    for (i = 0; ok && i < a->o.n_texts; i++)
        ok = text_data_list(a->o.texts[i], files, e);
    if (a->o.wording) json_array_append_new(files, json_text(a->o.wording));
    json_array_foreach(files, i, file) for (size_t k = 0; ok && k < n;
                                            k++) if (same_file(outputs[k], json_string_value(file))) ok =
        cmd_usage(e, "%s is read from, and cannot be written to", outputs[k]);
    json_decref(files);
    return ok;
}

/* Nor are models. */
static bool model_spared(const char *path, char *const *outputs, size_t n, Error *e) {
    Checkpoint *c = checkpoint_open(path, e);
    bool ok = c != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = output_spares_source(c, outputs[i], e);
    checkpoint_close(c);
    return ok;
}

/* Whatever is wrong with models and places shows before the first measurement. */
static bool check_places(const Arguments *a, Error *e) {
    char *outputs[REPORT_FILES + 2];
    size_t n = written_files(a, outputs);
    bool ok = texts_spared(a, outputs, n, e);
    for (size_t i = 0; ok && i < a->n_models; i++)
        ok = model_spared(a->models[i], outputs, n, e);
    for (size_t i = 0; i < n; i++)
        free(outputs[i]);
    return ok && (!a->report || report_may_begin(a->report, a->force, e)) &&
           (!a->card || card_check(a->card, e)) &&
           (!a->transcript || output_may_begin(a->transcript, false, a->force, e)) &&
           (!a->o.state || eval_state_may_begin(a->o.state, a->force, e));
}

static bool run(int argc, char **argv, Error *e) {
    Arguments a = {0};
    char *command = cmd_line(argc, argv), *state = NULL;
    bool ok = parse(argc, argv, &a, e);
    if (a.report && !a.o.state) a.o.state = state = report_beside(a.report, ".state");
    ok = ok && check_places(&a, e);
    EvalGrid *v = ok ? eval_grid_new(&a.o, command, e) : NULL;
    ok = v != NULL;
    for (size_t i = 0; ok && i < a.n_models; i++)
        ok = eval_grid_add_checkpoint(v, a.models[i], e);
    const json_t *results = ok ? eval_grid_results(v) : NULL;
    if (ok && a.json) {
        cmd_print_json(results);
    } else if (ok && a.csv) {
        Buffer text = {0};
        report_csv(results, &text);
        fwrite(text.data, 1, text.size, stdout);
        buffer_free(&text);
    } else if (ok) {
        print_perplexity(results);
        print_tasks(results);
    }
    ok = ok && (!a.report || report_write(a.report, results, a.force, e));
    if (ok && a.transcript) {
        const Buffer *lines = eval_grid_transcript(v);
        ok = file_write(a.transcript, lines->data, lines->size, a.force, e);
    }
    if (ok && a.card) {
        ok = card_write(a.card, a.card, a.base_model, results, e);
        if (ok) cmd_note("wrote the model card of %s", a.card);
    }
    if (e->code == ERR_INTERRUPTED && a.o.state) cmd_advise(e, "; run it again to go on");
    if (ok && state) unlink(state); /* all of it is in the report's JSON */
    eval_grid_free(v);
    free(command);
    free(state);
    return ok;
}

const Verb verb_eval = {
    .name = "eval",
    .summary = "perplexity, needles and other tasks by length, side by side",
    .help =
        "usage: derope eval MODEL... [options]\n\n" MODEL_HELP
        "  --suite NAME,...            perplexity, needle, needle-multikey, needle-multiquery, "
        "needle-multivalue,\n"
        "                              variable-tracking, common-words, frequent-words, copy, key-value, or "
        "all\n"
        "                              (needle, and perplexity where there is a text)\n"
        "  --lengths N,...             in tokens (a quarter of the first model's context to sixteen times "
        "it,\n"
        "                              no longer than --tokens)\n"
        "  --task-lengths N,...        of needles and other tasks, where they are not the same\n"
        "  --text F                    for perplexity and as haystack, several times for several; a file or "
        "folder\n"
        "                              (without one, needles are hidden in made-up sentences)\n"
        "  --against METHOD,...        not only as it is (none), also under pi, ntk, yarn, dynamic-ntk, each "
        "at "
        "the\n"
        "                              length's own factor; for models in which some layer rotates and has "
        "no "
        "window\n"
        "  --trials N                  questions per length and depth (10)\n"
        "  --depths N                  places of the needle, from the start of the text to its end (5)\n"
        "  --seed N                    of what is asked (1); the same for all models and methods\n"
        "  --softmax-scale X|search    times every layer's softmax scale (1); search: the best of 0.8 to 1.5 "
        "for\n"
        "                              each length, found on a quarter of the text, reported on the rest\n"
        "  --score all|half            as for derope ppl (all)\n"
        "  --tokens N                  of the text, for perplexity (65536, or the longest length)\n"
        "  --field NAME                of a JSONL line (text)\n"
        "  --wording FILE              JSON: how facts are stated and asked for, {\"fact\", \"question\", "
        "\"questions\",\n"
        "                              \"keys\", \"values\"}, with {key} and {value} in them\n"
        "  --report OUT.html           a page to look at, OUT.json and OUT.csv beside it\n"
        "  --transcript OUT.jsonl      every question that was asked, and what the model said; after\n"
        "                              Ctrl-C they are asked anew\n"
        "  --card OUT                  one of the models, an HF folder of ours: README.md and pictures in "
        "it\n"
        "  --base-model NAME           what the hub calls the model it was made from, for the card\n"
        "  --state FILE                where finished measurements are kept (OUT.state, until the report is "
        "there);\n"
        "                              the same command goes on from it\n"
        "  --force                     replace what is at OUT\n"
        "  --json, --csv               results on standard output\n"
        "  --threads N                 (as many as there are processors)\n\n"
        "Greedy answers count as found where each value stands in the continuation; \"first\" is the share "
        "of\n"
        "questions whose right value is the likeliest of ten. Intervals: 95 %, Student's t over windows, "
        "Wilson.\n\n"
        "example:\n"
        "  derope eval model out/partial --text held-out.txt --against none,pi,ntk,yarn --report "
        "report.html\n",
    .run = run,
};
