/* getopt_long is not used, because it takes abbreviations for flags, and because its table of flags would be
 * a second one beside the options. A verb's flags are searched one after the other: there are at most some
 * dozens. */
#include "cmd/command_line.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/surgery_flags.h"
#include "surgery/nearest_name.h"

/* A command line while it is parsed. */
typedef struct Parser {
    const Verb *verb;
    char *arguments; /* the verb's struct */
    int argc, at;    /* argv[at] comes next */
    char **argv;
} Parser;

/* ---- which flag ---- */

/* The option of the verb's groups that a flag name stands for; `*options` receives its struct. */
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

/* The names of a verb's flags, for suggestions. */
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

/* The error for a flag that the verb does not have. Single letters are not near to anything. */
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

static bool is_flag(const char *word) {
    return word[0] == '-' && word[1]; /* "-" alone is standard input */
}

static bool needs_value(const Parser *p, const char *label, Error *e) {
    return cmd_usage(e, "%s needs a value (derope %s --help)", label, p->verb->name);
}

/* --data a b c: the words that follow, up to the next flag, are values as well. */
static bool take_rest(Parser *p, const Option *o, void *options, const char *label, Error *e) {
    while (p->at < p->argc && !is_flag(p->argv[p->at]))
        if (!option_set(o, options, p->argv[p->at++], label, e)) return false;
    return true;
}

/* Stores an option. `joined` is the text after "=", or NULL. */
static bool take_option(Parser *p, const Option *o, void *options, const char *label, const char *joined,
                        Error *e) {
    /* A flag without a value. */
    if (o->type == OPTION_BOOL) {
        if (joined) return cmd_usage(e, "%s takes no value, not '%.60s'", label, joined);
        return option_set(o, options, "true", label, e);
    }
    /* A value is the next word whatever it begins with, as -1 may be a value; but a list of paths that begins
     * with a flag has been forgotten. */
    if (!joined && p->at == p->argc) return needs_value(p, label, e);
    if (!joined && o->takes_rest && is_flag(p->argv[p->at])) return needs_value(p, label, e);
    if (!option_set(o, options, joined ? joined : p->argv[p->at++], label, e)) return false;
    return !o->takes_rest || take_rest(p, o, options, label, e);
}

/* --drop-rope takes a value only if it is joined on: the next word may be an operand. */
static bool take_pass_flag(Parser *p, const Pass *pass, const PassFlag *f, const char *label,
                           const char *joined, Error *e) {
    if (!joined && !f->option.optional_value) {
        if (p->at == p->argc) return needs_value(p, label, e);
        joined = p->argv[p->at++];
    }
    return surgery_flag_set((SurgeryFlags *)p->arguments, pass, f, joined, e);
}

/* "--name", "--name=value", or "--name" with the value as the next word. */
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
