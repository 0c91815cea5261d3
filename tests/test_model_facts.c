/* Licence, languages, tags and sampling between the files of a folder and the keys of a GGUF. */
#include "formats/front_matter.h"
#include "formats/json.h"
#include "surgery/export.h"
#include "surgery/model_facts.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

/* The front matter of a card as JSON on one line; "! message" if it is refused. */
static const char *front_of(const char *text, size_t n) {
    static Buffer line;
    Error e = {0};
    SideFile card = {.name = "README.md", .bytes = (const uint8_t *)text, .size = n};
    json_t *front = front_matter_read(&card, &e);
    line.size = 0;
    if (front)
        json_print(front, 0, &line);
    else
        buffer_printf(&line, "! %s", e.message);
    json_decref(front);
    return buffer_string(&line);
}

static void front_matter(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"---\nlicense: mit\ntags:\n- a\n- 1\n- true\n---\n# x",
         "{\"license\": \"mit\", \"tags\": [\"a\", \"1\", true]}"},
        {"\xef\xbb\xbf---\r\nlicense: null\r\nlanguage: 'no'\r\n---\r\n", "{\"language\": \"no\"}"},
        {"---\na: {b: [c, d], e: f}\ng: [[h], i, {j: k}]\nl: m\n---\n", "{\"g\": [\"i\"], \"l\": \"m\"}"},
        {"---\na: &x [b]\nc: *x\nd: e\n---\n", "{\"a\": [\"b\"], \"d\": \"e\"}"},
        {"# no front matter", "{}"},
        {"---\nno end", "{}"},
        {"---\na: [b\n---\n", "! front matter of README.md:"},
        {"---\na: [[[[[[[[[[[[[[[[[[b]]]]]]]]]]]]]]]]]]\n---\n", "! front matter of README.md:1:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *found = front_of(rows[i][0], strlen(rows[i][0]));
        size_t n = *rows[i][1] == '!' ? strlen(rows[i][1]) : SIZE_MAX;
        if (n == SIZE_MAX)
            assert_string_equal(found, rows[i][1]);
        else if (strncmp(found, rows[i][1], n) != 0)
            fail_msg("'%s' does not begin with '%s'", found, rows[i][1]);
    }
}

static void card_and_sampling_reach_the_gguf_and_come_back(void **state) {
    (void)state;
    static const char card[] =
        "---\nlicense: apache-2.0\nlicense_link: https://x/y\nlanguage: en\ntags: [chat]\n"
        "pipeline_tag: text-generation\n---\n# Card\n",
                      generation[] = "{\"temperature\": 0.7, \"top_k\": 20, \"eos_token_id\": [2, 3]}";
    Error e = {0};
    Checkpoint *source = small_hf("\"model_type\": \"llama\"", 0);
    checkpoint_set_file(source, "README.md", card, strlen(card));
    checkpoint_set_file(source, "generation_config.json", generation, strlen(generation));
    Model *m = small_open(source);
    Checkpoint *gguf = model_export(m, &(ExportOptions){.format = FORMAT_GGUF}, NULL, &e);
    if (!gguf) fail_msg("%s", e.message);
    assert_string_equal(meta_string(gguf, "general.license", NULL), "apache-2.0");
    assert_string_equal(meta_string(gguf, "general.license.link", NULL), "https://x/y");
    assert_int_equal(meta_find(gguf, "general.languages")->count, 1);
    assert_int_equal(meta_find(gguf, "general.tags")->count, 2);
    double temperature;
    uint64_t top_k;
    assert_true(meta_f64(gguf, "general.sampling.temp", &temperature) && (float)temperature == 0.7f);
    assert_true(meta_u64(gguf, "general.sampling.top_k", &top_k) && top_k == 20);
    /* As somebody else's GGUF, with a token that ends a turn and one that the model does not have. */
    for (size_t i = gguf->n_meta; i-- > 0;)
        if (strncmp(gguf->meta[i].key, "derope.", 7) == 0) meta_remove(gguf, gguf->meta[i].key);
    meta_set_u32(gguf, "tokenizer.ggml.eos_token_id", 2);
    meta_set_u32(gguf, "tokenizer.ggml.eot_token_id", 3);
    meta_set_u32(gguf, "tokenizer.ggml.padding_token_id", 999);
    Model *again = small_open(gguf);
    Checkpoint *back = model_export(again, &(ExportOptions){.format = FORMAT_HF}, NULL, &e);
    if (!back) fail_msg("%s", e.message);
    json_t *said = model_facts_read(back, &e);
    json_t *expected = json_pack("{s:s, s:s, s:[s], s:[s, s]}", "license", "apache-2.0", "license_link",
                                 "https://x/y", "language", "en", "tags", "chat", "text-generation");
    assert_true(json_equal(said, expected));
    json_decref(said);
    json_decref(expected);
    json_t *made = checkpoint_json(back, "generation_config.json", &e);
    expected = json_pack("{s:[i, i], s:i, s:f, s:b}", "eos_token_id", 2, 3, "top_k", 20, "temperature", 0.7,
                         "do_sample", 1);
    assert_true(json_equal(made, expected));
    json_decref(made);
    json_decref(expected);
    checkpoint_close(back);
    model_close(again);
    checkpoint_close(gguf);
    small_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(front_matter),
        cmocka_unit_test(card_and_sampling_reach_the_gguf_and_come_back),
    };
    return cmocka_run_group_tests_name("model facts", tests, NULL, NULL);
}
