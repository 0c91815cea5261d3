/* derope tokenize: prints the token ids of texts. Opening a model's tokenizer and reading a text are
 * cmd/token_input.c, the tokenizers themselves surgery/tokenizer/. The ids can be compared with those of
 * transformers or llama.cpp, and are what `derope detokenize` and `derope logits --ids` read. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/token_input.h"
#include "formats/json.h"

/* The command line. */
typedef struct Arguments {
    Operands operands; /* the model, then the files; first, as operands_take expects */
    /* Print JSON instead of lines of ids; leave out BOS and EOS. */
    bool json;       /* print JSON instead of lines of ids */
    bool no_special; /* do not add BOS and EOS */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "no_special",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, no_special),
     .help = "leave out the BOS or EOS that the model's tokenizer adds"},
    {0},
};

/* All flags of the verb, with the place of their struct in Arguments. */
static const OptionGroup groups[] = {
    {NULL, own_options, 0},
    {NULL, json_option, offsetof(Arguments, json)},
    {0},
};

/* Returns the object of one file for --json: {"file", "bytes", "ids"}, new reference. */
static json_t *tokens_json(const char *path, const Buffer *text, const TokenList *tokens) {
    json_t *ids = json_array();
    for (size_t i = 0; i < tokens->n; i++)
        json_array_append_new(ids, json_integer(tokens->ids[i]));
    return json_pack("{s:o, s:I, s:o}", "file", json_text(path), "bytes", (json_int_t)text->size, "ids", ids);
}

/* Prints ids on one line, separated by spaces. */
static void print_tokens(const TokenList *tokens) {
    for (size_t i = 0; i < tokens->n; i++)
        printf(i ? " %d" : "%d", tokens->ids[i]);
    printf("\n");
}

/* Tokenizes one file and prints its ids or, with --json, adds its object to `all`. "-" is standard input. */
static bool tokenize(const Tokenizer *t, const char *path, const Arguments *a, json_t *all, Error *e) {
    Buffer text = {0};
    TokenList tokens = {0};
    /* The whole file is one text, with BOS and EOS unless --no-special was given. */
    bool ok = text_file_read(path, &text, e) &&
              (tokenizer_encode(t, (char *)text.data, text.size, !a->no_special, &tokens, e) ||
               error_place(e, "%s", path));
    if (ok && a->json) json_array_append_new(all, tokens_json(path, &text, &tokens));
    if (ok && !a->json) print_tokens(&tokens);
    token_list_free(&tokens);
    buffer_free(&text);
    return ok;
}

/* The function of the verb (cmd/verb.h). With --json nothing is printed if one of the files fails. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.json = false};
    if (!command_line_parse(self, argc, argv, &a, operands_take, e)) return false;
    if (a.operands.n < 2) return cmd_usage(e, "a model and a text are needed (derope tokenize --help)");
    /* Open the tokenizer only: a folder needs no weights. */
    Checkpoint *model;
    Tokenizer *t = model_tokenizer_open(a.operands.list[0], &model, e);
    /* One object for each file, printed together at the end. */
    json_t *all = json_array();
    bool ok = t != NULL;
    /* Operand 0 is the model, the others are texts. */
    for (size_t i = 1; ok && i < a.operands.n; i++)
        ok = tokenize(t, a.operands.list[i], &a, all, e);
    if (ok && a.json) cmd_print_json(all);
    json_decref(all);
    /* The tokenizer refers to the checkpoint. */
    tokenizer_close(t);
    checkpoint_close(model);
    return ok;
}

const Verb verb_tokenize = {
    .name = "tokenize",
    .summary = "convert text to token ids",
    .operands = "MODEL FILE...",
    .about = "MODEL is a GGUF file, or a folder (or a .zip of one) with tokenizer.json or tokenizer.model; "
             "no weights "
             "are needed. FILE is UTF-8 text, \"-\" is standard input. Prints a line of ids for each file, "
             "separated "
             "by spaces.\n\n"
             "--json prints an array with one object for each file: .file, .bytes and .ids[].",
    .groups = groups,
    .examples = "  echo 'Hello world' | derope tokenize model.gguf -\n",
    .run = run,
};
