/* Recipes: the reference file loads whole, and each kind of mistake is named with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/recipe/recipe.h"
#include "cmd/recipe/recipe_sections.h"
#include "surgery/passes/passes.h"

static char folder[] = "/tmp/derope-recipe-XXXXXX";
static char path[64];

static json_t *load(const char *text, const char *set, Error *e) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    *e = (Error){0};
    return recipe_load(path, &set, set ? 1 : 0, e);
}

/* The message after the file name. */
static void expect_error(const char *text, const char *set, const char *message) {
    Error e;
    json_t *r = load(text, set, &e);
    assert_null(r);
    assert_int_equal(e.code, ERR_RECIPE);
    size_t n = strlen(path);
    assert_string_equal(strncmp(e.message, path, n) == 0 ? e.message + n : e.message, message);
}

#define MINIMAL "source: m\noutputs: {path: o}\n"

static void reference_loads(void **state) {
    (void)state;
    Error e = {0};
    json_t *r = recipe_load("examples/recipe-reference.yaml", NULL, 0, &e);
    if (!r) fail_msg("%s", e.message);
    for (const RecipeSection *k = recipe_sections; k->name; k++)
        assert_non_null(json_object_get(r, k->name));
    for (const RecipeSection *k = recipe_sections; k->name; k++) {
        json_t *v = json_object_get(r, k->name);
        if (k->kind == SECTION_LIST) v = json_array_get(v, 0);
        for (const OptionGroup *g = k->groups; g && g->options; g++)
            for (const Option *o = g->options; o->name; o++)
                if (o->scope != OPTION_FLAG_ONLY && !json_object_get(v, o->name))
                    fail_msg("the reference lacks %s.%s", k->name, o->name);
    }
    json_t *surgery = json_object_get(r, "surgery");
    for (size_t p = 0; passes[p]; p++) {
        bool shown = false;
        for (size_t i = 0; i < json_array_size(surgery); i++)
            shown |= strcmp(json_string_value(json_object_get(json_array_get(surgery, i), "pass")),
                            passes[p]->name) == 0;
        if (!shown) fail_msg("the reference lacks the pass %s", passes[p]->name);
    }
    assert_string_equal(json_string_value(json_object_get(r, "source")), "examples/embedded/model");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "recalibrate"), "tokens")),
                     100000);
    json_decref(r);
}

static void one_needs_no_list(void **state) {
    (void)state;
    Error e;
    json_t *r = load(MINIMAL "evaluate: {text: a.txt, context: 4k}\n", NULL, &e);
    if (!r) fail_msg("%s", e.message);
    json_t *evaluate = json_object_get(r, "evaluate");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(evaluate, "context"), 0)), 4000);
    char expected[96];
    snprintf(expected, sizeof expected, "%s/a.txt", folder);
    assert_string_equal(json_string_value(json_array_get(json_object_get(evaluate, "text"), 0)), expected);
    json_decref(r);
}

static void set_overrides_and_completes(void **state) {
    (void)state;
    Error e;
    json_t *r = load("outputs: [{path: o}]\n", "source=elsewhere/model", &e);
    if (!r) fail_msg("%s", e.message);
    assert_string_equal(json_string_value(json_object_get(r, "source")), "elsewhere/model");
    json_decref(r);
    r = load(MINIMAL "recalibrate: {data: d, tokens: 1M, context: 256}\n", "recalibrate.tokens=4k", &e);
    if (!r) fail_msg("%s", e.message);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "recalibrate"), "tokens")), 4000);
    json_decref(r);
    r = load(MINIMAL, "outputs.0.dtype=bf16", &e);
    if (!r) fail_msg("%s", e.message);
    json_decref(r);
}

