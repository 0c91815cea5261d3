/* Ends of strings, valid UTF-8 and slashes at the end of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/text.h"

static void ends(void **state) {
    (void)state;
    assert_true(text_ends_with("model.gguf", ".gguf"));
    assert_true(text_ends_with(".gguf", ".gguf"));
    assert_true(text_ends_with("model.gguf", ""));
    assert_false(text_ends_with("gguf", ".gguf"));
    assert_false(text_ends_with("model.GGUF", ".gguf"));
    assert_false(text_ends_with("model.gguf/", ".gguf"));
}

static void utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n, valid;
    } cases[] = {
        {"", 0, 0},
        {"plain text", 10, 10},
        {"a\0b", 3, 3},                                 /* a zero byte is a character */
        {"\xc3\xa9\xe2\x96\x81\xf0\x9f\x98\x80", 9, 9}, /* two, three and four bytes */
        {"12345678\xff", 9, 8},                         /* after eight bytes at once */
        {"1234567\xc3\xa9", 9, 9},                      /* across the first eight bytes */
        {"ab\xc3", 3, 2},                               /* cut off */
        {"a\x80", 2, 1},                                /* a continuation alone */
        {"\xc0\xaf", 2, 0},                             /* overlong */
        {"\xed\xa0\x80", 3, 0},                         /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0},                     /* above U+10FFFF */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(text_utf8_prefix(cases[i].text, cases[i].n), cases[i].valid);
        assert_int_equal(text_is_utf8(cases[i].text, cases[i].n), cases[i].valid == cases[i].n);
    }
}

static void slashes(void **state) {
    (void)state;
    assert_int_equal(path_length("model"), 5);
    assert_int_equal(path_length("model/"), 5);
    assert_int_equal(path_length("a/model///"), 7);
    assert_int_equal(path_length("/"), 1);
    assert_int_equal(path_length("//"), 1);
    assert_int_equal(path_length(""), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends),
        cmocka_unit_test(utf8),
        cmocka_unit_test(slashes),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
