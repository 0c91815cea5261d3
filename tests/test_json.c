/* Tests of formats/json.h: integers beyond 64 bits, which jansson refuses but published files contain, and
 * numbers that are printed as they were read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

static json_t *parse(const char *text, Error *e) {
    *e = (Error){0};
    return json_parse("x.json", text, strlen(text), e);
}

static void expect_print(const char *in, const char *out) {
    Error e;
    json_t *v = parse(in, &e);
    if (!v) fail_msg("%s", e.message);
    Buffer b = {0};
    json_print(v, 0, &b);
    assert_string_equal(buffer_string(&b), out);
    buffer_free(&b);
    json_decref(v);
}

static void numbers_stay(void **state) {
    (void)state;
    expect_print("[1e-05, 1e-06, 0.1, 100000.0, 1e30, 1.5, -0.02, 0.30000000000000004, 3, -7]",
                 "[1e-05, 1e-06, 0.1, 100000.0, 1e+30, 1.5, -0.02, 0.30000000000000004, 3, -7]");
    expect_print("[500000.0, 123456.789, 1e15, 1e16, 0.0001]",
                 "[500000.0, 123456.789, 1000000000000000.0, 1e+16, 0.0001]");
}

static void long_integers_become_reals(void **state) {
    (void)state;
    expect_print(
        "{\"model_max_length\": 1000000000000000019884624838656, \"a\": \"12345678901234567890123\"}",
        "{\"model_max_length\": 1e+30, \"a\": \"12345678901234567890123\"}");
    expect_print("[-99999999999999999999, 9223372036854775807]", "[-1e+20, 9223372036854775807]");
}

static void order_and_text_stay(void **state) {
    (void)state;
    expect_print("{\"b\": 1, \"a\": [true, false, null, {}], \"c\": \"\\u00e9\\n\\\"\\\\\"}",
                 "{\"b\": 1, \"a\": [true, false, null, {}], \"c\": \"\xc3\xa9\\n\\\"\\\\\"}");
    Error e;
    json_t *v = parse("{\"a\": [1, 2], \"b\": {}}", &e);
    Buffer b = {0};
    json_print(v, 2, &b);
    assert_string_equal(buffer_string(&b), "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
    buffer_free(&b);
    json_decref(v);
}

static void expect_error(const char *text, const char *message) {
    Error e;
    json_t *v = parse(text, &e);
    assert_null(v);
    assert_int_equal(e.code, ERR_INPUT);
    if (!strstr(e.message, message)) fail_msg("'%s' does not contain '%s'", e.message, message);
}

static void mistakes_have_places(void **state) {
    (void)state;
    expect_error("{\"a\": 1,\n \"b\": }", "x.json:2:7: not valid JSON");
    expect_error("{\"a\": 1, \"a\": 2}", "duplicate");
    expect_error("", "x.json:1:0");
    expect_error("[1, 2", "x.json:1:5");
    expect_error("\"\xff\"", "unable to decode byte 0xff");
}

static void depth_is_bounded(void **state) {
    (void)state;
    char *deep = malloc(200001);
    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    deep[200000] = 0;
    expect_error(deep, "x.json:1:");
    free(deep);
}

static void getters_check_types(void **state) {
    (void)state;
    Error e;
    json_t *o = parse("{\"n\": 5, \"x\": 1.5, \"minus\": -1, \"t\": true, \"s\": \"text\", \"z\": null}", &e);
    uint64_t n;
    double x;
    bool t;
    assert_true(json_get_u64(o, "n", &n) && n == 5);
    assert_false(json_get_u64(o, "minus", &n) || json_get_u64(o, "x", &n) || json_get_u64(o, "none", &n));
    assert_true(json_get_f64(o, "x", &x) && x == 1.5 && json_get_f64(o, "n", &x) && x == 5);
    assert_false(json_get_f64(o, "s", &x) || json_get_bool(o, "n", &t));
    assert_true(json_get_bool(o, "t", &t) && t);
    assert_string_equal(json_get_string(o, "s"), "text");
    assert_null(json_get_string(o, "z"));
    json_decref(o);
}

static void assert_text(const char *bytes, const char *expected) {
    json_t *text = json_text(bytes);
    assert_string_equal(json_string_value(text), expected);
    json_decref(text);
}

/* File names are bytes and need not be valid UTF-8. */
static void any_bytes_become_text(void **state) {
    (void)state;
    assert_text("", "");
    assert_text("na\xc3\xafve", "na\xc3\xafve");
    assert_text("a\xff"
                "b",
                "a\xef\xbf\xbd"
                "b");
    assert_text("\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd");
    assert_text("\xed\xa0\x80.", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay),          cmocka_unit_test(long_integers_become_reals),
        cmocka_unit_test(order_and_text_stay),   cmocka_unit_test(mistakes_have_places),
        cmocka_unit_test(depth_is_bounded),      cmocka_unit_test(getters_check_types),
        cmocka_unit_test(any_bytes_become_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
