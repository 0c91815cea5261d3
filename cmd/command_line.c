/* Parses the command line of a verb. Each verb calls command_line_parse with the struct that its tables of
 * options describe; pass flags go to surgery_flags.c.
 *
 * getopt_long is not used, because it accepts abbreviations of flags, and because its table of flags would be
 * a second one beside the options. A verb's flags are searched linearly: there are at most a few dozen. */
#include "cmd/command_line.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/surgery_flags.h"
#include "surgery/nearest_name.h"

/* A command line while it is being parsed. */
typedef struct Parser {
    const Verb *verb;
    char *arguments; /* the verb's struct, in bytes: groups and options have offsets into it */
    int argc, at;    /* argc as given to the verb; argv[at] is the next word */
    char **argv;
} Parser;

/* ---- which flag ---- */

/* Finds the option in the verb's groups that a flag stands for ("min-lr-ratio"). `*options` receives the
 * struct that the option's offset refers to, which lies inside the verb's struct. NULL if the verb has no
 * such flag. */
static const Option *find_option(const Parser *p, const char *name, void **options) {
    char flag[64];
    for (const OptionGroup *g = p->verb->groups; g && g->options; g++)
        for (const Option *o = g->options; o->name; o++) {
            option_flag_name(o, flag);
            if (strcmp(flag, name) != 0) continue;
            *options = p->arguments + g->offset;
            return o;
        }
    return NULL;
}

enum { MAX_FLAGS = 64 };

/* The names of a verb's flags, for suggestions. option_flag_name writes into the caller's memory, so the
 * texts are kept here beside the pointers to them. */
typedef struct FlagNames {
    char text[MAX_FLAGS][64];
    const char *names[MAX_FLAGS];
    size_t n;
} FlagNames;

/* A VisitFlag that collects names; the context is a FlagNames. */
static void add_name(void *context, const char *title, const Option *o) {
    (void)title;
    FlagNames *f = context;
    if (f->n == MAX_FLAGS) return;
    option_flag_name(o, f->text[f->n]);
    f->names[f->n] = f->text[f->n];
    f->n++;
}

/* Sets the error for a flag that the verb does not have and returns false. `word` is the whole word, `name`
 * what stands between dashes and "=". The nearest flag is suggested, except for single letters, which are
 * near to nothing. */
static bool unknown_flag(const Parser *p, const char *word, const char *name, Error *e) {
    FlagNames known = {.n = 0};
    verb_each_flag(p->verb, add_name, &known);
    for (const Option *o = common_options; o->name; o++)
        add_name(&known, NULL, o);
    const char *near = strncmp(word, "--", 2) == 0 ? nearest_name(name, known.names, known.n) : NULL;
    return cmd_usage(e, "unknown option '%s'%s%s%s (derope %s --help)", word,
                     near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "", p->verb->name);
}

/* ---- its value ---- */

/* Whether a word begins a flag. */
static bool is_flag(const char *word) {
    return word[0] == '-' && word[1]; /* "-" alone is standard input */
}

/* Sets the error for a flag at the end of the line whose value is missing, and returns false. */
static bool needs_value(const Parser *p, const char *label, Error *e) {
    return cmd_usage(e, "%s needs a value (derope %s --help)", label, p->verb->name);
}

/* Takes the words that follow up to the next flag as further values of an option, as in --data a b c. */
static bool take_rest(Parser *p, const Option *o, void *options, const char *label, Error *e) {
    while (p->at < p->argc && !is_flag(p->argv[p->at]))
        if (!option_set(o, options, p->argv[p->at++], label, e)) return false;
    return true;
}

/* Stores the value of a flag. `joined` is the text after "=", or NULL if there is none and the next word is
 * the value. `label` is "--name", for messages. */
