/* Prints help for a terminal: the overview, one verb, or recipes. `derope help`, `derope VERB --help` and the
 * errors of main.c come here. Descriptions are single lines in the tables of options and are broken here at
 * the width of a terminal. */
#include "cmd/help_text.h"

#include <stdio.h>
#include <string.h>

#include "cmd/recipe/recipe_sections.h"
#include "cmd/verb_table.h"
#include "surgery/passes/passes.h"
#include "surgery/version.h"

/* In columns: the width of a line, and the indentation of the descriptions of flags and of recipe keys. */
enum { WIDTH = 100, FLAG_COLUMN = 30, KEY_COLUMN = 22 };

/* ---- layout ---- */

/* Appends `n` bytes of text word by word with line breaks at WIDTH. The first word begins in `column`, lines
 * after the first are indented by `indent`, and a newline ends the text. */
static void wrap(const char *text, size_t n, size_t indent, size_t column, Buffer *out) {
    /* A word that would pass the width begins a new line, unless it is the first, which is never moved. */
    const char *end = text + n;
    bool first = true;
    while (text < end) {
        size_t word = strcspn(text, " ");
        if (word > (size_t)(end - text)) word = (size_t)(end - text);
        if (!first && column + 1 + word > WIDTH) {
            buffer_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            buffer_byte(out, ' ');
            column++;
        }
        buffer_append(out, text, word);
        column += word;
        first = false;
        text += word;
        while (text < end && *text == ' ')
            text++;
    }
    buffer_byte(out, '\n');
}

/* Appends paragraphs, which are separated by empty lines in the text (cmd/verb.h), each wrapped. */
static void wrap_paragraphs(const char *text, Buffer *out) {
    for (const char *p = text; *p;) {
        /* A paragraph ends at an empty line or at the end of the text. */
        const char *end = strstr(p, "\n\n");
        size_t n = end ? (size_t)(end - p) : strlen(p);
        wrap(p, n, 0, 0, out);
        if (end) buffer_byte(out, '\n');
        p += n + (end ? 2 : 0);
    }
}

/* Appends a line of a list: a name in the first column and its description in the second, at `column`. A name
 * that is too long for the first column takes a line of its own. */
static void entry(const char *name, const char *text, size_t column, Buffer *out) {
    /* The name is indented by two spaces, and at least one space follows it. */
    size_t n = strlen(name) + 2;
    buffer_printf(out, "  %s", name);
    if (n + 1 > column)
        buffer_printf(out, "\n%*s", (int)column, "");
    else
        buffer_printf(out, "%*s", (int)(column - n), "");
    wrap(text, strlen(text), column, column, out);
}

/* ---- flags ---- */

/* Writes a flag with the name of its value, as usage lines do: "--min-lr-ratio X", "--drop-rope[=LAYERS]",
 * "--data PATH...". */
static void spell_flag(const Option *o, char out[128]) {
    char flag[64];
    const char *value = option_value_name(o);
    option_flag_name(o, flag);
    if (!value)
        snprintf(out, 128, "--%s", flag);
    else
        snprintf(out, 128,
                 o->optional_value ? "--%s[=%s]"
                 : o->takes_rest   ? "--%s %s..."
                                   : "--%s %s",
                 flag, value);
}

/* What print_flag has to remember from one flag to the next. */
typedef struct FlagPrinter {
    Buffer *out;
    const char *title; /* heading of the current group; compared by address; NULL prints "options:" */
    size_t n;          /* flags printed so far */
} FlagPrinter;

/* A VisitFlag: prints a flag, and before it the heading of its group if the flag is the first one of the
 * group. */
static void print_flag(void *context, const char *title, const Option *o) {
    FlagPrinter *p = context;
    Buffer text = {0};
    char flag[128];
    /* Neighbouring groups with one heading are printed under it together. */
    if (title != p->title || p->n == 0)
        buffer_printf(p->out, "%s%s%s", p->n ? "\n" : "", title ? title : "options:", "\n");
    p->title = title;
    p->n++;
    spell_flag(o, flag);
    option_describe(o, false, &text);
    entry(flag, buffer_string(&text), FLAG_COLUMN, p->out);
    buffer_free(&text);
}

