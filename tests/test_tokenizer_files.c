/* The tokenizer of a folder whose tokens stand in several files: added tokens, special tokens by name,
 * vocab.json with merges.txt, chat templates; and what becomes of them in a GGUF and back. What AutoTokenizer
 * and llama.cpp make of such folders is compared in tests/peers/test_tokenizer_folders.py. */
#include "formats/json.h"
#include "surgery/export.h"
#include "surgery/tokenizer/chat_templates.h"
#include "surgery/tokenizer/hf_tokenizer.h"
#include "surgery/tokenizer/tokenizer.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

/* Five tokens: a, b, ab, and two more that texts may name. */
#define VOCAB_JSON "{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3,\"c\":4}"
#define TOKENIZER(added, more)                                                                               \
    "{\"added_tokens\":[" added "]" more ",\"model\":{\"type\":\"BPE\",\"vocab\":" VOCAB_JSON                \
    ",\"merges\":[\"a b\"]}}"

/* A folder in memory; further pairs of name and content follow, up to NULL. */
static Checkpoint *folder(const char *name, ...) {
    Checkpoint *c = small_hf("\"model_type\": \"llama\"", 0);
    va_list ap;
    va_start(ap, name);
    for (; name; name = va_arg(ap, const char *)) {
        const char *text = va_arg(ap, const char *);
        checkpoint_set_file(c, name, text, strlen(text));
    }
    va_end(ap);
    return c;
}

