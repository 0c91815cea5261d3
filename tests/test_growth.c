/* What hostile input may cost. The inputs are of sizes at which a cost that grows with the square of the
 * size, or a growth that multiplies, takes minutes or gigabytes; the bounds on processor time and memory are
 * so generous that neither a busy machine nor a sanitizer reaches them. */
#include <sys/resource.h>

#include "formats/file_names.h"
#include "formats/gguf.h"
#include "formats/gguf_write.h"
#include "formats/hf_write.h"
#include "surgery/tokenizer/tokenizer.h"
#include "tests/process.h"
#include "tests/text_model.h"

enum { SECONDS = 20 }; /* of processor time that one step may take; each takes below one here */

/* Processor time of this process and of its children that have ended, in seconds. */
static double processor_time(void) {
    double t = 0;
    int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int i = 0; i < 2; i++) {
        struct rusage u;
        assert_int_equal(getrusage(who[i], &u), 0);
        t += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
             (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    }
    return t;
}

/* The largest memory that an ended child had, in bytes. */
static double children_memory(void) {
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_CHILDREN, &u), 0);
    return (double)u.ru_maxrss * 1024;
}

static void assert_quick(double start, const char *what) {
    double t = processor_time() - start;
    if (t > SECONDS) fail_msg("%s took %.1f s of processor time", what, t);
}

/* ---- names ---- */

enum { NAMES = 200000 };

static void many_keys_and_tensors(void **state) {
    (void)state;
    double start = processor_time();
    Checkpoint *c = checkpoint_new(FORMAT_GGUF), *back = checkpoint_new(FORMAT_GGUF);
    Tensor empty = tensor_over(&c->arena, "", DTYPE_F32, 1, (uint64_t[]){0}, "");
    char name[32];
    Error e = {0};
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "name.%d", i);
        empty.name = name;
        checkpoint_add_tensor(c, &empty);
        meta_set_u32(c, name, (uint32_t)i);
    }
    assert_int_equal(c->n_meta, NAMES);
    /* Written and read again; every name is found. */
    const char *path = scratch_path("names.gguf");
    assert_true(gguf_write(c, path, &(WriteOptions){.force = true}, &e));
    if (!gguf_read(back, path, &e)) fail_msg("%s", e.message);
    for (uint32_t i = 0; i < NAMES; i++) {
        uint64_t v;
        snprintf(name, sizeof name, "name.%u", i);
        assert_true(meta_u64(back, name, &v) && v == i);
        assert_ptr_equal(checkpoint_find(back, name), &back->tensors[i]);
    }
    assert_quick(start, "a GGUF of 200000 keys and tensors");
    checkpoint_close(c);
    checkpoint_close(back);
}

static void names_of_one_hash(void **state) {
    (void)state;
    /* A table whose seed is known puts chosen names into one slot. Two tables have two seeds, so the places
     * of names differ between them, and the positions that they find do not. */
    NameTable a = {0}, b = {0};
    static const char *const names[] = {"", "a", "b", "ab", "model.layers.0.mlp.up_proj.weight"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(name_table_add(&a, names[i], i));
        assert_true(name_table_add(&b, names[i], i));
        assert_false(name_table_add(&b, names[i], 99));
    }
    assert_true(a.seed != b.seed);
    for (size_t i = 0; i < 5; i++)
        assert_true(name_table_find(&a, names[i]) == i && name_table_find(&b, names[i]) == i);
    assert_true(name_table_find(&a, "absent") == NAME_ABSENT);
    name_table_free(&a);
    name_table_free(&b);
    assert_true(name_table_find(&a, "a") == NAME_ABSENT);
}

/* An HF folder with this many side files and tensors besides the model, to a GGUF and back. */
static void many_tensors_to_gguf(void **state) {
    (void)state;
    Checkpoint *c = tiny_checkpoint(tiny_config, false);
    Tensor empty = tensor_over(&c->arena, "", DTYPE_F32, 1, (uint64_t[]){0}, "");
    char name[32];
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof name, "extra.%d", i);
        empty.name = name;
        checkpoint_add_tensor(c, &empty);
    }
    tiny_write(c, "extra");
    double start = processor_time();
    assert_ends(start_derope("convert extra extra.gguf"), 0, "");
    assert_ends(start_derope("verify extra.gguf"), 0, "");
    assert_ends(start_derope("convert extra.gguf extra2"), 0, "");
    assert_ends(start_derope("diff extra extra2"), 0, "");
    assert_quick(start, "a folder of 30000 tensors to a GGUF and back");
}

