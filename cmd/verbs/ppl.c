#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/surgery_flags.h"
#include "cmd/token_input.h"
#include "formats/checkpoint_open.h"
#include "recal/memory.h"
#include "recal/perplexity.h"

enum { FLAG_CONTEXT = FLAG_VERB, FLAG_SCORE, FLAG_JSON, FLAG_TOKENS, FLAG_FIELD, FLAG_THREADS };

static const struct option options[] = {
    SURGERY_OPTIONS,
    {"context", required_argument, NULL, FLAG_CONTEXT},
    {"score", required_argument, NULL, FLAG_SCORE},
    {"json", no_argument, NULL, FLAG_JSON},
    {"tokens", required_argument, NULL, FLAG_TOKENS},
    {"field", required_argument, NULL, FLAG_FIELD},
    {"threads", required_argument, NULL, FLAG_THREADS},
    {0},
};

enum { MAX_CONTEXTS = 32, MAX_TEXTS = 256 };

typedef struct Arguments {
    SurgeryFlags surgery;
    const char *model, *field;
    const char *texts[MAX_TEXTS];
    size_t n_texts, n_contexts;
    uint64_t contexts[MAX_CONTEXTS], tokens;
    int threads;
    Score score;
    bool json;
} Arguments;

static bool parse_contexts(Arguments *a, const char *list, Error *e) {
    char item[32];
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n >= sizeof item || a->n_contexts == MAX_CONTEXTS)
            return cmd_usage(e, "--context: '%.60s' is not N,N,...", list);
        memcpy(item, p, n);
        item[n] = 0;
        if (!cmd_parse_u64("--context", item, &a->contexts[a->n_contexts], e)) return false;
        if (a->contexts[a->n_contexts++] < 2)
            return cmd_usage(e, "--context: a window of %s tokens predicts nothing", item);
        p += n + (p[n] == ',');
    }
    return true;
}

static bool parse(int argc, char **argv, Arguments *a, Error *e) {
    int option;
    Scan scan = {0};
    while ((option = cmd_next(&scan, argc, argv, options)) != -1) {
        if (option == 0) {
            const char *operand = scan.operand;
            if (!a->model)
                a->model = operand;
            else if (a->n_texts < MAX_TEXTS)
                a->texts[a->n_texts++] = operand;
            else
                return cmd_usage(e, "more than %d texts; name a folder", MAX_TEXTS);
        } else if (surgery_flag(&a->surgery, option, optarg, e)) {
            if (e->code) return false;
        } else if (option == FLAG_CONTEXT) {
            if (!parse_contexts(a, optarg, e)) return false;
        } else if (option == FLAG_SCORE) {
            if (!score_parse(optarg, &a->score, e)) return error_place(e, "--score");
        } else if (option == FLAG_JSON) {
            a->json = true;
        } else if (option == FLAG_FIELD) {
            a->field = optarg;
        } else if (option == FLAG_TOKENS) {
            if (!cmd_parse_u64("--tokens", optarg, &a->tokens, e)) return false;
        } else if (option == FLAG_THREADS) {
            if (!cmd_parse_threads(optarg, &a->threads, e)) return false;
        } else {
            return cmd_bad_option(e, option, argv);
        }
    }
    if (!a->model || !a->n_texts || !a->n_contexts)
        return cmd_usage(e, "a model, a text and --context are needed (derope ppl --help)");
    return true;
}

static json_t *measure(const Arguments *a, Net *n, const TokenList *tokens, int32_t bos, Error *e) {
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_contexts; i++) {
        Perplexity p;
        cmd_progress("perplexity at %llu", (unsigned long long)a->contexts[i]);
        if (!perplexity(n, tokens->ids, tokens->n, a->contexts[i], a->score, bos, &cmd_stop, &p, e)) {
            json_decref(list);
            return NULL;
        }
        cmd_progress_end();
        if (!a->json)
            printf("%8llu  %10.4f  +- %-8.4f  %llu tokens in %llu windows\n", (unsigned long long)p.context,
                   exp(p.nll), exp(p.nll) * p.stderr_nll, (unsigned long long)p.tokens,
                   (unsigned long long)p.windows);
        json_array_append_new(list,
                              json_pack("{s:I, s:f, s:I, s:I, s:f}", "context", (json_int_t)p.context,
                                        "perplexity", exp(p.nll), "tokens", (json_int_t)p.tokens, "windows",
                                        (json_int_t)p.windows, "stderr", exp(p.nll) * p.stderr_nll));
    }
    return list;
}

static bool compute(const Arguments *a, Error *e) {
    Checkpoint *source = checkpoint_open(a->model, e);
    Model *m = source ? model_open(source, e) : NULL;
    TokenList tokens = {0};
    int32_t bos = -1;
    uint64_t longest = 0;
    for (size_t i = 0; i < a->n_contexts; i++)
        if (a->contexts[i] > longest) longest = a->contexts[i];
    Tokenizer *t = m && surgery_flags_apply(&a->surgery, m, e) ? tokenizer_open(source, e) : NULL;
    bool ok = t && ppl_tokens(t, a->texts, a->n_texts, a->field, a->score == SCORE_HALF, a->tokens, &tokens,
                              &bos, e);
    if (ok && tokens.n < longest)
        ok = error_set(e, ERR_INPUT, "the text has %zu tokens, fewer than one window of %llu", tokens.n,
                       (unsigned long long)longest);
    ok =
        ok && memory_check(net_weight_bytes(m) + kv_bytes(&m->spec, longest), "this model at this length", e);
    Net *n = ok ? net_open(m, a->threads, e) : NULL;
    if (n && !a->json) printf(" context  perplexity\n");
    json_t *list = n ? measure(a, n, &tokens, bos, e) : NULL;
    if (list && a->json) cmd_print_json(list);
    ok = list != NULL;
    json_decref(list);
    net_close(n);
    token_list_free(&tokens);
    tokenizer_close(t);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

static bool run(int argc, char **argv, Error *e) {
    Arguments a = {0};
    bool ok = parse(argc, argv, &a, e) && compute(&a, e);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_ppl = {
    .name = "ppl",
    .summary = "perplexity of a text at a list of context lengths",
    .help = "usage: derope ppl MODEL TEXT... --context N[,N...] [options]\n\n" MODEL_HELP
            "Windows do not overlap, an incomplete last one is left out; no BOS unless the model's tokenizer "
            "adds one.\n\n"
            "  --score all|half            score every predicted token of a window (all), or only those of "
            "its second half,\n"
            "                              as llama-perplexity does: that also drops one trailing newline of "
            "the text and\n"
            "                              puts BOS in place of each window's first token where the model "
            "adds one\n"
            "  --tokens N                  read no more than N tokens of TEXT (all)\n"
            "  --field NAME                of a JSONL line (text)\n"
            "  --threads N                 (as many as there are processors)\n"
            "  --json                      [{\"context\", \"perplexity\", \"tokens\", \"windows\", "
            "\"stderr\"}, ...]\n\n" SURGERY_HELP "\nexample:\n"
            "  derope ppl model.gguf held-out.txt --context 256,1024,4096 --drop-rope=20-29\n",
    .run = run,
};
