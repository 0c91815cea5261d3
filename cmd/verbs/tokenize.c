#include <getopt.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/token_input.h"
#include "formats/json.h"

typedef struct Arguments {
    bool json, no_special;
} Arguments;

static json_t *tokens_json(const char *path, const Buffer *text, const TokenList *tokens) {
    json_t *ids = json_array();
    for (size_t i = 0; i < tokens->n; i++)
        json_array_append_new(ids, json_integer(tokens->ids[i]));
    return json_pack("{s:o, s:I, s:o}", "file", json_text(path), "bytes", (json_int_t)text->size, "ids", ids);
}

static void print_tokens(const TokenList *tokens) {
    for (size_t i = 0; i < tokens->n; i++)
        printf(i ? " %d" : "%d", tokens->ids[i]);
    printf("\n");
}

static bool tokenize(const Tokenizer *t, const char *path, const Arguments *a, json_t *all, Error *e) {
    Buffer text = {0};
    TokenList tokens = {0};
    bool ok = text_read(path, &text, e) &&
              (tokenizer_encode(t, (char *)text.data, text.size, !a->no_special, &tokens, e) ||
               error_place(e, "%s", path));
    if (ok && a->json) json_array_append_new(all, tokens_json(path, &text, &tokens));
    if (ok && !a->json) print_tokens(&tokens);
    token_list_free(&tokens);
    buffer_free(&text);
    return ok;
}

static bool run(int argc, char **argv, Error *e) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"no-special", no_argument, NULL, 's'}, {0}};
    Arguments a = {0};
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option != 'j' && option != 's') return cmd_bad_option(e, option, argv);
        a.json |= option == 'j';
        a.no_special |= option == 's';
    }
    if (argc - optind < 2) return cmd_usage(e, "a model and a text are needed (derope tokenize --help)");
    Checkpoint *model;
    Tokenizer *t = tokenizer_of(argv[optind], &model, e);
    json_t *all = json_array();
    bool ok = t != NULL;
    for (int i = optind + 1; ok && i < argc; i++)
        ok = tokenize(t, argv[i], &a, all, e);
    if (ok && a.json) cmd_print_json(all);
    json_decref(all);
    tokenizer_close(t);
    checkpoint_close(model);
    return ok;
}

const Verb verb_tokenize = {
    .name = "tokenize",
    .summary = "the token ids of a text",
    .help =
        "usage: derope tokenize MODEL FILE... [--json] [--no-special]\n\n"
        "MODEL is a GGUF file, or a folder (or a .zip of one) with tokenizer.json or tokenizer.model; no\n"
        "weights are needed. FILE is UTF-8 text, \"-\" standard input. Prints a line of ids for each file,\n"
        "separated by spaces.\n\n"
        "  --json            an array with one object a file: .file, .bytes and .ids[]\n"
        "  --no-special      without the BOS or EOS that the model's tokenizer adds\n",
    .run = run,
};
