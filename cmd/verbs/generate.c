/* derope generate: continues a text with a model, after surgery if flags ask for it, and prints it token by
 * token. Sampling and the loop over tokens are recal/sampling.c; this file connects them with the tokenizer
 * and the terminal. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/surgery_flags.h"
#include "formats/checkpoint_open.h"
#include "recal/kv_cache.h"
#include "recal/memory.h"
#include "recal/sampling.h"
#include "surgery/model_open.h"
#include "surgery/tokenizer/tokenizer.h"

/* The command line. The flags of passes come first, as command_line_parse expects them. */
typedef struct Arguments {
    SurgeryFlags surgery;
    /* Path of the model, and the text to continue as it was typed. */
    const char *model, *prompt;
    uint64_t tokens;    /* new tokens at most */
    uint64_t seed;      /* of the sampling */
    double temperature; /* 0: greedy */
    int threads;        /* 0: as many as there are processors */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "tokens",
     .type = OPTION_U64,
     .fallback = "64",
     .most = INT32_MAX,
     .offset = offsetof(Arguments, tokens),
     .help = "stop after N new tokens"},
    {.name = "temperature",
     .type = OPTION_REAL,
     .fallback = "0",
     .offset = offsetof(Arguments, temperature),
     .help = "divides the logits before a token is drawn; 0 takes the likeliest token each time"},
    {.name = "seed",
     .type = OPTION_U64,
     .fallback = "1",
     .offset = offsetof(Arguments, seed),
     .help = "of the random draws: the same seed gives the same text"},
    {0},
};

/* All flags of the verb but those of passes, which come from the table of passes. */
static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, threads_option, offsetof(Arguments, threads)},
    {0},
};

/* Takes operands: first the model, then the prompt. */
static bool take_operand(void *arguments, const char *operand, Error *e) {
    Arguments *a = arguments;
    if (!a->model)
        a->model = operand;
    else if (!a->prompt)
        a->prompt = operand;
    else
        return cmd_usage(e, "one model and one prompt, not '%.40s' as well (quote the prompt)", operand);
    return true;
}

/* Prints a text whose tokens are generated one by one. A token can end inside a UTF-8 character. Therefore
 * all tokens so far are decoded for each new one, and only complete characters that were not printed before
 * are printed. */
typedef struct Printer {
    /* Borrowed; decodes the tokens. */
    const Tokenizer *t;
    TokenList tokens;
    size_t printed; /* bytes of the decoded text that are on standard output already */
} Printer;

/* Returns how many of the `n` bytes at `s` form whole UTF-8 characters, that is `n` less the bytes of a last
 * character that is not complete yet. */
static size_t whole_characters(const uint8_t *s, size_t n) {
    /* Step back over continuation bytes (10xxxxxx), of which a character has at most three. */
    size_t start = n;
    while (start > 0 && n - start < 4 && (s[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0) return n;
    /* The last character's first byte says how many continuation bytes it needs. */
    uint8_t lead = s[start - 1];
    size_t need = lead < 0xc0 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    return n - start < need ? start - 1 : n;
}

/* Called by generate_tokens for each new token; `context` is the Printer. Decoding all tokens again costs
 * little beside the forward pass for one token. */
static bool print_token(void *context, int32_t token, Error *e) {
    Printer *p = context;
    Buffer text = {0};
    token_append(&p->tokens, token);
    bool ok = tokenizer_decode(p->t, p->tokens.ids, p->tokens.n, false, &text, e);
    size_t n = ok ? whole_characters(text.data, text.size) : 0;
    /* Print the new whole characters at once, so that a person sees the text grow. */
    if (n > p->printed) {
        fwrite(text.data + p->printed, 1, n - p->printed, stdout);
        fflush(stdout);
        p->printed = n;
    }
    buffer_free(&text);
    return ok;
}

/* Tokenizes the prompt, prints it, and prints the continuation by `m`, whose surgery is done. Memory for the
 * net and a key/value cache over prompt and new tokens is checked first. */
static bool continue_text(const Arguments *a, const Model *m, const Tokenizer *t, Error *e) {
    Printer p = {.t = t};
    /* Generation stops at the end-of-text token, and draws only tokens that the tokenizer knows: some models
     * have more rows in the output matrix than tokens. */
    GenerateOptions o = {.tokens = a->tokens,
                         .temperature = a->temperature,
                         .seed = a->seed,
                         .stop_token = tokenizer_eos(t),
                         .known = tokenizer_vocab_size(t),
                         .stop = &cmd_stop};
    /* The prompt with BOS, where the model has one. */
    bool ok = tokenizer_encode(t, a->prompt, strlen(a->prompt), true, &p.tokens, e);
    size_t n_prompt = p.tokens.n;
    ok = ok && memory_check(net_weight_bytes(m) + kv_bytes(&m->spec, n_prompt + a->tokens),
                            "this model at this length", e);
    Net *n = ok ? net_open(m, a->threads, e) : NULL;
    /* The prompt is copied, because print_token appends to p.tokens and may move them. */
    int32_t *prompt = xcalloc(n_prompt + 1, sizeof *prompt);
    if (n_prompt) memcpy(prompt, p.tokens.ids, n_prompt * sizeof *prompt);
    if (n) {
        /* The prompt is printed as it was typed, because decoding its tokens might change white space. What
         * the decoder makes of it counts as printed already. */
        fputs(a->prompt, stdout);
        Buffer text = {0};
        tokenizer_decode(t, prompt, n_prompt, false, &text, e);
        p.printed = text.size;
        buffer_free(&text);
    }
    ok = n && generate_tokens(n, prompt, n_prompt, &o, print_token, &p, e);
    if (n) putchar('\n');
    free(prompt);
    net_close(n);
    token_list_free(&p.tokens);
    return ok;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.model = NULL};
    bool ok = command_line_parse(self, argc, argv, &a, take_operand, e);
    if (ok && (!a.model || !a.prompt))
        ok = cmd_usage(e, "a model and a prompt are needed (derope generate --help)");
    /* Open, apply the surgery, generate. */
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
    .operands = "MODEL PROMPT",
    .about = VERB_MODEL_IS
    "\n\nPrints PROMPT and the model's continuation, up to the model's end-of-text token. Write "
    "\"--\" before a prompt that begins with a dash.",
    .groups = groups,
    .takes_surgery = true,
    .examples = "  derope generate model.gguf \"Once upon a time\" --tokens 100 --temperature 0.8\n",
    .run = run,
};