static bool take_option(Parser *p, const Option *o, void *options, const char *label, const char *joined,
                        Error *e) {
    /* A flag without a value sets a bool. */
    if (o->type == OPTION_BOOL) {
        if (joined) return cmd_usage(e, "%s takes no value, not '%.60s'", label, joined);
        return option_set(o, options, "true", label, e);
    }
    /* The next word is the value even if it begins with a dash, because -1 may be a value. For a list of
     * paths (--data) that would take a flag for a path, so there the value counts as forgotten. */
    if (!joined && p->at == p->argc) return needs_value(p, label, e);
    if (!joined && o->takes_rest && is_flag(p->argv[p->at])) return needs_value(p, label, e);
    if (!option_set(o, options, joined ? joined : p->argv[p->at++], label, e)) return false;
    return !o->takes_rest || take_rest(p, o, options, label, e);
}

/* Stores the flag of a pass. A flag whose value is optional (--drop-rope) takes it only after "=", because
 * the next word may be an operand. */
static bool take_pass_flag(Parser *p, const Pass *pass, const PassFlag *f, const char *label,
                           const char *joined, Error *e) {
    if (!joined && !f->option.optional_value) {
        if (p->at == p->argc) return needs_value(p, label, e);
        joined = p->argv[p->at++];
    }
    return surgery_flag_set((SurgeryFlags *)p->arguments, pass, f, joined, e);
}

/* Takes one flag with its value: "--name", "--name=value", or "--name" with the value as the next word. The
 * verb's own options are searched first, then the flags of passes. */
static bool take_flag(Parser *p, Error *e) {
    const char *word = p->argv[p->at++], *equals = strchr(word, '=');
    char name[64], label[72];
    void *options = NULL;
    const Pass *pass = NULL;
    /* The name is what stands between the dashes and "=". A name of 64 characters or more is no flag. */
    size_t n = strncmp(word, "--", 2) != 0 ? 0 : equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : 0), word + (n ? 2 : 0));
    snprintf(label, sizeof label, "--%s", name);
    const Option *o = *name ? find_option(p, name, &options) : NULL;
    if (o) return take_option(p, o, options, label, equals ? equals + 1 : NULL, e);
    const PassFlag *f = *name && p->verb->takes_surgery ? surgery_flag_by_name(name, &pass) : NULL;
    if (f) return take_pass_flag(p, pass, f, label, equals ? equals + 1 : NULL, e);
    return unknown_flag(p, word, name, e);
}

/* ---- the whole line ---- */

bool command_line_parse(const Verb *v, int argc, char **argv, void *arguments, TakeOperand take, Error *e) {
    /* argv[0] is the verb's name. */
    Parser p = {.verb = v, .arguments = arguments, .argc = argc, .at = 1, .argv = argv};
    bool only_operands = false; /* "--" was met */
    if (v->groups) options_default(v->groups, arguments);
    while (p.at < argc) {
        bool flag = !only_operands && is_flag(argv[p.at]);
        if (flag && strcmp(argv[p.at], "--") == 0) {
            only_operands = true;
            p.at++;
        } else if (flag) {
            if (!take_flag(&p, e)) return false;
        } else if (!take(arguments, argv[p.at++], e)) {
            return false;
        }
    }
    return true;
}

bool operands_take(void *arguments, const char *operand, Error *e) {
    Operands *o = arguments;
    if (o->n == MAX_OPERANDS) return cmd_usage(e, "more than %d operands", MAX_OPERANDS);
    o->list[o->n++] = operand;
    return true;
}

const OptionGroup json_arguments_groups[] = {{NULL, json_option, offsetof(JsonArguments, json)}, {0}};

char *command_line_text(int argc, char *const *argv) {
    Buffer b = {0};
    buffer_printf(&b, "derope");
    for (int i = 0; i < argc; i++) {
        /* Words with characters that a shell reads are put in single quotes, a single quote inside as '\''.
         */
        bool plain = argv[i][0] && !argv[i][strcspn(argv[i], " '\"\\$`*?[]{}()<>|&;~#!\n\t")];
        buffer_printf(&b, plain ? " %s" : " '", argv[i]);
        for (const char *c = argv[i]; !plain && *c; c++)
            buffer_printf(&b, *c == '\'' ? "'\\''" : "%c", *c);
        if (!plain) buffer_byte(&b, '\'');
    }
    return buffer_string(&b);
}