static void mistakes_are_placed(void **state) {
    (void)state;
    expect_error("source: m\nouputs: {path: o}\n", NULL,
                 ":2:1: unknown key 'ouputs'; did you mean 'outputs'?");
    expect_error(MINIMAL "recalibrate:\n  data: d\n  tokns: 5\n  context: 2\n", NULL,
                 ":5:3: unknown key in recalibrate: 'tokns'; did you mean 'tokens'?");
    expect_error(MINIMAL "recalibrate:\n  data: d\n  tokens: lots\n", NULL,
                 ":5:11: recalibrate.tokens: expected a whole number (4096, 100k), found 'lots'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: -5, context: 1}\n", NULL,
                 ":3:32: recalibrate.tokens: expected a whole number (4096, 100k), found '-5'");
    expect_error(
        MINIMAL "recalibrate: {data: d, tokens: 99999999999999999999, context: 1}\n", NULL,
        ":3:32: recalibrate.tokens: expected a whole number (4096, 100k), found '99999999999999999999'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 1, context: 1, lr: fast}\n", NULL,
                 ":3:51: recalibrate.lr: expected a number, found 'fast'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 1, context: 1, objective: distil}\n", NULL,
                 ":3:58: unknown recalibrate.objective 'distil'; did you mean 'distill'?");
    expect_error(MINIMAL "recalibrate: {data: d, context: 1}\n", NULL,
                 ":3:14: recalibrate needs 'tokens': how many tokens to train on");
    expect_error(MINIMAL "recalibrate: 5\n", NULL,
                 ":3:14: recalibrate: expected a mapping (key: value), found '5'");
    expect_error(MINIMAL "evaluate: {text: t, context: 2, source: yes}\n", NULL,
                 ":3:41: evaluate.source: expected true or false, found 'yes'");
    expect_error(MINIMAL "evaluate: {text: [], context: 1}\n", NULL,
                 ":3:18: evaluate.text: the list is empty");
    expect_error("source: [a, b]\noutputs: {path: o}\n", NULL, ":1:9: source: expected a path, found a list");
    expect_error("source: m\nsource: n\noutputs: {path: o}\n", NULL, ":2:1: 'source' is given twice");
    expect_error(MINIMAL "surgery:\n- drop_rope: {layers: 1, layers: 2}\n", NULL,
                 ":4:26: 'layers' is given twice");
    expect_error("source: m\noutputs: null\n", NULL,
                 ":2:10: outputs: expected a list of mappings (- key: value), found 'null'");
    expect_error(
        "source: m\noutputs:\n  - {path: o}\n  - {dtype: f32}\n", NULL,
        ":4:5: outputs needs 'path': NAME.gguf is GGUF, anything else an HF folder, NAME.zip one in a zip");
    expect_error("just text\n", NULL, ":1:1: the recipe: expected a mapping (key: value), found 'just text'");
    expect_error("", NULL, ":1:1: the recipe is empty");
    expect_error(MINIMAL "---\nsource: n\n", NULL, ":3:1: a second document begins; a recipe is one");
    expect_error(MINIMAL "...\n{bad\n", NULL, ":4:1: not valid YAML: did not find expected <document start>");
    expect_error("source: 'm\n", NULL, ":2:1: not valid YAML: found unexpected end of stream");
}

static void numbers_have_ranges(void **state) {
    (void)state;
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 0, context: 1}\n", NULL,
                 ":3:32: recalibrate.tokens: expected 1 or more, found '0'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 1, context: 17M}\n", NULL,
                 ":3:44: recalibrate.context: expected 1 to 16777216, found '17M'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 1, context: 1, min_lr_ratio: 1.5}\n", NULL,
                 ":3:61: recalibrate.min_lr_ratio: expected 0 to 1, found '1.5'");
    expect_error(MINIMAL "recalibrate: {data: d, tokens: 1, context: 1, clip: -1}\n", NULL,
                 ":3:53: recalibrate.clip: expected 0 or more, found '-1'");
    expect_error(MINIMAL "evaluate: {text: t, context: [256, 1]}\n", NULL,
                 ":3:36: evaluate.context.1: expected 2 to 1073741824, found '1'");
    expect_error(MINIMAL "evaluate: {text: t, context: 64, task_context: 2G}\n", NULL,
                 ":3:48: evaluate.task_context: expected 2 to 1073741824, found '2G'");
}

static void outputs_are_checked(void **state) {
    (void)state;
    expect_error("source: m\noutputs: {path: o, dtype: bf61}\n", NULL,
                 ":2:27: unknown outputs.dtype 'bf61'; did you mean 'bf16'?");
    expect_error("source: m\noutputs: {path: o, dtype: q4_x}\n", NULL,
                 ":2:27: unknown outputs.dtype 'q4_x'; did you mean 'q4_k'?");
    expect_error("source: m\noutputs:\n  - {path: o, carrier: granit}\n", NULL,
                 ":3:24: unknown outputs.0.carrier 'granit'; did you mean 'granite'?");
    expect_error("source: m\noutputs:\n  - {path: /a/o}\n  - {path: /a/o/}\n", NULL,
                 ":4:12: /a/o/ is written twice");
    expect_error("source: m\noutputs:\n  - {path: /a/o}\n  - {path: //a/.//./o/.}\n", NULL,
                 ":4:12: //a/.//./o/. is written twice");
    Error e;
    json_decref(load("source: m\noutputs:\n  - {path: /a/.o}\n  - {path: /a/o}\n  - {path: /a}\n", NULL, &e));
    assert_int_equal(e.code, ERR_NONE);
    expect_error("source: m\noutputs:\n  - {path: /a/o}\n  - {path: /a/x}\n", "outputs.1.path=/a/o",
                 "--set outputs.1.path: /a/o is written twice");
}

static void passes_are_checked(void **state) {
    (void)state;
    expect_error(MINIMAL "surgery:\n  - drop_rop\n", NULL,
                 ":4:5: unknown pass 'drop_rop'; did you mean 'drop_rope'?");
    expect_error(MINIMAL "surgery:\n  - drop_rope: {layer: 3}\n", NULL,
                 ":4:17: unknown argument of drop_rope: 'layer'; did you mean 'layers'?");
    expect_error(MINIMAL "surgery:\n  - set_context: {tokens: many}\n", NULL,
                 ":4:27: set_context.tokens: expected a whole number (4096, 100k), found 'many'");
    expect_error(MINIMAL "surgery: drop_rope\n", NULL,
                 ":3:10: surgery: expected a list of passes, found 'drop_rope'");
    expect_error(
        MINIMAL "surgery:\n  - [drop_rope]\n", NULL,
        ":4:5: surgery: expected one pass, as 'drop_rope' or 'drop_rope: {layers: 20-29}', found a list");
}

