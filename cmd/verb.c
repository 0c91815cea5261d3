/* What all verbs have in common. The table of verbs is in verb_table.c, because that file knows every verb
 * and this one none. */
#include "cmd/verb.h"

#include "surgery/passes/passes.h"

/* main.c takes these out of the command line before a verb sees it. They stand here for help and completions.
 */
const Option common_options[] = {
    {.name = "quiet", .type = OPTION_BOOL, .help = "print neither progress nor notes"},
    {.name = "help", .type = OPTION_BOOL, .help = "print the help of the verb and do nothing else"},
    {0},
};

/* The offsets are 0: a group says where the int or the bool itself lies. */
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
    for (const OptionGroup *g = v->groups; g && g->options; g++)
        for (const Option *o = g->options; o->name; o++) {
            option_flag_name(o, flag);
            if (*flag) visit(context, g->title, o);
        }
    for (size_t i = 0; v->takes_surgery && passes[i]; i++)
        for (const PassFlag *f = passes[i]->flags; f && f->option.name; f++)
            visit(context, "surgery, applied in this order; layers count from 0:", &f->option);
}
