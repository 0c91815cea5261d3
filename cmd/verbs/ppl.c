/* derope ppl: measures the perplexity of a text at a list of context lengths, after surgery if flags ask for
 * it. This is the short way to one number; `derope eval` (verbs/eval.c) compares several models and keeps its
 * results. The measurement is recal/perplexity.c, the text is read by cmd/token_input.c. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/surgery_flags.h"
#include "cmd/token_input.h"
#include "formats/checkpoint_open.h"
#include "recal/kv_cache.h"
#include "recal/memory.h"
#include "recal/perplexity.h"
#include "surgery/model_open.h"

/* The most lengths and texts on one command line; a folder is one text. */
enum { MAX_CONTEXTS = 32, MAX_TEXTS = 256 };

/* The command line. The flags of passes come first, as command_line_parse expects them. */
typedef struct Arguments {
    SurgeryFlags surgery;
    /* Path of the model, and the member of a JSONL line that holds the text. */
    const char *model, *field;
    /* Files and folders of text, borrowed from the command line. */
    const char *texts[MAX_TEXTS];
    size_t n_texts, n_contexts;      /* numbers of items in `texts` and `contexts` */
    uint64_t contexts[MAX_CONTEXTS]; /* window lengths in tokens */
    uint64_t tokens;                 /* of the text to read at most; 0: all */
    int threads;                     /* to compute with; 0: as many as there are processors */
    Score score;                     /* which tokens of a window count */
    bool json;
} Arguments;

/* The `set` function of the option --score, which is stored as an enum. */
static bool set_score(void *options, const char *text, Error *e) {
    Arguments *a = options;
    return perplexity_score_parse(text, &a->score, e);
}

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "context",
     .type = OPTION_U64,
     .least = 2,
     .most = 1 << 30,
     .unit = "tokens",
     .value_name = "N,...",
     .capacity = MAX_CONTEXTS,
     .offset = offsetof(Arguments, contexts),
     .count_offset = offsetof(Arguments, n_contexts),
     .help = "window lengths to measure at"},
    {.name = "score",
     .type = OPTION_TEXT,
     .fallback = "all",
     .choices = perplexity_score_names,
     .set = set_score,
     .help = "score every predicted token of a window, or only those of its second half as llama-perplexity "
             "does. "
             "The latter also drops one trailing newline of the text, and puts BOS in place of each window's "
             "first "
             "token where the model adds one"},
    {.name = "tokens",
     .type = OPTION_U64,
     .otherwise = "all",
     .offset = offsetof(Arguments, tokens),
     .help = "read no more than N tokens of the text"},
    {.name = "field",
     .type = OPTION_TEXT,
     .fallback = "text",
     .value_name = "NAME",
     .offset = offsetof(Arguments, field),
     .help = "the member of a JSONL line that holds the text"},
    {0},
};

/* All flags of the verb but those of passes, which come from the table of passes. */
static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, threads_option, offsetof(Arguments, threads)},
    {NULL, json_option, offsetof(Arguments, json)},
    {0},
};

/* Takes operands: first the model, then texts. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (!a->model)
        a->model = operand;
    else if (a->n_texts < MAX_TEXTS)
        a->texts[a->n_texts++] = operand;
    else
        return cmd_usage(e, "more than %d texts; name a folder", MAX_TEXTS);
    return true;
}

/* Measures perplexity at each length, and prints a row as soon as it is known unless --json was given.
 * Returns all rows as JSON, new reference, or NULL with an error. `bos` is the id of the BOS token, or -1
 * where the model adds none. */
static json_t *measure(const Arguments *a, Net *n, const TokenList *tokens, int32_t bos, Error *e) {
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_contexts; i++) {
        /* One length: windows of that many tokens that do not overlap. */
        Perplexity p;
        /* A signal makes perplexity() fail with ERR_INTERRUPTED, and without --json the lengths
         * finished so far have been printed by then. */
        cmd_progress("perplexity at %llu", (unsigned long long)a->contexts[i]);
        if (!perplexity(n, tokens->ids, tokens->n, a->contexts[i], a->score, bos, &cmd_stop, &p, e)) {
            json_decref(list);
            return NULL;
        }
        cmd_progress_end();
        /* The net gives the mean negative log-likelihood and its standard error. The perplexity is exp(nll),
         * and its standard error exp(nll) times that of nll, to first order. */
        if (!a->json)
            printf("%8llu  %10.4f  +- %-8.4f  %llu tokens in %llu windows\n", (unsigned long long)p.context,
                   exp(p.nll), exp(p.nll) * p.stderr_nll, (unsigned long long)p.tokens,
                   (unsigned long long)p.windows);
        /* The row of this length for --json. */
        json_array_append_new(list,
                              json_pack("{s:I, s:f, s:I, s:I, s:f}", "context", (json_int_t)p.context,
                                        "perplexity", exp(p.nll), "tokens", (json_int_t)p.tokens, "windows",
                                        (json_int_t)p.windows, "stderr", exp(p.nll) * p.stderr_nll));
    }
    return list;
}

/* Opens the model, applies the surgery, reads the text and measures. The key/value cache is as long as the
 * longest window. */
static bool compute(const Arguments *a, Error *e) {
    Checkpoint *source = checkpoint_open(a->model, e);
    Model *m = source ? model_open(source, e) : NULL;
    TokenList tokens = {0};
    int32_t bos = -1;
    /* The longest window decides how much text and memory are needed. */
    uint64_t longest = 0;
    for (size_t i = 0; i < a->n_contexts; i++)
        if (a->contexts[i] > longest) longest = a->contexts[i];
    /* Surgery first, so that a mistake in its flags shows before the text is read. */
    Tokenizer *t = m && surgery_flags_apply(&a->surgery, m, e) ? tokenizer_open(source, e) : NULL;
    bool ok = t && perplexity_tokens(t, a->texts, a->n_texts, a->field, a->score == SCORE_HALF, a->tokens,
                                     &tokens, &bos, e);
    /* Text and memory are checked before the weights are decoded. */
    if (ok && tokens.n < longest)
        ok = error_set(e, ERR_INPUT, "the text has %zu tokens, fewer than one window of %llu", tokens.n,
                       (unsigned long long)longest);
    ok =
        ok && memory_check(net_weight_bytes(m) + kv_bytes(&m->spec, longest), "this model at this length", e);
    /* Decode the weights and measure. */
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

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.model = NULL};
    /* The lengths have no default, because a perplexity means little without its length. */
    bool ok = command_line_parse(self, argc, argv, &a, take_operand, e);
    if (ok && (!a.model || !a.n_texts || !a.n_contexts))
        ok = cmd_usage(e, "a model, a text and --context are needed (derope ppl --help)");
    ok = ok && compute(&a, e);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_ppl = {
    .name = "ppl",
    .summary = "measure the perplexity of a text at several context lengths",
    .operands = "MODEL TEXT... --context N,...",
    .about = VERB_MODEL_IS "\n\nThe text is cut into windows of N tokens that do not overlap; an incomplete "
                           "last one is left out. BOS is added "
                           "where the model's tokenizer adds one.\n\n"
                           "--json prints [{\"context\", \"perplexity\", \"tokens\", \"windows\", "
                           "\"stderr\"}, ...]; the standard error is over "
                           "windows.",
    .groups = groups,
    .takes_surgery = true,
    .examples = "  derope ppl model.gguf held-out.txt --context 256,1024,4096 --drop-rope=20-29\n",
    .run = run,
};
