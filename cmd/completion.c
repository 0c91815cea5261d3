/* Prints completion scripts for bash, zsh and fish from the tables of verbs and options, for `derope help
 * --completion SHELL`. A script lists the flags of each verb and, for each flag that takes a value, what the
 * value can be: the choices of the option, files where it is a path, and nothing otherwise. Operands are
 * completed as files. Each shell has a notation of its own for that and its own rules of quoting, so it has a
 * function of its own here. */
#include "cmd/completion.h"

#include <stdio.h>
#include <string.h>

#include "cmd/verb_table.h"

/* The context of the functions that print one flag: where to write, and for which verb. */
typedef struct Script {
    Buffer *out;
    const Verb *verb;
} Script;

/* Calls `visit` for the flags of a verb, those of passes included, and for --quiet and --help, which every
 * verb has. */
static void each_flag(const Verb *v, Buffer *out, VisitFlag visit) {
    Script s = {out, v};
    verb_each_flag(v, visit, &s);
    for (const Option *o = common_options; o->name; o++)
        visit(&s, NULL, o);
}

/* Appends text for the inside of single quotes in bash, zsh and fish: a single quote ends the quotes, is
 * written escaped, and begins them again. */
static void quoted(const char *text, Buffer *out) {
    for (const char *p = text; *p; p++)
        buffer_printf(out, *p == '\'' ? "'\\''" : "%c", *p);
}

/* Appends the choices of an option separated by spaces, nothing if it has none. No choice contains a
 * space. */
static void choices(const Option *o, Buffer *out) {
    const char *names[64];
    size_t n = o->choices ? o->choices(names, 64) : 0;
    for (size_t i = 0; i < n; i++)
        buffer_printf(out, "%s%s", i ? " " : "", names[i]);
}

/* Whether the operands of a verb are names of verbs instead of files, as those of help are. */
static bool takes_verbs(const Verb *v) {
    return strcmp(v->name, "help") == 0;
}

/* Appends the names of all verbs with `separator` between them. */
static void verb_names(const char *separator, Buffer *out) {
    for (const Verb *const *v = verbs; *v; v++)
        buffer_printf(out, "%s%s", v == verbs ? "" : separator, (*v)->name);
}

/* ---- bash ---- */

/* A VisitFlag: appends " --flag" to the words that bash offers. A flag with an optional value is offered a
 * second time with "=". */
static void bash_flag(void *context, const char *title, const Option *o) {
    (void)title;
    Script *s = context;
    char flag[64];
    option_flag_name(o, flag);
    buffer_printf(s->out, " --%s", flag);
    if (o->optional_value) buffer_printf(s->out, " --%s=", flag);
}

/* A VisitFlag: appends the case branch "VERB:--FLAG)" that completes the word after a flag. It offers the
 * choices or files, or nothing where the value is a number or free text. Flags without a value, or with one
 * after "=", have no branch. */
static void bash_value(void *context, const char *title, const Option *o) {
    (void)title;
    Script *s = context;
    char flag[64];
    /* A flag without a value, or with one after "=", says nothing about the next word. */
    if (o->type == OPTION_BOOL || o->optional_value) return;
    option_flag_name(o, flag);
    buffer_printf(s->out, "    %s:--%s) ", s->verb->name, flag);
    /* compgen -W offers words, compgen -f files. */
    if (o->choices) {
        buffer_printf(s->out, "COMPREPLY=($(compgen -W '");
        choices(o, s->out);
        buffer_printf(s->out, "' -- \"$cur\")); ");
    } else if (o->type == OPTION_PATH) {
        buffer_printf(s->out, "COMPREPLY=($(compgen -f -- \"$cur\")); ");
    }
    buffer_printf(s->out, "return ;;\n");
}

/* Prints the script for bash. Its function finds the verb, which is the first word that is no flag, and
 * dispatches first on the word before the cursor, which may be a flag that needs a value, and then on the
 * verb. */
