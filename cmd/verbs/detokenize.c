/* derope detokenize: writes the text of token ids, the inverse of `derope tokenize`. Opening a model's
 * tokenizer and reading ids are cmd/token_input.c, decoding is surgery/tokenizer/. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/token_input.h"

/* The command line. */
typedef struct Arguments {
    Operands operands; /* the model and the file of ids; first, as operands_take expects */
    bool special;      /* decode BOS, EOS and other special tokens to their text, too */
} Arguments;

/* The flags that only this verb has. */
static const Option own_options[] = {
    {.name = "special",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, special),
     .help = "write special tokens too, as their own text"},
    {0},
};

/* One group without a heading; its struct is Arguments itself. */
static const OptionGroup groups[] = {{NULL, own_options, 0}, {0}};

/* The function of the verb (cmd/verb.h). The bytes go to standard output unchanged, with fwrite: they may end
 * inside a character and may contain NUL. */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.special = false};
    if (!command_line_parse(self, argc, argv, &a, operands_take, e)) return false;
    if (a.operands.n != 2)
        return cmd_usage(e, "a model and a file of ids are needed (derope detokenize --help)");
    /* Open the tokenizer, read all ids, decode them at once, and write the bytes. */
    Checkpoint *model;
    Tokenizer *t = model_tokenizer_open(a.operands.list[0], &model, e);
    TokenList tokens = {0};
    Buffer text = {0};
    const char *path = a.operands.list[1];
    bool ok = t && token_ids_read(path, &tokens, e) &&
              (tokenizer_decode(t, tokens.ids, tokens.n, a.special, &text, e) || error_place(e, "%s", path));
    if (ok && text.size && fwrite(text.data, 1, text.size, stdout) != text.size)
        ok = error_errno(e, "standard output");
    /* Release in reverse order: the tokenizer refers to the checkpoint. */
    buffer_free(&text);
    token_list_free(&tokens);
    tokenizer_close(t);
    checkpoint_close(model);
    return ok;
}

const Verb verb_detokenize = {
    .name = "detokenize",
    .summary = "convert token ids to text",
    .operands = "MODEL FILE",
    .about = "MODEL is a GGUF file, or a folder (or a .zip of one) with tokenizer.json or tokenizer.model; "
             "no weights are needed. FILE has token ids, separated by white space or commas, as tokenize "
             "prints them; \"-\" is standard input. Writes exactly the bytes of the tokens: no newline is "
             "added, and a multi-byte character whose last bytes are missing is written incomplete.",
    .groups = groups,
    .examples = "  derope tokenize model.gguf page.txt | derope detokenize model.gguf -\n",
    .run = run,
};
