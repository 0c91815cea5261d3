/* Help, man page and completions: every verb, flag and recipe key that the tables have is in each of them,
 * the texts are in order where a shell is at hand to say so, and the command line knows whole names only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "cmd/completion.h"
#include "cmd/help_text.h"
#include "cmd/man_page.h"
#include "cmd/recipe/recipe_sections.h"
#include "cmd/verb_table.h"
#include "surgery/passes/passes.h"
#include "surgery/version.h"
#include "tests/tiny_model.h"

static const char *const shells[] = {"bash", "zsh", "fish"};

static void assert_says(Buffer *text, const char *what, const char *where, const char *whose) {
    if (!strstr(buffer_string(text), what)) fail_msg("%s lacks '%s' of %s", where, what, whose);
}

/* ---- everything is there ---- */

/* The texts of one verb. */
typedef struct Texts {
    const Verb *verb;
    Buffer help, man, completions[3];
    size_t flags;
} Texts;

/* "--min-lr-ratio" as roff has it: "\-\-min\-lr\-ratio". */
static void in_roff(const char *flag, char out[160]) {
    size_t n = 0;
    for (const char *p = flag; *p; p++)
        n += (size_t)snprintf(out + n, 160 - n, *p == '-' ? "\\-" : "%c", *p);
}

static void assert_flag(void *context, const char *title, const Option *o) {
    (void)title;
    Texts *t = context;
    char name[64], flag[80], roff[160];
    option_flag_name(o, name);
    snprintf(flag, sizeof flag, "--%s", name);
    in_roff(flag, roff);
    assert_says(&t->help, flag, "help", t->verb->name);
    assert_says(&t->man, roff, "the man page", t->verb->name);
    assert_says(&t->completions[0], flag, "bash completion", t->verb->name);
    assert_says(&t->completions[1], flag, "zsh completion", t->verb->name);
    snprintf(flag, sizeof flag, "_from %s' -l %s", t->verb->name, name);
    assert_says(&t->completions[2], flag, "fish completion", t->verb->name);
    if (o->fallback && o->type != OPTION_BOOL) assert_says(&t->help, o->fallback, "help", name);
    t->flags++;
}

static void every_flag_is_in_every_text(void **state) {
    (void)state;
    Texts t = {.flags = 0};
    Buffer overview = {0};
    Error e = {0};
    help_overview(&overview);
    man_page(&t.man);
    for (int i = 0; i < 3; i++)
        assert_true(completion_script(shells[i], &t.completions[i], &e));
    for (const Verb *const *v = verbs; *v; v++) {
        t.verb = *v;
        t.help.size = 0;
        help_verb(*v, &t.help);
        assert_says(&overview, (*v)->name, "the overview", (*v)->name);
        assert_says(&overview, (*v)->summary, "the overview", (*v)->name);
        for (int i = 0; i < 3; i++)
            assert_says(&t.completions[i], (*v)->name, shells[i], (*v)->name);
        verb_each_flag(*v, assert_flag, &t);
        for (const Option *o = common_options; o->name; o++)
            assert_flag(&t, NULL, o);
    }
    assert_true(t.flags > 100);
    buffer_free(&overview);
    buffer_free(&t.help);
    buffer_free(&t.man);
    for (int i = 0; i < 3; i++)
        buffer_free(&t.completions[i]);
}

static void every_key_is_in_help_and_man_page(void **state) {
    (void)state;
    Buffer help = {0}, man = {0};
    help_recipe(&help);
    man_page(&man);
    for (const RecipeSection *s = recipe_sections; s->name; s++) {
        assert_says(&help, s->name, "help", "recipes");
        assert_says(&man, s->name, "the man page", "recipes");
        for (const OptionGroup *g = s->groups; g && g->options; g++)
            for (const Option *o = g->options; o->name; o++) {
                char line[80];
                if (o->scope == OPTION_FLAG_ONLY) continue;
                snprintf(line, sizeof line, "\n  %s ", o->name);
                assert_says(&help, line, "help", s->name);
                snprintf(line, sizeof line, ".B %s\n", o->name);
                assert_says(&man, line, "the man page", s->name);
            }
    }
    for (size_t i = 0; passes[i]; i++)
        assert_says(&help, passes[i]->name, "help", "passes");
    buffer_free(&help);
    buffer_free(&man);
}

/* Lines fit a terminal; long words such as lists without spaces do not occur. */
static void help_fits_a_terminal(void **state) {
    (void)state;
    for (const Verb *const *v = verbs; *v; v++) {
        Buffer text = {0};
        help_verb(*v, &text);
        if (!(*v)->examples) help_overview(&text);
        for (char *line = strtok(buffer_string(&text), "\n"); line; line = strtok(NULL, "\n"))
            if (strlen(line) > 100) fail_msg("derope help %s: '%s'", (*v)->name, line);
        buffer_free(&text);
    }
}

/* ---- tables that make sense ---- */

/* Every default is a value that the option takes: it is set as a person would set it. */
static void assert_default_is_valid(const Option *o) {
    Option copy = *o;
    uint64_t whole;
    double real;
    Error e = {0};
    bool number = o->type == OPTION_U32 || o->type == OPTION_U64;
    if (o->help == NULL) fail_msg("%s has no help", o->name);
    if (!o->fallback || o->set || o->type == OPTION_LAYERS) return;
    copy.offset = 0;
    if (number && !option_set(&copy, &whole, o->fallback, o->name, &e)) fail_msg("%s", e.message);
    if (o->type == OPTION_REAL && !option_set(&copy, &real, o->fallback, o->name, &e))
        fail_msg("%s", e.message);
}

