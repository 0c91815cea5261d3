/* Ids of special tokens beyond the vocabulary are left out of configurations and keys, each with a notice. */
#include "surgery/special_ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "formats/json.h"
#include "formats/meta.h"

static void ids_of_a_config(void **state) {
    (void)state;
    json_t *notices = json_array();
    json_t *config =
        json_pack("{s:i, s:[i, i, i], s:i, s:i, s:i, s:n}", "pad_token_id", 320, "eos_token_id", 2, 320, 999,
                  "bos_token_id", 319, "unk_token_id", -1, "vocab_size", 320, "sep_token_id");
    special_ids_limit_config(config, "config.json", 320, notices);
    json_t *expected = json_pack("{s:n, s:[i], s:i, s:i, s:i, s:n}", "pad_token_id", "eos_token_id", 2,
                                 "bos_token_id", 319, "unk_token_id", -1, "vocab_size", 320, "sep_token_id");
    assert_true(json_equal(config, expected));
    assert_int_equal(json_array_size(notices), 3);
    assert_string_equal(json_string_value(json_array_get(notices, 0)),
                        "config.json: pad_token_id 320 is left out: the vocabulary has 320 tokens");
    json_decref(config);
    json_decref(expected);
    json_decref(notices);
}

static void ids_of_a_gguf(void **state) {
    (void)state;
    json_t *notices = json_array();
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    meta_set_u32(c, "tokenizer.ggml.padding_token_id", 320);
    meta_set_u32(c, "tokenizer.ggml.eos_token_id", UINT32_MAX);
    meta_set_u32(c, "tokenizer.ggml.bos_token_id", 1);
    meta_set_u32(c, "other.padding_token_id", 999); /* somebody else's */
    special_ids_limit_keys(c, 320, notices);
    assert_null(meta_find(c, "tokenizer.ggml.padding_token_id"));
    assert_null(meta_find(c, "tokenizer.ggml.eos_token_id"));
    assert_non_null(meta_find(c, "tokenizer.ggml.bos_token_id"));
    assert_non_null(meta_find(c, "other.padding_token_id"));
    assert_int_equal(json_array_size(notices), 2);
    checkpoint_close(c);
    json_decref(notices);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_of_a_config), cmocka_unit_test(ids_of_a_gguf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
