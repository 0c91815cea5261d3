/* What verbs have in common: options that several of them have, and the walk over all flags of a verb that
 * help, man page, completions and suggestions use. The table of verbs is in verb_table.c, which depends on
 * every verb, so that this file depends on none. */
#include "cmd/verb.h"

#include "surgery/passes/passes.h"

/* Flags of every verb. main.c removes them from the command line before a verb sees it, so they have no place
 * in a struct; they are listed here for help and completions. */
const Option common_options[] = {
    {.name = "quiet", .type = OPTION_BOOL, .help = "print neither progress nor notes"},
    {.name = "help", .type = OPTION_BOOL, .help = "print the help of the verb and do nothing else"},
    {0},
};

/* Options that several verbs have in structs of their own. Their offset is 0, because the group that names
 * the table gives the place of the int or the bool itself. */
const Option threads_option[] = {
    {.name = "threads",
     .type = OPTION_U32,
     .most = 1024,
     .scope = OPTION_FLAG_ONLY,
     .otherwise = "as many as there are processors",
     .help = "how many threads to compute with"},
    {0},
};

const Option json_option[] = {
    {.name = "json", .type = OPTION_BOOL, .scope = OPTION_FLAG_ONLY, .help = "print the results as JSON"},
    {0},
};

void verb_each_flag(const Verb *v, VisitFlag visit, void *context) {
    char flag[64];
    /* The verb's own flags; keys that exist in recipes only have an empty flag name. */
    for (const OptionGroup *g = v->groups; g && g->options; g++)
        for (const Option *o = g->options; o->name; o++) {
            option_flag_name(o, flag);
            if (*flag) visit(context, g->title, o);
        }
    /* Then the flags of passes, in the order in which passes are applied. */
    for (size_t i = 0; v->takes_surgery && passes[i]; i++)
        for (const PassFlag *f = passes[i]->flags; f && f->option.name; f++)
            visit(context, "surgery, applied in this order; layers count from 0:", &f->option);
}
