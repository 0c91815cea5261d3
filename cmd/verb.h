/* A verb of the program, `derope VERB ...`: what it is called, what it takes, and the function that does it.
 * Each verb is a file in cmd/verbs/ and a line in the table of cmd/verb_table.c. Its command line is parsed
 * by cmd/command_line.h, and help, man page and completions are printed (cmd/help_text.h, cmd/man_page.h,
 * cmd/completion.h), all from what is said here. */
#ifndef DEROPE_CMD_VERB_H
#define DEROPE_CMD_VERB_H

#include "surgery/options.h"

/* For descriptions: what verbs that read a model take. */
#define VERB_MODEL_IS "MODEL is an HF folder or a .zip of one, a .gguf, .safetensors or PyTorch file."

/* One verb. All texts are constants. */
typedef struct Verb {
    const char *name;
    const char *summary;  /* half a line, for the list of verbs */
    const char *operands; /* what follows the name in the usage line, without options: "IN OUT" */
    /* What it does, for people: paragraphs separated by an empty line, without other line breaks, because
     * each output breaks lines at its own width. */
    const char *about;
    const OptionGroup *groups; /* its flags, stored in a struct of the verb's own; NULL: it has none */
    bool takes_surgery;        /* it has the flags of passes, too; its struct begins with a SurgeryFlags */
    const char *examples;      /* command lines, each with a newline; NULL: none */
    /* Parses argv (argv[0] is the verb's name) by the verb's own tables, `self`, and does the work. False
     * with `e` filled. */
    bool (*run)(const struct Verb *self, int argc, char **argv, Error *e);
} Verb;

/* Options that every verb has and cmd/main.c handles: --help and --quiet. Ends with a NULL name. */
extern const Option common_options[];
/* Tables of one option that several verbs have. The group's offset is that of an int, or of a bool. */
extern const Option threads_option[], json_option[];

/* Receives one flag of a verb; `context` is what verb_each_flag was given. */
typedef void (*VisitFlag)(void *context, const char *title, const Option *o);
/* Calls `visit` for every flag of the verb, group by group, and those of passes last; `title` is the group's
 * heading, or NULL. The common options are left out. */
void verb_each_flag(const Verb *v, VisitFlag visit, void *context);

#endif
