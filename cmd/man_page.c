/* Prints the man page derope(1) from the tables of verbs, options, passes and recipe sections, for `derope
 * help --man` and `make install`. It uses the macros of man(7), with the sections in the order of
 * man-pages(7), and passes groff -man -ww and mandoc -Tlint. cmd/help_text.c prints the same content for a
 * terminal. */
#include "cmd/man_page.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cmd/recipe/recipe_sections.h"
#include "cmd/verb_table.h"
#include "surgery/passes/passes.h"
#include "surgery/version.h"

/* ---- roff ---- */

/* Appends `n` bytes of text so that roff takes nothing in it for a request or an escape: a dot or a quote at
 * the start of a line gets "\&" before it, a backslash becomes "\e", and "-" becomes "\-", which is printed
 * as the ASCII minus that has to be typed. */
static void escaped(const char *text, size_t n, Buffer *out) {
    bool begins_line = true;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        /* "\&" is an empty character. */
        if (begins_line && (c == '.' || c == '\'')) buffer_printf(out, "\\&");
        if (c == '\\')
            buffer_printf(out, "\\e");
        else if (c == '-')
            buffer_printf(out, "\\-");
        else
            buffer_byte(out, (uint8_t)c);
        begins_line = c == '\n';
    }
}

/* Appends a whole string, escaped. */
static void escaped_text(const char *text, Buffer *out) {
    escaped(text, strlen(text), out);
}

/* Appends text whose lines must stay as they are, such as examples, between .nf (no fill) and .fi. */
static void literal(const char *text, size_t n, Buffer *out) {
    while (n && text[n - 1] == '\n') /* newlines at the end would give empty lines before .fi */
        n--;
    buffer_printf(out, ".PP\n.nf\n");
    escaped(text, n, out);
    buffer_printf(out, "\n.fi\n");
}

/* Appends the paragraphs of a verb's description, which are separated by empty lines (cmd/verb.h). The first
 * one follows a heading, which begins a paragraph by itself. */
static void paragraphs(const char *text, Buffer *out) {
    for (const char *p = text; *p;) {
        const char *end = strstr(p, "\n\n");
        size_t n = end ? (size_t)(end - p) : strlen(p);
        if (p != text) buffer_printf(out, ".PP\n");
        escaped(p, n, out);
        buffer_byte(out, '\n');
        p += n + (end ? 2 : 0);
    }
}

/* ---- options ---- */

/* Appends a flag as a tagged paragraph (.TP): the flag in bold, its value in italics, and the description
 * under them, with default and range. */
static void flag_entry(const Option *o, Buffer *out) {
    char flag[64];
    const char *value = option_value_name(o);
    option_flag_name(o, flag);
    buffer_printf(out, ".TP\n\\fB\\-\\-");
    escaped_text(flag, out);
    buffer_printf(out, "\\fR");
    if (value) {
        buffer_printf(out, o->optional_value ? "[=\\fI" : " \\fI");
        escaped_text(value, out);
        buffer_printf(out, "\\fR%s%s", o->optional_value ? "]" : "", o->takes_rest ? "..." : "");
    }
    buffer_byte(out, '\n');
    /* The description, with default, range and choices. */
    Buffer text = {0};
    option_describe(o, false, &text);
    escaped_text(buffer_string(&text), out);
    buffer_free(&text);
    buffer_byte(out, '\n');
}

/* Appends the keys of a recipe section, or the arguments of a pass, as tagged paragraphs. Options that exist
 * as flags only are left out. */
static void key_entries(const OptionGroup *groups, Buffer *out) {
    for (const OptionGroup *g = groups; g->options; g++)
        for (const Option *o = g->options; o->name; o++) {
            if (o->scope == OPTION_FLAG_ONLY) continue;
            Buffer text = {0};
            option_describe(o, true, &text);
            buffer_printf(out, ".TP\n.B ");
            escaped_text(o->name, out);
            buffer_byte(out, '\n');
            escaped_text(buffer_string(&text), out);
            buffer_byte(out, '\n');
            buffer_free(&text);
        }
}

/* ---- sections ---- */

/* A VisitFlag: appends a flag of a verb; the context is the buffer. Flags of passes are left out here,
 * because they are the same for every verb that takes them and have a section of their own. */
