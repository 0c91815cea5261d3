#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/surgery_flags.h"
#include "formats/checkpoint_open.h"
#include "recal/memory.h"
#include "recal/sampling.h"
#include "surgery/tokenizer/tokenizer.h"

enum { FLAG_TOKENS = FLAG_VERB, FLAG_TEMPERATURE, FLAG_SEED, FLAG_THREADS };

static const struct option options[] = {
    SURGERY_OPTIONS,
    {"tokens", required_argument, NULL, FLAG_TOKENS},
    {"temperature", required_argument, NULL, FLAG_TEMPERATURE},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"threads", required_argument, NULL, FLAG_THREADS},
    {0},
};

typedef struct Arguments {
    SurgeryFlags surgery;
    const char *model, *prompt;
    uint64_t tokens, seed;
    int threads;
    double temperature;
} Arguments;

static bool parse(int argc, char **argv, Arguments *a, Error *e) {
    int option;
    Scan scan = {0};
    a->tokens = 64;
    a->seed = 1;
    while ((option = cmd_next(&scan, argc, argv, options)) != -1) {
        if (option == 0) {
            const char *operand = scan.operand;
            if (!a->model)
                a->model = operand;
            else if (!a->prompt)
                a->prompt = operand;
            else
                return cmd_usage(e, "one model and one prompt, not '%.40s' as well (quote the prompt)",
                                 operand);
        } else if (surgery_flag(&a->surgery, option, optarg, e)) {
            if (e->code) return false;
        } else if (option == FLAG_TEMPERATURE) {
            if (!cmd_parse_f64("--temperature", optarg, &a->temperature, e)) return false;
            if (a->temperature < 0)
                return cmd_usage(e, "--temperature: %s is less than 0, the likeliest token", optarg);
        } else if (option == FLAG_TOKENS) {
            if (!cmd_parse_u64("--tokens", optarg, &a->tokens, e)) return false;
            if (a->tokens > INT32_MAX) return cmd_usage(e, "--tokens: %s is out of reason", optarg);
        } else if (option == FLAG_SEED) {
            if (!cmd_parse_u64("--seed", optarg, &a->seed, e)) return false;
        } else if (option == FLAG_THREADS) {
            if (!cmd_parse_threads(optarg, &a->threads, e)) return false;
        } else {
            return cmd_bad_option(e, option, argv);
        }
    }
    return (a->model && a->prompt) ||
           cmd_usage(e, "a model and a prompt are needed (derope generate --help)");
}

/* Tokens can end inside a character: only whole ones are printed. */
typedef struct Printer {
    const Tokenizer *t;
    TokenList tokens;
    size_t printed; /* bytes */
} Printer;

static size_t whole_characters(const uint8_t *s, size_t n) {
    size_t start = n;
    while (start > 0 && n - start < 4 && (s[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0) return n;
    uint8_t lead = s[start - 1];
    size_t need = lead < 0xc0 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    return n - start < need ? start - 1 : n;
}

static bool print_token(void *context, int32_t token, Error *e) {
    Printer *p = context;
    Buffer text = {0};
    token_append(&p->tokens, token);
    bool ok = tokenizer_decode(p->t, p->tokens.ids, p->tokens.n, false, &text, e);
    size_t n = ok ? whole_characters(text.data, text.size) : 0;
    if (n > p->printed) {
        fwrite(text.data + p->printed, 1, n - p->printed, stdout);
        fflush(stdout);
        p->printed = n;
    }
    buffer_free(&text);
    return ok;
}

static bool continue_text(const Arguments *a, const Model *m, const Tokenizer *t, Error *e) {
    Printer p = {.t = t};
    GenerateOptions o = {.tokens = a->tokens,
                         .temperature = a->temperature,
                         .seed = a->seed,
                         .stop_token = tokenizer_eos(t),
                         .known = tokenizer_vocab_size(t),
                         .stop = &cmd_stop};
    bool ok = tokenizer_encode(t, a->prompt, strlen(a->prompt), true, &p.tokens, e);
    size_t n_prompt = p.tokens.n;
    ok = ok && memory_check(net_weight_bytes(m) + kv_bytes(&m->spec, n_prompt + a->tokens),
                            "this model at this length", e);
    Net *n = ok ? net_open(m, a->threads, e) : NULL;
    int32_t *prompt = xcalloc(n_prompt + 1, sizeof *prompt);
    if (n_prompt) memcpy(prompt, p.tokens.ids, n_prompt * sizeof *prompt);
    if (n) {
        fputs(a->prompt, stdout);
        Buffer text = {0};
        tokenizer_decode(t, prompt, n_prompt, false, &text, e);
        p.printed = text.size;
        buffer_free(&text);
    }
    ok = n && generate(n, prompt, n_prompt, &o, print_token, &p, e);
    if (n) putchar('\n');
    free(prompt);
    net_close(n);
    token_list_free(&p.tokens);
    return ok;
}

static bool run(int argc, char **argv, Error *e) {
    Arguments a = {0};
    bool ok = parse(argc, argv, &a, e);
    Checkpoint *source = ok ? checkpoint_open(a.model, e) : NULL;
    Model *m = source ? model_open(source, e) : NULL;
    Tokenizer *t = m && surgery_flags_apply(&a.surgery, m, e) ? tokenizer_open(source, e) : NULL;
    ok = t && continue_text(&a, m, t, e);
    tokenizer_close(t);
    model_close(m);
    checkpoint_close(source);
    surgery_flags_free(&a.surgery);
    return ok;
}

const Verb verb_generate = {
    .name = "generate",
    .summary = "continue a text",
    .help = "usage: derope generate MODEL PROMPT [options]\n\n" MODEL_HELP
            "Prints PROMPT and what follows, up to the model's end-of-text token.\n\n"
            "  --tokens N                  at most N new tokens (64)\n"
            "  --temperature X             0 takes the likeliest token each time (0)\n"
            "  --seed N                    the same seed, the same text (1)\n"
            "  --threads N                 (as many as there are processors)\n\n" SURGERY_HELP "\nexample:\n"
            "  derope generate model.gguf \"Once upon a time\" --tokens 100 --temperature 0.8\n",
    .run = run,
};