/* The ids of a text as a line; special tokens are left out of what is put around it. */
static const char *ids_of(const Checkpoint *c, const char *text, bool special) {
    static char line[200];
    Error e = {0};
    TokenList ids = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    assert_true(tokenizer_encode(t, text, strlen(text), special, &ids, &e));
    *line = 0;
    for (size_t i = 0, at = 0; i < ids.n; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", ids.ids[i]);
    token_list_free(&ids);
    tokenizer_close(t);
    return line;
}

/* The added tokens as "text=id ", those that are special with "!". */
static const char *added_of(const Checkpoint *c) {
    static char line[300];
    Error e = {0};
    HfTokenizer t;
    if (!hf_tokenizer_read(c, &t, &e)) fail_msg("%s", e.message);
    size_t i, at = 0;
    json_t *token;
    *line = 0;
    json_array_foreach(json_object_get(t.root, "added_tokens"), i, token) at +=
        (size_t)snprintf(line + at, sizeof line - at, "%s%s=%lld ", json_get_string(token, "content"),
                         json_is_true(json_object_get(token, "special")) ? "!" : "",
                         (long long)json_integer_value(json_object_get(token, "id")));
    hf_tokenizer_free(&t);
    return line;
}

static void added_tokens_get_the_ids_of_hf(void **state) {
    (void)state;
    /* In the vocabulary: its id; otherwise behind all others, whatever the file states. */
    Checkpoint *c = folder("tokenizer.json",
                           TOKENIZER("{\"id\":30,\"content\":\"<far>\",\"special\":true},"
                                     "{\"id\":9,\"content\":\"b\"},{\"id\":7,\"content\":\"<near>\"}",
                                     ""),
                           NULL);
    assert_string_equal(added_of(c), "<far>!=5 b=1 <near>=6 ");
    assert_string_equal(ids_of(c, "ab<near><far>", false), "0 1 6 5");
    checkpoint_close(c);
    /* The same text twice: the later options count. */
    c = folder("tokenizer.json",
               TOKENIZER("{\"id\":5,\"content\":\"<x>\",\"special\":true},"
                         "{\"id\":5,\"content\":\"<x>\",\"special\":false,\"lstrip\":true}",
                         ""),
               NULL);
    assert_string_equal(added_of(c), "<x>=5 ");
    checkpoint_close(c);
}

static void tokens_of_other_files_count(void **state) {
    (void)state;
    static const char decoder[] =
        "{\"added_tokens_decoder\":{\"11\":{\"content\":\"<end>\",\"special\":true},"
        "\"9\":{\"content\":\"<start>\",\"special\":true}},\"eos_token\":\"<s>\","
        "\"pad_token\":{\"__type\":\"AddedToken\",\"content\":\"<pad>\"},\"bos_token\":null}";
    /* By id in added_tokens_decoder, then those that are named; special_tokens_map.json is not read then. */
    Checkpoint *c =
        folder("tokenizer.json", TOKENIZER("", ""), "tokenizer_config.json", decoder, "added_tokens.json",
               "{\"<no>\":20}", "special_tokens_map.json", "{\"bos_token\":\"<no>\"}", NULL);
    assert_string_equal(added_of(c), "<start>!=5 <end>!=6 <s>!=3 <pad>!=7 ");
    assert_string_equal(ids_of(c, "ab<start>a<end><s>", false), "2 5 0 6 3");
    checkpoint_close(c);
    /* Without added_tokens_decoder both older files are read, and the map wins over the configuration. */
    c = folder("tokenizer.json", TOKENIZER("", ""), "tokenizer_config.json", "{\"eos_token\":\"<s>\"}",
               "added_tokens.json", "{\"<end>\":6,\"<word>\":5}", "special_tokens_map.json",
               "{\"eos_token\":{\"content\":\"<end>\"},\"additional_special_tokens\":[\"<e>\"]}", NULL);
    assert_string_equal(added_of(c), "<word>=5 <end>!=6 <e>!=7 ");
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    assert_int_equal(tokenizer_eos(t), 6);
    tokenizer_close(t);
    checkpoint_close(c);
}

static void vocab_and_merges(void **state) {
    (void)state;
    Checkpoint *c =
        folder("vocab.json", VOCAB_JSON, "merges.txt", "#version: 0.2\na b\r\n", "tokenizer_config.json",
               "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"bos_token\":\"<s>\","
               "\"eos_token\":\"<s>\",\"unk_token\":\"<s>\",\"add_bos_token\":true}",
               NULL);
    assert_string_equal(ids_of(c, "abb<s>", true), "3 2 1 3");
    assert_string_equal(ids_of(c, "abb", false), "2 1");
    /* A GGUF gets the same tokens, and the folder made of it is the same again. */
    Error e = {0};
    Model *m = small_open(c);
    Checkpoint *out = model_export(m, &(ExportOptions){.format = FORMAT_GGUF}, NULL, &e);
    assert_non_null(out);
    assert_string_equal(meta_string(out, "tokenizer.ggml.pre", NULL), "gpt-2");
    assert_string_equal(ids_of(out, "abb<s>", true), "3 2 1 3");
    checkpoint_close(out);
    small_close(m);
    /* The class of Qwen 2 has no BOS and normalises; by default the model says which class it is. */
    c = folder("vocab.json", VOCAB_JSON, "merges.txt", "a b\n", "config.json", "{\"model_type\":\"qwen2\"}",
               NULL);
    assert_string_equal(added_of(c), "<|endoftext|>!=5 ");
    checkpoint_close(c);
}

static void damaged_files_are_named(void **state) {
    (void)state;
    static const struct {
        const char *file, *text, *message;
    } rows[] = {
        {"tokenizer_config.json", "{", "small/tokenizer_config.json:1:"},
        {"tokenizer_config.json", "[]", "small/tokenizer_config.json: is not a JSON object"},
        {"tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}",
         "added_tokens_decoder: 'x' is not an id, or has no content"},
        {"added_tokens.json", "{\"x\":\"y\"}", "small/added_tokens.json: the id of 'x' is not a number"},
        {"special_tokens_map.json", "[]", "small/special_tokens_map.json: is not a JSON object"},
        {"tokenizer.json", "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "merge 0 is not a pair"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Checkpoint *c = folder("tokenizer.json", TOKENIZER("", ""), rows[i].file, rows[i].text, NULL);
        Error e = {0};
        assert_null(tokenizer_open(c, &e));
        if (!strstr(e.message, rows[i].message))
            fail_msg("'%s' does not say '%s'", e.message, rows[i].message);
        checkpoint_close(c);
    }
    /* The two files of an unknown class, and a line that is no merge. */
    static const char *const configs[] = {"{\"tokenizer_class\":\"RobertaTokenizer\"}",
                                          "{\"tokenizer_class\":\"GPT2Tokenizer\"}"};
    static const char *const said[] = {"of the class RobertaTokenizer; of these files, derope reads",
                                       "small/merges.txt:2: 'a b c' is not a pair of tokens"};
    for (int i = 0; i < 2; i++) {
        Checkpoint *c = folder("vocab.json", VOCAB_JSON, "merges.txt", "a b\na b c\n",
                               "tokenizer_config.json", configs[i], NULL);
        Error e = {0};
        assert_null(tokenizer_open(c, &e));
        if (!strstr(e.message, said[i])) fail_msg("'%s' does not say '%s'", e.message, said[i]);
        checkpoint_close(c);
    }
}

/* What cannot be read is an error in a conversion as well; what a GGUF cannot hold is left out and named. */
static void conversion_to_gguf(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } rows[] = {{"{\"model\":{\"type\":\"BPE\"}}", "small/tokenizer.json: model.vocab is not an object"},
                {"[]", "small/tokenizer.json: model.vocab is not an object"},
                {"{\"model\":", "small/tokenizer.json:1:"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Model *m = small_open(folder("tokenizer.json", rows[i].json, NULL));
        Error e = {0};
        assert_null(model_export(m, &(ExportOptions){.format = FORMAT_GGUF}, NULL, &e));
        if (!strstr(e.message, rows[i].message))
            fail_msg("'%s' does not say '%s'", e.message, rows[i].message);
        small_close(m);
    }
    /* The vocabulary of the model has ten rows: ids 5 to 9 are there, two tokens have no row. */
    char added[700] = "{\"added_tokens_decoder\":{";
    for (int i = 0; i < 7; i++)
        snprintf(added + strlen(added), sizeof added - strlen(added),
                 "%s\"%d\":{\"content\":\"<|%c|>\",\"special\":%s}", i ? "," : "", 5 + i, 'p' + i,
                 i ? "false" : "true");
    strcat(added, "},\"eos_token\":\"<|p|>\"}");
    Model *m = small_open(folder("tokenizer.json", TOKENIZER("", ""), "tokenizer_config.json", added, NULL));
    ExportReport report = {0};
    Error e = {0};
    Checkpoint *out = model_export(m, &(ExportOptions){.format = FORMAT_GGUF}, &report, &e);
    if (!out) fail_msg("%s", e.message);
    bool told = false;
    for (size_t i = 0; i < json_array_size(report.notices); i++)
        told |= strstr(json_string_value(json_array_get(report.notices, i)),
                       "2 added tokens are left out of the GGUF (first '<|u|>' with id 10)") != NULL;
    assert_true(told);
    uint64_t id, cursor = 0;
    size_t n;
    const char *text;
    assert_true(meta_u64(out, "tokenizer.ggml.eos_token_id", &id));
    assert_int_equal(id, 5);
    const MetaEntry *tokens = meta_find(out, "tokenizer.ggml.tokens");
    assert_int_equal(tokens->count, VOCAB);
    for (int i = 0; i <= 5; i++)
        assert_true(meta_array_string(tokens, &cursor, &text, &n));
    assert_true(n == 5 && memcmp(text, "<|p|>", 5) == 0);
    /* Control tokens by their look, as llama.cpp's converter has it: <|q|> is not special in the folder. */
    double type;
    assert_true(meta_array_f64(meta_find(out, "tokenizer.ggml.token_type"), 6, &type) && type == 3);
    checkpoint_close(out);
    export_report_free(&report);
    small_close(m);
}

/* ---- chat templates ---- */

/* The templates as "name=text ". */
static const char *templates_of(const Checkpoint *c) {
    static char line[300];
    Error e = {0};
    json_t *all = chat_templates_read(c, &e), *text;
    if (!all) fail_msg("%s", e.message);
    const char *name;
    size_t at = 0;
    *line = 0;
    json_object_foreach(all, name, text) at +=
        (size_t)snprintf(line + at, sizeof line - at, "%s=%s ", name, json_string_value(text));
    json_decref(all);
    return line;
}

static void templates_of_every_place(void **state) {
    (void)state;
    static const struct {
        const char *files[3][2], *expected;
    } rows[] = {
        {{{"chat_template.jinja", "J"}, {"tokenizer_config.json", "{\"chat_template\":\"C\"}"}},
         "default=J "},
        {{{"tokenizer_config.json", "{\"chat_template\":\"C\"}"},
          {"chat_template.json", "{\"chat_template\":\"X\"}"}},
         "default=C "},
        {{{"chat_template.json", "{\"chat_template\":\"X\"}"}}, "default=X "},
        {{{"tokenizer_config.json", "{\"chat_template\":[{\"name\":\"default\",\"template\":\"C\"},{\"name\":"
                                    "\"tool-use\",\"template\":\"T\"}]}"}},
         "default=C tool-use=T "},
        {{{"chat_template.jinja", "J"},
          {"additional_chat_templates/rag.jinja", "R"},
          {"additional_chat_templates/notes.txt", "no"}},
         "rag=R default=J "},
        {{{"additional_chat_templates/rag.jinja", "R"},
          {"tokenizer_config.json", "{\"chat_template\":\"C\"}"}},
         "rag=R "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Checkpoint *c = folder(NULL);
        for (int k = 0; k < 3 && rows[i].files[k][0]; k++)
            checkpoint_set_file(c, rows[i].files[k][0], rows[i].files[k][1], strlen(rows[i].files[k][1]));
        assert_string_equal(templates_of(c), rows[i].expected);
        checkpoint_close(c);
    }
    Checkpoint *c = folder("chat_template.jinja", "\xff", NULL);
    Error e = {0};
    assert_null(chat_templates_read(c, &e));
    assert_string_equal(e.message, "small: chat_template.jinja: the chat template is not UTF-8");
    checkpoint_close(c);
}

static void templates_reach_the_gguf_and_come_back(void **state) {
    (void)state;
    Error e = {0};
    Model *m = small_open(folder("tokenizer.json", TOKENIZER("", ""), "chat_template.jinja", "J",
                                 "additional_chat_templates/tool-use.jinja", "T", "notes/more/READ.txt",
                                 "kept", NULL));
    Checkpoint *out = model_export(m, &(ExportOptions){.format = FORMAT_GGUF}, NULL, &e);
    assert_non_null(out);
    assert_string_equal(meta_string(out, "tokenizer.chat_template", NULL), "J");
    assert_string_equal(meta_string(out, "tokenizer.chat_template.tool_use", NULL), "T");
    uint64_t cursor = 0;
    size_t n;
    const char *text;
    const MetaEntry *names = meta_find(out, "tokenizer.chat_templates");
    assert_int_equal(names->count, 1);
    assert_true(meta_array_string(names, &cursor, &text, &n));
    assert_true(n == 8 && memcmp(text, "tool_use", 8) == 0);
    assert_string_equal(templates_of(out), "tool_use=T default=J ");
    /* From our own GGUF the files come back, from a plain one the templates do. */
    Model *again = small_open(out);
    Checkpoint *back = model_export(again, &(ExportOptions){.format = FORMAT_HF}, NULL, &e);
    assert_string_equal(templates_of(back), "tool-use=T default=J ");
    assert_non_null(checkpoint_file(back, "notes/more/READ.txt"));
    checkpoint_close(back);
    model_close(again);
    for (size_t i = out->n_meta; i-- > 0;)
        if (strncmp(out->meta[i].key, "derope.", 7) == 0) meta_remove(out, out->meta[i].key);
    again = small_open(out);
    back = model_export(again, &(ExportOptions){.format = FORMAT_HF}, NULL, &e);
    assert_string_equal(templates_of(back), "tool_use=T default=J ");
    checkpoint_close(back);
    model_close(again);
    checkpoint_close(out);
    small_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_tokens_get_the_ids_of_hf),
        cmocka_unit_test(tokens_of_other_files_count),
        cmocka_unit_test(vocab_and_merges),
        cmocka_unit_test(damaged_files_are_named),
        cmocka_unit_test(conversion_to_gguf),
        cmocka_unit_test(templates_of_every_place),
        cmocka_unit_test(templates_reach_the_gguf_and_come_back),
    };
    return cmocka_run_group_tests_name("tokenizer files", tests, NULL, NULL);
}
