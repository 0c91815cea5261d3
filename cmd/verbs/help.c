/* derope help: prints help for people, the man page, and completion scripts for shells. All three are made
 * from the tables of verbs and options, by cmd/help_text.c, cmd/man_page.c and cmd/completion.c; this verb
 * only chooses between them. `derope VERB --help` does not come here but is handled by cmd/main.c. */
#include <stddef.h>
#include <stdio.h>

#include "cmd/cmd.h"
#include "cmd/command_line.h"
#include "cmd/completion.h"
#include "cmd/help_text.h"
#include "cmd/man_page.h"
#include "cmd/verb_table.h"

#include <string.h>

/* The command line. The operands come first, as operands_take expects them. */
typedef struct Arguments {
    Operands operands;      /* a verb, or "recipe" */
    bool man;               /* print the man page instead */
    const char *completion; /* print the script for this shell instead; NULL: no */
} Arguments;

/* --man and --completion print other forms of the same tables. */
static const Option options[] = {
    {.name = "man",
     .type = OPTION_BOOL,
     .offset = offsetof(Arguments, man),
     .help = "print the man page derope.1, which `make install` installs"},
    {.name = "completion",
     .type = OPTION_TEXT,
     .value_name = "SHELL",
     .choices = completion_shells,
     .offset = offsetof(Arguments, completion),
     .help = "print the completion script for a shell"},
    {0},
};

/* One group without a heading; its struct is Arguments itself. */
static const OptionGroup groups[] = {{NULL, options, 0}, {0}};

/* Appends what was asked for to `out`. --man and --completion take precedence over a topic. ERR_USAGE for an
 * unknown verb or shell. */
static bool print(const Arguments *a, Buffer *out, Error *e) {
    /* The topic is a verb or "recipe"; without one, help lists the verbs. */
    const char *topic = a->operands.n ? a->operands.list[0] : NULL;
    if (a->man) {
        man_page(out);
    } else if (a->completion) {
        return completion_script(a->completion, out, e);
    } else if (!topic) {
        help_overview(out);
    } else if (strcmp(topic, "recipe") == 0) {
        help_recipe(out);
    } else {
        const Verb *v = verb_by_name(topic, e);
        if (!v) return false;
        help_verb(v, out);
    }
    return true;
}

/* The function of the verb (cmd/verb.h). */
static bool run(const Verb *self, int argc, char **argv, Error *e) {
    Arguments a = {.man = false};
    Buffer text = {0};
    if (!command_line_parse(self, argc, argv, &a, operands_take, e)) return false;
    if (a.operands.n > 1) return cmd_usage(e, "one verb, not '%s' as well", a.operands.list[1]);
    bool ok = print(&a, &text, e);
    /* The text is built completely first, so that an error leaves standard output empty. */
    if (text.size) fwrite(text.data, 1, text.size, stdout);
    buffer_free(&text);
    return ok;
}

const Verb verb_help = {
    .name = "help",
    .summary = "explain a verb, or the keys of recipes",
    .operands = "[VERB | recipe]",
    .about =
        "Without an argument, lists the verbs. With a verb, prints its usage, its flags with their defaults, "
        "and examples, as `derope VERB --help` does. `derope help recipe` prints every key of a recipe.",
    .groups = groups,
    .examples = "  derope help convert\n"
                "  derope help --man | man -l -\n"
                "  source <(derope help --completion bash)\n",
    .run = run,
};