static void bash(Buffer *out) {
    buffer_printf(
        out, "# bash completion for derope, made by `derope help --completion bash`\n"
             "_derope() {\n"
             "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb='' flags='' i\n"
             "    COMPREPLY=()\n"
             "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
             "        case ${COMP_WORDS[i]} in -*) ;; *) verb=${COMP_WORDS[i]}; break ;; esac\n"
             "    done\n"
             "    if [[ -z $verb ]]; then\n"
             "        COMPREPLY=($(compgen -W '");
    /* The words before the verb, then the first dispatch: values of flags. */
    verb_names(" ", out);
    buffer_printf(out, " --quiet --help --version' -- \"$cur\"))\n        return\n    fi\n"
                       "    case $verb:$prev in\n");
    for (const Verb *const *v = verbs; *v; v++)
        each_flag(*v, out, bash_value);
    /* The second dispatch: which flags the verb has. */
    buffer_printf(out, "    esac\n    case $verb in\n");
    for (const Verb *const *v = verbs; *v; v++) {
        buffer_printf(out, "    %s) flags='", (*v)->name);
        each_flag(*v, out, bash_flag);
        buffer_printf(out, "' ;;\n");
    }
    /* What is offered: flags after a dash, verbs after help, files otherwise. After "--flag=" no space is
     * inserted. */
    buffer_printf(out, "    esac\n"
                       "    if [[ $cur == -* ]]; then\n"
                       "        COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
                       "        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
                       "    elif [[ $verb == help ]]; then\n"
                       "        COMPREPLY=($(compgen -W '");
    verb_names(" ", out);
    buffer_printf(out, " recipe' -- \"$cur\"))\n"
                       "    else\n"
                       "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                       "    fi\n"
                       "    return 0\n"
                       "}\n"
                       "complete -o filenames -F _derope derope\n");
}

/* ---- zsh ---- */

/* Appends a description inside a spec of zsh's _arguments (zshcompsys(1)), where brackets end it, colons
 * divide specs and a backslash escapes; and inside single quotes. */
static void zsh_text(const char *text, Buffer *out) {
    for (const char *p = text; *p; p++) {
        if (*p == '[' || *p == ']' || *p == ':' || *p == '\\') buffer_byte(out, '\\');
        buffer_printf(out, *p == '\'' ? "'\\''" : "%c", *p);
    }
}

/* A VisitFlag: appends the spec of one flag, such as '*--dtype=[type of the weights]:TYPE:(f32 f16)'. "*"
 * allows the flag several times; "=-" is for a value that is only accepted after "=". */
static void zsh_flag(void *context, const char *title, const Option *o) {
    (void)title;
    Script *s = context;
    char flag[64];
    const char *value = option_value_name(o);
    option_flag_name(o, flag);
    buffer_printf(s->out, " \\\n            '*--%s%s[", flag, !value ? "" : o->optional_value ? "=-" : "=");
    zsh_text(o->help, s->out);
    buffer_byte(s->out, ']');
    /* The message and the action of the value; two colons make the value optional. */
    if (value) {
        buffer_printf(s->out, o->optional_value ? "::" : ":");
        zsh_text(value, s->out);
        buffer_byte(s->out, ':');
        if (o->choices) {
            buffer_byte(s->out, '(');
            choices(o, s->out);
            buffer_byte(s->out, ')');
        } else if (o->type == OPTION_PATH) {
            buffer_printf(s->out, "_files");
        }
    }
    buffer_byte(s->out, '\'');
}

/* Prints the script for zsh. Its function completes the first word from the list of verbs, and leaves the
 * rest to _arguments. The program's name is removed from the words first, so that _arguments takes the verb
 * for the command and counts operands after it. */