/* ---- tokenizers ---- */

/* Writes a folder "grows" whose tokenizer.json has these parts beside a model of single letters. */
static void write_tokenizer(const char *parts) {
    Buffer b = {0};
    buffer_printf(&b, "{%s\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}",
                  parts);
    tiny_write(tiny_checkpoint(tiny_config, false), "grows");
    scratch_file("grows/" TOKENIZER_FILE, b.data, b.size);
    buffer_free(&b);
}

/* Repeats `step`, an object of JSON, as the steps of a Sequence. */
static void repeat(Buffer *b, const char *part, const char *list, const char *step, int times) {
    buffer_printf(b, "\"%s\": {\"type\": \"Sequence\", \"%s\": [", part, list);
    for (int i = 0; i < times; i++)
        buffer_printf(b, "%s%s", i ? "," : "", step);
    buffer_printf(b, "]}, ");
}

/* Tokenizing 200 bytes with this normalizer, repeated, is refused, and takes neither time nor memory. */
static void assert_normalizer_refused(const char *step, int times) {
    Buffer b = {0};
    char text[201];
    memset(text, 'a', 200);
    text[200] = 0;
    repeat(&b, "normalizer", "normalizers", step, times);
    write_tokenizer(buffer_string(&b));
    scratch_text("text", text);
    double start = processor_time();
    assert_ends(start_derope("tokenize grows text"), 3, "times as long, beyond 6656 bytes");
    assert_quick(start, step);
    buffer_free(&b);
    run_shell("rm -rf grows");
}

static void normalizers_that_multiply(void **state) {
    (void)state;
    assert_normalizer_refused(
        "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aaaaaaaaa\"}", 16);
    assert_normalizer_refused(
        "{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\"}, \"content\": \"aaaaaaaaa\"}", 16);
    assert_normalizer_refused(
        "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Replace\", \"pattern\": {\"Regex\": "
        "\"[a ]\"}, \"content\": \"\\ufdfa\\ufdfaa\"}, {\"type\": \"NFKD\"}]}",
        8);
    /* A text that is put in front of every segment is charged to the segment. */
    Buffer b = {0};
    buffer_printf(&b, "{\"type\": \"Prepend\", \"prepend\": \"%07000d\"}", 0);
    assert_normalizer_refused(buffer_string(&b), 1);
    buffer_free(&b);
    assert_true(children_memory() < 1e9);
}

/* A charsmap that writes 2000 bytes for "a": units are those of a double array (charsmap.c). */
static void charsmaps_that_multiply(void **state) {
    (void)state;
    uint32_t units[256] = {0};
    units[0] = 1u << 10;                       /* the root; its children are at 1 ^ byte */
    units[1 ^ 'a'] = 'a' | 1u << 8 | 2u << 10; /* a node with a value, at its place ^ 2 */
    units[1 ^ 'a' ^ 2] = 1u << 31;             /* the value: offset 0 of the texts */
    Buffer map = {0};
    uint32_t size = sizeof units;
    buffer_append(&map, &size, sizeof size);
    buffer_append(&map, units, sizeof units);
    for (int i = 0; i < 2000; i++)
        buffer_byte(&map, 'a');
    buffer_byte(&map, 0);
    /* The keys of a unigram model in a GGUF, which applies the map to every character. */
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    meta_set_string(c, "tokenizer.ggml.model", "t5", 2);
    meta_set_string_array(c, "tokenizer.ggml.tokens", (const char *const[]){"a", "<unk>"}, (size_t[]){1, 5},
                          2);
    meta_set_array(c, "tokenizer.ggml.scores", META_F32, (float[]){-1, 0}, 2);
    meta_set_array(c, "tokenizer.ggml.token_type", META_I32, (int32_t[]){1, 2}, 2);
    meta_set_array(c, "tokenizer.ggml.precompiled_charsmap", META_U8, map.data, map.size);
    buffer_free(&map);
    Error e = {0};
    Tokenizer *t = tokenizer_open(c, &e);
    if (!t) fail_msg("%s", e.message);
    TokenList ids = {0};
    char text[200];
    memset(text, 'a', sizeof text);
    assert_false(tokenizer_encode(t, text, sizeof text, false, &ids, &e));
    assert_non_null(strstr(e.message, "normalizers make a text more than 32 times as long"));
    assert_int_equal(e.code, ERR_INPUT);
    token_list_free(&ids);
    tokenizer_close(t);
    checkpoint_close(c);
}