static void verb_flag(void *context, const char *title, const Option *o) {
    (void)title;
    /* A flag of a pass is recognised by the address of its Option. */
    for (size_t i = 0; passes[i]; i++)
        for (const PassFlag *f = passes[i]->flags; f && f->option.name; f++)
            if (o == &f->option) return;
    flag_entry(o, context);
}

/* Appends the subsection of a verb: operands in the heading, description, flags, examples. */
static void verb_section(const Verb *v, Buffer *out) {
    buffer_printf(out, ".SS \"derope %s ", v->name);
    escaped_text(v->operands, out);
    buffer_printf(out, "\"\n");
    paragraphs(v->about, out);
    if (v->takes_surgery) buffer_printf(out, ".PP\nThe flags under SURGERY FLAGS are taken as well.\n");
    verb_each_flag(v, verb_flag, out);
    /* Examples are command lines, so their lines stay as they are. */
    if (v->examples) {
        buffer_printf(out, ".PP\nExamples:\n");
        literal(v->examples, strlen(v->examples), out);
    }
}

/* Appends the section about the flags of passes, in the order in which passes are applied. */
static void surgery_section(Buffer *out) {
    buffer_printf(out, ".SH SURGERY FLAGS\nPasses are applied in this order; layers count from 0.\n");
    for (size_t i = 0; passes[i]; i++)
        for (const PassFlag *f = passes[i]->flags; f && f->option.name; f++)
            flag_entry(&f->option, out);
}

/* Appends the section about recipes: a subsection for each section of a recipe, and under `surgery` each pass
 * with its arguments, indented. */
static void recipe_section(Buffer *out) {
    buffer_printf(out,
                  ".SH RECIPES\nA recipe is a YAML file with these keys. Relative paths are relative to the "
                  "recipe; numbers may carry k, M or G.\n");
    /* Name and description, then keys or passes. */
    for (const RecipeSection *s = recipe_sections; s->name; s++) {
        buffer_printf(out, ".SS %s\n", s->name);
        escaped_text(s->help, out);
        buffer_printf(out, "%s\n", s->required ? " (required)" : "");
        if (s->groups) key_entries(s->groups, out);
        for (size_t i = 0; s->kind == SECTION_PASSES && passes[i]; i++) {
            buffer_printf(out, ".PP\n\\fB%s\\fR: ", passes[i]->name);
            escaped_text(passes[i]->help, out);
            buffer_printf(out, "\n.RS\n");
            key_entries((const OptionGroup[]){{NULL, passes[i]->parameters, 0}, {0}}, out);
            buffer_printf(out, ".RE\n");
        }
    }
}

/* The sections in the order of man-pages(7). The date in .TH is empty, so that the page depends on nothing
 * but the version. */
void man_page(Buffer *out) {
    buffer_printf(out, ".TH DEROPE 1 \"\" \"derope %s\" \"User Commands\"\n", DEROPE_VERSION);
    buffer_printf(out, ".nh\n"); /* no hyphenation: a hyphen inside a name would be copied with it */
    buffer_printf(out,
                  ".SH NAME\nderope \\- model surgery on published language\\-model checkpoints\n"
                  ".SH SYNOPSIS\n.B derope\n[\\fB\\-\\-quiet\\fR]\n\\fIVERB\\fR\n[\\fIARGUMENTS\\fR]\n"
                  ".SH DESCRIPTION\n"
                  "derope reads a language model from an HF folder, a GGUF, a safetensors or a PyTorch file, "
                  "changes how position enters its layers, retrains it on the CPU if that is asked for, and "
                  "writes it as a stock architecture that unmodified runtimes load.\n"
                  ".PP\nFlags are written in full, as \\fB\\-\\-name\\fR \\fIvalue\\fR or "
                  "\\fB\\-\\-name=\\fIvalue\\fR; abbreviations are refused. After \\fB\\-\\-\\fR everything "
                  "is an operand. These flags go with every verb:\n");
    /* --quiet and --help, then the verbs, the flags of passes and the recipes. */
    for (const Option *o = common_options; o->name; o++)
        flag_entry(o, out);
    buffer_printf(out, ".SH VERBS\n");
    for (const Verb *const *v = verbs; *v; v++)
        verb_section(*v, out);
    surgery_section(out);
    recipe_section(out);
    buffer_printf(
        out, ".SH EXIT STATUS\n0: done. 1: failed, as for a full disk. 2: the command line makes no sense. "
             "3: an input file is damaged or of a kind that is refused. 4: a recipe is wrong. "
             "5: interrupted; what is on disk can be resumed.\n");
}
