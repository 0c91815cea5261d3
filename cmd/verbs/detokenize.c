#include <getopt.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/token_input.h"

static bool run(int argc, char **argv, Error *e) {
    static const struct option options[] = {{"special", no_argument, NULL, 's'}, {0}};
    bool special = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option != 's') return cmd_bad_option(e, option, argv);
        special = true;
    }
    if (argc - optind != 2)
        return cmd_usage(e, "a model and a file of ids are needed (derope detokenize --help)");
    Checkpoint *model;
    Tokenizer *t = tokenizer_of(argv[optind], &model, e);
    TokenList tokens = {0};
    Buffer text = {0};
    const char *path = argv[optind + 1];
    bool ok = t && ids_read(path, &tokens, e) &&
              (tokenizer_decode(t, tokens.ids, tokens.n, special, &text, e) || error_place(e, "%s", path));
    if (ok && text.size && fwrite(text.data, 1, text.size, stdout) != text.size)
        ok = error_errno(e, "standard output");
    buffer_free(&text);
    token_list_free(&tokens);
    tokenizer_close(t);
    checkpoint_close(model);
    return ok;
}

const Verb verb_detokenize = {
    .name = "detokenize",
    .summary = "the text of token ids",
    .help =
        "usage: derope detokenize MODEL FILE [--special]\n\n"
        "MODEL as for tokenize. FILE (\"-\": standard input) holds token ids, separated by white space or\n"
        "commas, as tokenize prints them. Writes their bytes and nothing else: no newline is added, and\n"
        "tokens that end in the middle of a character give what they have of it.\n\n"
        "  --special         special tokens too, as their own text\n",
    .run = run,
};