static void decoders_that_multiply(void **state) {
    (void)state;
    Buffer b = {0};
    repeat(&b, "decoder", "decoders",
           "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aaaa\"}", 3);
    write_tokenizer(buffer_string(&b));
    scratch_text("ids", "0 0 0");
    assert_ends(start_derope("detokenize grows ids"), 3, "more than 32 times as long; refused");
    run_shell("rm -rf grows");
    b.size = 0;
    repeat(&b, "decoder", "decoders",
           "{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aaaa\"}", 2);
    write_tokenizer(buffer_string(&b));
    assert_ends(start_derope("detokenize grows ids"), 0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    run_shell("rm -rf grows");
    buffer_free(&b);
}

/* Expressions whose time explodes, by backtracking from one place or from all places together. */
static void expressions_that_try_again(void **state) {
    (void)state;
    static const char *const expressions[] = {"(a|aa)+(?=[bc])", "a*a*a*a*[bc]", "(a*)*[bc]",
                                              "(?:a|b|ab)*?(?=[cd])", "(?=.*[bc]|.*[de])[bc]"};
    char text[20001];
    memset(text, 'a', 20000);
    text[20000] = 0;
    scratch_text("text", text);
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        Buffer b = {0};
        buffer_printf(&b,
                      "\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "
                      "{\"Regex\": \"%s\"}}, ",
                      expressions[i]);
        write_tokenizer(buffer_string(&b));
        double start = processor_time();
        assert_ends(start_derope("tokenize grows text"), 3, "more than 1000 steps for each byte; refused");
        assert_quick(start, expressions[i]);
        run_shell("rm -rf grows");
        buffer_free(&b);
    }
    /* Long expressions are refused before they are expanded. */
    Buffer b = {0};
    buffer_printf(&b,
                  "\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\", \"pattern\": "
                  "{\"Regex\": \"%017000d\"}}, ",
                  0);
    write_tokenizer(buffer_string(&b));
    assert_ends(start_derope("tokenize grows text"), 3, "has 17000 bytes, at most 16384 are supported");
    buffer_free(&b);
}

/* ---- recipes ---- */

/* A recipe that has `item` with numbers 0 to n - 1 between `head` and `tail`. */
static void assert_recipe(const char *head, const char *item, int n, const char *tail, const char *message) {
    Buffer b = {0};
    buffer_printf(&b, "%s", head);
    for (int i = 0; i < n; i++) {
        char text[100];
        snprintf(text, sizeof text, "%s%d", item, i);
        buffer_printf(&b, "%s%s", i ? "\n" : "", text);
    }
    buffer_printf(&b, "%s", tail);
    scratch_file("recipe.yaml", b.data, b.size);
    double start = processor_time();
    assert_ends(start_derope("plan recipe.yaml"), 4, message);
    assert_quick(start, message);
    buffer_free(&b);
}

static void recipes_of_many_things(void **state) {
    (void)state;
    assert_recipe("source: x\noutputs:\n", "- &a", 80000, "\n", "recipe.yaml:1003:3: more than 1000 anchors");
    assert_recipe("", "%TAG !e! tag:x,", 40000, "\n---\nsource: x\n",
                  "recipe.yaml:11:1: more than 10 directives");
    assert_recipe("source: x\noutputs:\n", "- path: o", 20000, "\n", "more than 1000 outputs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_keys_and_tensors),      cmocka_unit_test(names_of_one_hash),
        cmocka_unit_test(many_tensors_to_gguf),       cmocka_unit_test(normalizers_that_multiply),
        cmocka_unit_test(charsmaps_that_multiply),    cmocka_unit_test(decoders_that_multiply),
        cmocka_unit_test(expressions_that_try_again), cmocka_unit_test(recipes_of_many_things),
    };
    return cmocka_run_group_tests_name("growth", tests, NULL, scratch_remove);
}
