/* Which releases of transformers and llama.cpp run what: data of families and carriers, and what is said of a
 * checkpoint. tests/peers/test_runtime_claims.py holds the data against the runtimes. */
#include "surgery/runtimes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/file_names.h"
#include "formats/json.h"
#include "surgery/carriers/carriers.h"
#include "surgery/families/families.h"

/* Two numbers that are plausible for a release of transformers, or for a month of llama.cpp. */
static void assert_since(Format format, const char *since, const char *name) {
    int major = 0, minor = -1, end = 0;
    const char *form = format == FORMAT_GGUF ? "%4d-%2d%n" : "%1d.%d%n";
    if (!since || sscanf(since, form, &major, &minor, &end) != 2 || since[end])
        fail_msg("%s: since '%s'", name, since ? since : "(none)");
    if (format == FORMAT_GGUF)
        assert_true(major >= 2023 && minor >= 1 && minor <= 12);
    else
        assert_true(major >= 4 && minor >= 0);
}

static void every_carrier_and_family_says_since_when(void **state) {
    (void)state;
    for (const Family *const *f = families; *f; f++) {
        bool custom = (*f)->hf.quirks & HF_CUSTOM_CODE;
        if (custom)
            assert_null((*f)->hf.since);
        else
            assert_since(FORMAT_HF, (*f)->hf.since, (*f)->name);
        assert_since(FORMAT_GGUF, (*f)->gguf.since, (*f)->name);
    }
    for (const Carrier *const *c = carriers; *c; c++) {
        if ((*c)->since) assert_since((*c)->format, (*c)->since, (*c)->name);
        assert_ptr_equal(carrier_by_name((*c)->format, (*c)->name), *c);
        /* A class or architecture of its own has a release of its own; the others have the family's. */
        if ((*c)->tensors) assert_non_null((*c)->since);
        for (const Family *const *f = families; *f; f++) {
            char text[200];
            const char *since = carrier_since(*c, *f);
            assert_since((*c)->format, since, (*c)->name);
            carrier_runtimes(*c, *f, text, sizeof text);
            assert_non_null(
                strstr(text, (*c)->format == FORMAT_GGUF ? "llama.cpp from " : "transformers from "));
        }
    }
    assert_null(carrier_by_name(FORMAT_GGUF, "smollm3"));
}

static void releases_are_compared_number_by_number(void **state) {
    (void)state;
    static const struct {
        const char *runtime, *since;
        bool runs;
        const char *why;
    } cases[] = {
        {"transformers 4.56", "4.9", true, ""},
        {"transformers 4.56", "4.56", true, ""},
        {"transformers 4.56", "4.57", false,
         "is too old: model_type x runs as intended from transformers 4.57 on"},
        {"transformers 4.56", "5.0", false,
         "is too old: model_type x runs as intended from transformers 5.0 on"},
        {"transformers 4.56", NULL, false, "has no model_type x: it is custom code"},
        {"transformers 5.23", "4.57", true, ""},
        {"transformers 5.23", "5.15", true, ""},
        {"transformers 5.23", "5.24", false,
         "is too old: model_type x runs as intended from transformers 5.24 on"},
        {"llama.cpp of October 2026", "4.9", false, "reads GGUF only (derope convert OUT OUT.gguf)"},
    };
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    checkpoint_set_file(c, CONFIG_FILE, "{\"model_type\": \"x\"}", 19);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Runtime *r = runtimes;
        while (strcmp(r->name, cases[i].runtime) != 0)
            r++;
        char why[200];
        assert_int_equal(runtime_runs(r, c, cases[i].since, why, sizeof why), cases[i].runs);
        assert_string_equal(why, cases[i].why);
    }
    checkpoint_close(c);
}

static void first_releases_in_words(void **state) {
    (void)state;
    static const struct {
        Format format;
        const char *since, *text;
    } cases[] = {{FORMAT_HF, "4.53", "transformers from 4.53"},
                 {FORMAT_GGUF, "2025-05", "llama.cpp from May 2025"},
                 {FORMAT_GGUF, "2023-12", "llama.cpp from December 2023"},
                 {FORMAT_HF, NULL, "no stock runtime"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        runtime_since_text(cases[i].format, cases[i].since, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_carrier_and_family_says_since_when),
        cmocka_unit_test(releases_are_compared_number_by_number),
        cmocka_unit_test(first_releases_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