static void sets_are_checked(void **state) {
    (void)state;
    expect_error(MINIMAL, "recalibrate.tokens=4k",
                 "--set: recalibrate needs 'data': text files, folders, .jsonl, each also .gz or .zst");
    expect_error(MINIMAL, "outputs.3.path=x",
                 "--set outputs.3.path: the recipe has no such place ('3.path' is unknown)");
    expect_error(MINIMAL, "sauce=x",
                 "--set sauce: the recipe has no such place ('sauce' is unknown); did you mean 'source'?");
    expect_error(MINIMAL, "x=1", "--set x: the recipe has no such place ('x' is unknown)");
    expect_error(MINIMAL, "recalibrate.tokns=4k",
                 "--set recalibrate.tokns: the recipe has no such place ('tokns' is unknown); did you mean "
                 "'tokens'?");
    expect_error(MINIMAL, "source=", "--set source=: the value is missing");
    expect_error(MINIMAL, "source=[x]", "--set:1:1: source: expected a path, found a list");
}

/* What only the model shows to be wrong is placed afterwards. */
static void blame_finds_its_place(void **state) {
    (void)state;
    Error e;
    json_decref(load("source: m\nsurgery:\n  - drop_rope\n  - drop_rope: {layers: 99}\n"
                     "outputs:\n  path: o\n  dtype: q8_0\n",
                     NULL, &e));
    static const struct {
        const char *dotted, *set, *place;
    } cases[] = {{"surgery.1", NULL, ":4:5: wrong"},
                 {"surgery", NULL, ":3:3: wrong"},
                 {"outputs.0.dtype", NULL, ":7:10: wrong"},
                 {"outputs.0.carrier", NULL, ":6:3: wrong"},
                 {"evaluate.text", NULL, ":1:1: wrong"},
                 {"surgery.1", "source=n", ":4:5: wrong"},
                 {"surgery.1", "surgery=[drop_rope]", "--set surgery.1: wrong"},
                 {"outputs.0.dtype", "outputs.0.dtype=f32", "--set outputs.0.dtype: wrong"},
                 {"outputs.0.dtype", "outputs.0.d=f32", ":7:10: wrong"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error_set(&e, ERR_USAGE, "wrong");
        assert_false(recipe_blame(path, &cases[i].set, cases[i].set != NULL, cases[i].dotted, &e));
        size_t n = strncmp(e.message, path, strlen(path)) == 0 ? strlen(path) : 0;
        assert_string_equal(e.message + n, cases[i].place);
        assert_int_equal(e.code, ERR_RECIPE);
    }
}

/* A list in a list in a list: libyaml alone takes half a minute over this. */
static void nesting_takes_no_time(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP + 4);
    assert_non_null(text);
    memcpy(text, "a: ", 3);
    memset(text + 3, '[', DEEP);
    memset(text + 3 + DEEP, ']', DEEP);
    text[2 * DEEP + 3] = 0;
    clock_t start = clock();
    expect_error(text, NULL, ":1:19: lists and mappings lie more than 16 deep");
    text[DEEP + 2] = '}'; /* nor is it waited for the place where it is wrong */
    expect_error(text, NULL, ":1:19: lists and mappings lie more than 16 deep");
    assert_true(clock() - start < CLOCKS_PER_SEC);
    free(text);
}

static void aliases_cannot_explode(void **state) {
    (void)state;
    Buffer b = {0};
    buffer_printf(&b, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        buffer_printf(&b, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++)
            buffer_printf(&b, "%s*a%d", j ? ", " : "", i - 1);
        buffer_printf(&b, "]\n");
    }
    Error e;
    assert_null(load(buffer_string(&b), NULL, &e));
    assert_int_equal(e.code, ERR_RECIPE);
    buffer_free(&b);
    buffer_printf(&b, MINIMAL "evaluate: {context: 1, text: &t [*t]}\n");
    assert_null(load(buffer_string(&b), NULL, &e));
    assert_int_equal(e.code, ERR_RECIPE);
    buffer_free(&b);
}

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_loads),
        cmocka_unit_test(one_needs_no_list),
        cmocka_unit_test(set_overrides_and_completes),
        cmocka_unit_test(mistakes_are_placed),
        cmocka_unit_test(numbers_have_ranges),
        cmocka_unit_test(outputs_are_checked),
        cmocka_unit_test(passes_are_checked),
        cmocka_unit_test(sets_are_checked),
        cmocka_unit_test(blame_finds_its_place),
        cmocka_unit_test(nesting_takes_no_time),
        cmocka_unit_test(aliases_cannot_explode),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