static void visit_default(void *context, const char *title, const Option *o) {
    (void)context, (void)title;
    assert_default_is_valid(o);
}

static void defaults_are_values(void **state) {
    (void)state;
    for (const Verb *const *v = verbs; *v; v++)
        verb_each_flag(*v, visit_default, NULL);
    for (size_t i = 0; passes[i]; i++) {
        for (const Option *o = passes[i]->parameters; o->name; o++)
            assert_default_is_valid(o);
        for (const PassFlag *f = passes[i]->flags; f && f->option.name;
             f++) /* flags name parameters that exist */
            for (int k = 0; k < 2 && f->parameters[k]; k++)
                assert_non_null(option_by_name(passes[i]->parameters, f->parameters[k]));
    }
}

/* ---- the program ---- */

/* What the program prints on standard output, once it is done with status 0. */
static const char *printed(const char *arguments) {
    char line[200];
    const char *words;
    snprintf(line, sizeof line, "%s", arguments);
    assert_int_equal(run_derope(line, &words), 0);
    return words;
}

static void verbs_for_help(void **state) {
    (void)state;
    char version[40];
    const char *words;
    snprintf(version, sizeof version, "derope %s\n", DEROPE_VERSION);
    assert_string_equal(printed("version"), version);
    assert_string_equal(printed("--version"), version);
    assert_non_null(strstr(printed("help"), "usage: derope VERB"));
    assert_non_null(strstr(printed("help convert"), "usage: derope convert IN OUT [options]"));
    assert_non_null(strstr(printed("convert --help"), "usage: derope convert IN OUT [options]"));
    assert_non_null(strstr(printed("help recipe"), "min_lr_ratio"));
    assert_non_null(strstr(printed("help --man"), ".TH DEROPE 1"));
    assert_non_null(strstr(printed("help --completion fish"), "complete -c derope"));
    assert_fails("help convrt", 2, "unknown verb 'convrt'; did you mean 'convert'?");
    assert_fails("help convert plan", 2, "one verb, not 'plan' as well");
    assert_fails("help --completion tcsh", 2, "--completion: 'tcsh' is not bash, zsh or fish");
    assert_fails("version 2", 2, "no operand is needed, not '2'");
    assert_int_equal(run_derope("", &words), 2);
    assert_non_null(strstr(words, "usage: derope VERB"));
}

static void names_are_whole(void **state) {
    (void)state;
    tiny_folder("in");
    assert_fails("convrt in out", 2,
                 "derope: unknown verb 'convrt'; did you mean 'convert'? (derope help lists them)");
    assert_fails("conv in out", 2, "derope: unknown verb 'conv'; did you mean 'convert'?");
    assert_fails("frobnicate", 2, "derope: unknown verb 'frobnicate' (derope help lists them)");
    assert_fails("--quite convert in out", 2, "derope: unknown option '--quite' before the verb");
    assert_fails("convert in out --drop-rop", 2,
                 "unknown option '--drop-rop'; did you mean '--drop-rope'? (derope convert --help)");
    assert_fails("convert in out --dty f32", 2, "unknown option '--dty'; did you mean '--dtype'?");
    assert_fails("convert in out --d f32", 2, "unknown option '--d' (derope convert --help)");
    assert_fails("convert in out --dtyp=f32", 2, "unknown option '--dtyp=f32'; did you mean '--dtype'?");
    assert_fails("convert in out -d f32", 2, "unknown option '-d' (derope convert --help)");
    assert_fails("convert in out --force=yes", 2, "--force takes no value, not 'yes'");
    assert_fails("inspect in --jso", 2, "unknown option '--jso'; did you mean '--json'?");
    assert_int_equal(access(scratch_path("out"), F_OK), -1);
}

static void values_stand_apart_or_joined(void **state) {
    (void)state;
    tiny_folder("in");
    assert_runs("--quiet convert in apart.gguf --dtype f32 --set-context 32");
    assert_runs("--quiet convert in joined.gguf --dtype=F32 --set-context=32");
    assert_runs("--quiet diff apart.gguf joined.gguf");
    Buffer a = {0}, b = {0};
    Error e = {0};
    assert_true(file_read(scratch_path("apart.gguf"), 1 << 20, &a, &e));
    assert_true(file_read(scratch_path("joined.gguf"), 1 << 20, &b, &e));
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    buffer_free(&a);
    buffer_free(&b);
    assert_fails("convert in x --sliding-window=a:b", 2, "--sliding-window: 'a' is not a whole number");
    assert_fails("convert in x --rope-scaling :4", 2, "--rope-scaling: ':4' is not TYPE:FACTOR, as yarn:4");
    assert_fails("convert in x --scale-attention 0", 2,
                 "--scale-attention: 0 is out of range; expected 1e-6 to 1000000");
}

/* The shells' own word on the scripts, where they are installed. */
static void shells_accept_their_scripts(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char line[400];
        Buffer text = {0};
        Error e = {0};
        assert_true(completion_script(shells[i], &text, &e));
        const char *path = scratch_file(shells[i], text.data, text.size);
        snprintf(line, sizeof line, "command -v %s >/dev/null || exit 0; %s -n '%s'", shells[i], shells[i],
                 path);
        if (system(line) != 0) fail_msg("%s does not parse its completion", shells[i]);
        buffer_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flag_is_in_every_text),
        cmocka_unit_test(every_key_is_in_help_and_man_page),
        cmocka_unit_test(help_fits_a_terminal),
        cmocka_unit_test(defaults_are_values),
        cmocka_unit_test(verbs_for_help),
        cmocka_unit_test(names_are_whole),
        cmocka_unit_test(values_stand_apart_or_joined),
        cmocka_unit_test(shells_accept_their_scripts),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