/* Usage, description, flags by group, common flags, examples. */
void help_verb(const Verb *v, Buffer *out) {
    FlagPrinter p = {.out = out};
    /* The usage line names flags only as [options]; operands come from the verb. */
    buffer_printf(out, "usage: derope %s%s%s%s\n\n", v->name, *v->operands ? " " : "", v->operands,
                  v->groups || v->takes_surgery ? " [options]" : "");
    wrap_paragraphs(v->about, out);
    if (v->groups || v->takes_surgery) buffer_byte(out, '\n');
    /* Flags by group, then --quiet and --help. */
    verb_each_flag(v, print_flag, &p);
    buffer_printf(out, "\nfor every verb:\n");
    for (const Option *o = common_options; o->name; o++) {
        char flag[128];
        spell_flag(o, flag);
        entry(flag, o->help, FLAG_COLUMN, out);
    }
    if (v->examples) buffer_printf(out, "\nexamples:\n%s", v->examples);
}

/* The exit statuses are the codes of formats/error.h. */
void help_overview(Buffer *out) {
    buffer_printf(out,
                  "derope %s: model surgery on published language-model checkpoints, without PyTorch\n\n"
                  "usage: derope VERB [ARGUMENTS]     derope help VERB explains one\n\n",
                  DEROPE_VERSION);
    for (const Verb *const *v = verbs; *v; v++)
        entry((*v)->name, (*v)->summary, 15, out);
    buffer_printf(out,
                  "\nderope help recipe lists the keys of recipes, which `derope run` takes.\n"
                  "--quiet, before or after the verb, turns off progress and notes.\n"
                  "exit status: 0 done, 1 failed, 2 usage, 3 bad input file, 4 bad recipe, 5 interrupted\n");
}

/* ---- recipes ---- */

/* Appends the keys of a section, or the arguments of a pass. Options that exist as flags only are left
 * out. */
static void print_keys(const OptionGroup *groups, Buffer *out) {
    for (const OptionGroup *g = groups; g->options; g++)
        for (const Option *o = g->options; o->name; o++) {
            Buffer text = {0};
            if (o->scope == OPTION_FLAG_ONLY) continue;
            /* The description of a key says whether it is required and may be a list. */
            option_describe(o, true, &text);
            entry(o->name, buffer_string(&text), KEY_COLUMN, out);
            buffer_free(&text);
        }
}

/* Appends all passes of the `surgery` section with their arguments. */
static void print_passes(Buffer *out) {
    for (size_t i = 0; passes[i]; i++) {
        buffer_printf(out, "- %s: %s\n", passes[i]->name, passes[i]->help);
        print_keys((const OptionGroup[]){{NULL, passes[i]->parameters, 0}, {0}}, out);
    }
}

/* Sections in the order in which a run does them, each with its keys. */
void help_recipe(Buffer *out) {
    wrap_paragraphs(
        "A recipe is a YAML file for `derope run` and `derope plan`. Relative paths are relative to the "
        "recipe; numbers may end in k, M or G; layers are written as all, 3, [0, 3, 7], 10-29 or every:4. "
        "examples/recipe-reference.yaml shows every key in use, and --set section.key=value overrides "
        "one.\n\n",
        out);
    /* A section, then its keys indented under it. */
    for (const RecipeSection *s = recipe_sections; s->name; s++) {
        buffer_printf(out, "%s%s: %s%s\n", s == recipe_sections ? "" : "\n", s->name, s->help,
                      s->required ? " (required)" : "");
        if (s->groups) print_keys(s->groups, out);
        if (s->kind == SECTION_PASSES) print_passes(out);
    }
}