static void zsh(Buffer *out) {
    /* Verbs with their summaries, for the first word. */
    buffer_printf(out,
                  "#compdef derope\n# zsh completion for derope, made by `derope help --completion zsh`\n"
                  "_derope() {\n"
                  "    local -a verbs=(\n");
    for (const Verb *const *v = verbs; *v; v++) {
        buffer_printf(out, "        '%s:", (*v)->name);
        zsh_text((*v)->summary, out);
        buffer_printf(out, "'\n");
    }
    /* Then one call of _arguments for each verb. */
    buffer_printf(out, "    )\n"
                       "    if (( CURRENT == 2 )); then\n"
                       "        _describe verb verbs\n"
                       "        return\n"
                       "    fi\n"
                       "    shift words\n"
                       "    (( CURRENT-- ))\n"
                       "    case $words[1] in\n");
    for (const Verb *const *v = verbs; *v; v++) {
        buffer_printf(out, "    %s)\n        _arguments", (*v)->name);
        each_flag(*v, out, zsh_flag);
        buffer_printf(out, " \\\n            '*: :");
        if (takes_verbs(*v)) {
            buffer_byte(out, '(');
            verb_names(" ", out);
            buffer_printf(out, " recipe)");
        } else {
            buffer_printf(out, "_files");
        }
        buffer_printf(out, "' ;;\n");
    }
    buffer_printf(out, "    esac\n}\n_derope \"$@\"\n");
}

/* ---- fish ---- */

/* A VisitFlag: prints the `complete` command of one flag for fish. -x means that the flag has a value that is
 * no file, -r that it has one that may be a file; without either it has no value, or one after "=" only. */
static void fish_flag(void *context, const char *title, const Option *o) {
    (void)title;
    Script *s = context;
    char flag[64];
    option_flag_name(o, flag);
    buffer_printf(s->out, "complete -c derope -n '__fish_seen_subcommand_from %s' -l %s", s->verb->name,
                  flag);
    /* Whether a value follows, and whether it may be a file. */
    if (o->type != OPTION_BOOL && !o->optional_value)
        buffer_printf(s->out, o->type == OPTION_PATH ? " -r" : " -x");
    if (o->choices) {
        buffer_printf(s->out, " -a '");
        choices(o, s->out);
        buffer_byte(s->out, '\'');
    }
    buffer_printf(s->out, " -d '");
    for (const char *p = o->help; *p; p++) /* fish has backslashes inside single quotes */
        buffer_printf(s->out, *p == '\'' || *p == '\\' ? "\\%c" : "%c", *p);
    buffer_printf(s->out, "'\n");
}

/* Prints the script for fish: one `complete` command for each verb and for each flag of a verb. */
static void fish(Buffer *out) {
    buffer_printf(out, "# fish completion for derope, made by `derope help --completion fish`\n"
                       "complete -c derope -n __fish_use_subcommand -f\n");
    /* First the verbs, offered as long as none is on the line. */
    for (const Verb *const *v = verbs; *v; v++) {
        buffer_printf(out, "complete -c derope -n __fish_use_subcommand -a %s -d '", (*v)->name);
        quoted((*v)->summary, out);
        buffer_printf(out, "'\n");
    }
    /* Then the flags, each on condition that its verb stands on the line already. */
    for (const Verb *const *v = verbs; *v; v++) {
        if (takes_verbs(*v)) {
            buffer_printf(out, "complete -c derope -n '__fish_seen_subcommand_from %s' -f -a '", (*v)->name);
            verb_names(" ", out);
            buffer_printf(out, " recipe'\n");
        }
        each_flag(*v, out, fish_flag);
    }
}

/* ---- the shells ---- */

/* The shells by name, and the function that prints the script for each. */
static const struct {
    const char *name;
    void (*print)(Buffer *out);
} shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

enum { N_SHELLS = sizeof shells / sizeof *shells };

size_t completion_shells(const char **names, size_t max) {
    size_t n = 0;
    for (; n < N_SHELLS && n < max; n++)
        names[n] = shells[n].name;
    return n;
}

bool completion_script(const char *shell, Buffer *out, Error *e) {
    for (size_t i = 0; i < N_SHELLS; i++)
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print(out);
            return true;
        }
    return error_set(e, ERR_USAGE, "there is no completion for '%.40s'", shell);
}
