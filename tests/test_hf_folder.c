/* Tests of formats/hf_folder.h and formats/hf_write.h: folders with one file of weights or with shards,
 * folders that contradict themselves, and what the writer produces. */
#include <signal.h>
#include <sys/resource.h>

#include "formats/hf_write.h"
#include "formats/json.h"
#include "tests/scratch.h"

/* Writes a safetensors file of U8 tensors with two bytes each, one for each character of `names`, which is
 * its name. */
static void shard(const char *path, const char *names) {
    Buffer header = {0}, file = {0};
    for (size_t i = 0; names[i]; i++)
        buffer_printf(&header, "%c\"%c\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%zu,%zu]}",
                      i ? ',' : '{', names[i], 2 * i, 2 * i + 2);
    buffer_byte(&header, '}');
    uint64_t size = header.size;
    buffer_append(&file, &size, sizeof size);
    buffer_append(&file, header.data, header.size);
    for (size_t i = 0; names[i]; i++)
        buffer_printf(&file, "%c%c", names[i], names[i]);
    scratch_file(path, file.data, file.size);
    buffer_free(&header);
    buffer_free(&file);
}

/* Makes the folder `name` with two shards: tensors a and b in the first, c in the second. */
static void sharded(const char *name, const char *index) {
    char path[200];
    scratch_folder(name);
    snprintf(path, sizeof path, "%s/one.safetensors", name);
    shard(path, "ab");
    snprintf(path, sizeof path, "%s/two.safetensors", name);
    shard(path, "c");
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", name);
    scratch_text(path, index);
}

static const char good_index[] = "{\"metadata\":{\"total_size\":6},\"weight_map\":{\"c\":\"two.safetensors\","
                                 "\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}";

static void reads_side_files_and_leaves_out_weights(void **state) {
    (void)state;
    scratch_folder("one");
    shard("one/model.safetensors", "xy");
    static const char *const kept[] = {
        "LICENSE",    "chat_template.jinja", "config.json",    "generation_config.json",
        "merges.txt", "tokenizer.json",      "tokenizer.model"};
    static const char *const left[] = {
        ".gitattributes", "adapter.safetensors", "pytorch_model.bin", "x.pt",        "x.pth",
        "x.gguf",         "x.bin.index.json",    "model.onnx",        "tf_model.h5", "flax_model.msgpack",
        "rust_model.ot"};
    char path[100];
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        snprintf(path, sizeof path, "one/%s", kept[i]);
        scratch_text(path, kept[i]);
    }
    scratch_text("one/config.json", " {\"a\": 1}\n");
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "one/%s", left[i]);
        scratch_text(path, "not ours");
    }
    scratch_folder("one/folder");
    assert_int_equal(symlink("/nowhere/at/all", scratch_path("one/dangling.txt")), 0);

    Checkpoint *c = opened(scratch_path("one"));
    assert_int_equal(c->n_tensors, 2);
    assert_int_equal(c->n_files, sizeof kept / sizeof *kept);
    for (size_t i = 0; i < c->n_files; i++)
        assert_string_equal(c->files[i].name, kept[i]);
    const SideFile *f = checkpoint_file(c, "config.json");
    assert_int_equal(f->size, 10);
    assert_memory_equal(f->bytes, " {\"a\": 1}\n", 10);
    assert_null(checkpoint_file(c, "x.pt"));
    Error e = {0};
    json_t *config = checkpoint_json(c, "config.json", &e);
    assert_int_equal(json_integer_value(json_object_get(config, "a")), 1);
    json_decref(config);
    checkpoint_close(c);
}

static void reads_shards_that_the_index_names(void **state) {
    (void)state;
    sharded("sharded", good_index);
    shard("sharded/unnamed.safetensors", "z");
    Checkpoint *c = opened(scratch_path("sharded"));
    assert_int_equal(c->n_tensors, 3);
    assert_string_equal(c->tensors[0].name, "a");
    assert_memory_equal(tensor_map(checkpoint_find(c, "c")), "cc", 2);
    checkpoint_close(c);
    shard("sharded/model.safetensors", "q"); /* a whole file is preferred */
    c = opened(scratch_path("sharded"));
    assert_int_equal(c->n_tensors, 1);
    checkpoint_close(c);
}

static void follows_links_as_the_hub_cache_has_them(void **state) {
    (void)state;
    scratch_folder("blobs");
    scratch_folder("snapshot");
    shard("blobs/1234", "a");
    scratch_text("blobs/5678", "{}");
    assert_int_equal(symlink("../blobs/1234", scratch_path("snapshot/model.safetensors")), 0);
    assert_int_equal(symlink("../blobs/5678", scratch_path("snapshot/config.json")), 0);
    Checkpoint *c = opened(scratch_path("snapshot"));
    assert_int_equal(c->n_tensors, 1);
    assert_int_equal(c->n_files, 1);
    checkpoint_close(c);
}

/* Folders beside the weights belong to the model, but for other models and their weights. */
static void carries_folders_beside_the_weights(void **state) {
    (void)state;
    static const char *const folders[] = {"nested",      "nested/additional_chat_templates",
                                          "nested/a",    "nested/a/b",
                                          "nested/.git", "nested/checkpoint-500",
                                          "nested/lora", "nested/original"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        scratch_folder(folders[i]);
    shard("nested/model.safetensors", "x");
    scratch_text("nested/additional_chat_templates/rag.jinja", "R");
    scratch_text("nested/a/b/c.txt", "c");
    scratch_text("nested/.git/config", "not ours");
    scratch_text("nested/checkpoint-500/config.json", "{}");
    scratch_text("nested/lora/adapter_config.json", "{}");
    scratch_text("nested/original/params.json", "{}");
    scratch_text("nested/original/consolidated.00.pth", "weights");
    assert_int_equal(symlink("..", scratch_path("nested/a/loop")), 0);
    Checkpoint *c = opened(scratch_path("nested"));
    static const char *const kept[] = {"a/b/c.txt", "additional_chat_templates/rag.jinja",
                                       "original/params.json"};
    assert_int_equal(c->n_files, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(c->files[i].name, kept[i]);
    assert_string_equal(c->not_carried, "checkpoint-500, lora, original/consolidated.00.pth");
    assert_refused(scratch_path("nested/lora"), "lora: an adapter (adapter_config.json), which is no model");
    /* They are written where they were. */
    Error e = {0};
    assert_true(hf_write(c, scratch_path("carried"), &(WriteOptions){0}, &e));
    assert_file("carried/a/b/c.txt", "c", 1);
    assert_file("carried/additional_chat_templates/rag.jinja", "R", 1);
    assert_file("carried/original/params.json", "{}", 2);
    /* No name leads out of the folder. */
    static const char *const names[] = {"../x", "a/../../x", "a//x", "/x", "a/.x", "a\\x", "1/2/3/4/5/x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        checkpoint_set_file(c, names[i], "x", 1);
        assert_false(hf_write(c, scratch_path("out of it"), &(WriteOptions){0}, &e));
        assert_non_null(strstr(e.message, "not a plain file name"));
        checkpoint_remove_file(c, names[i]);
    }
    checkpoint_close(c);
    /* A file that decides what the model is must not vanish silently. */
    assert_int_equal(symlink("/nowhere", scratch_path("nested/tokenizer.json")), 0);
    assert_refused(scratch_path("nested"), "tokenizer.json: cannot be read: No such file");
}

static void refuses_wrong_indexes(void **state) {
    (void)state;
#define MAP(rest) "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"" rest "}}"
    static const struct {
        const char *index, *says;
    } cases[] = {
        {"", "index.json:1:"},
        {"{\"weight_map\": nonsense}", "model.safetensors.index.json:1:23: not valid JSON"},
        {"[]", "has no weight_map"},
        {"{\"weight_map\":[]}", "has no weight_map"},
        {"{\"weight_map\":{\"c\":7}}", "the shard of tensor 'c', '(not a string)', is not a file name"},
        {"{\"weight_map\":{\"c\":\"\"}}", "the shard of tensor 'c', '', is not a file name"},
        {"{\"weight_map\":{\"c\":\"/etc/passwd\"}}", "'/etc/passwd', is not a file name"},
        {"{\"weight_map\":{\"c\":\"../one.safetensors\"}}", "'../one.safetensors', is not a file name"},
        {"{\"weight_map\":{\"c\":\"..\"}}", "'..', is not a file name"},
        {"{\"weight_map\":{\"c\":\"a\\\\b\"}}", "'a\\b', is not a file name"},
        {"{\"weight_map\":{\"c\":\"three.safetensors\"}}", "three.safetensors: No such file"},
        {MAP(""), "0 bytes"}, /* replaced below */
        {MAP(",\"c\":\"one.safetensors\""), "tensor 'c' is not in one.safetensors"},
        {MAP(",\"d\":\"two.safetensors\",\"c\":\"two.safetensors\""), "tensor 'd' is not in two.safetensors"},
        {MAP(",\"d\":\"two.safetensors\""), "tensor 'c' of two.safetensors is not in the index"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two.safetensors\"}}",
         "tensor 'b' should be in two.safetensors but is in one.safetensors"},
        {MAP(",\"b\":\"two.safetensors\""), "duplicate object key"},
    };
    sharded("wrong", good_index);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_text("wrong/model.safetensors.index.json", cases[i].index);
        if (strcmp(cases[i].index, MAP("")) == 0)
            checkpoint_close(opened(scratch_path("wrong"))); /* an index of fewer shards is right */
        else
            assert_refused(scratch_path("wrong"), cases[i].says);
    }
#undef MAP
}

static void refuses_folders_without_usable_weights(void **state) {
    (void)state;
    scratch_folder("bare");
    scratch_text("bare/config.json", "{}");
    assert_refused(scratch_path("bare"), "no weights here (expected model.safetensors,");
    scratch_text("bare/model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    assert_refused(scratch_path("bare"), "bare/model.safetensors: a Git LFS pointer");
    scratch_file("bare/model.safetensors", "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_refused(scratch_path("bare"), "a GGUF file; give the path of the file, not of its folder");
}

static void survives_every_damage_of_the_index(void **state) {
    (void)state;
    sharded("damaged", good_index);
    assert_every_damage_sound("damaged", "damaged/model.safetensors.index.json", (const uint8_t *)good_index,
                              sizeof good_index - 1);
}

/* ---- writing ---- */

static const uint8_t values[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static void add(Checkpoint *c, const char *name, DType dtype, uint64_t n) {
    Tensor t = tensor_over(&c->arena, name, dtype, 1, &n, values);
    checkpoint_add_tensor(c, &t);
}

static void writes_one_file_as_the_format_says(void **state) {
    (void)state;
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "b", DTYPE_F32, 2);
    add(c, "abcde", DTYPE_F16, 3);
    checkpoint_set_file(c, "config.json", "{}", 2);
    checkpoint_set_file(c, "derope.json", "kept", 4); /* as nothing replaces it */
    assert_true(hf_write(c, scratch_path("out1"), &(WriteOptions){0}, &e));
    checkpoint_close(c);
    static const char expected[] =
        "\xa8\0\0\0\0\0\0\0{\"__metadata__\": {\"format\": \"pt\"}, "
        "\"b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, "
        "\"abcde\": {\"dtype\": \"F16\", \"shape\": [3], \"data_offsets\": [8, 14]}}       "
        "\1\2\3\4\5\6\7\10\1\2\3\4\5\6";
    assert_file("out1/model.safetensors", expected, sizeof expected - 1);
    assert_file("out1/config.json", "{}", 2);
    assert_file("out1/derope.json", "kept", 4);
    assert_int_equal(entries_in("out1"), 3);
}

static void writes_shards_and_their_index(void **state) {
    (void)state;
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "d", DTYPE_U8, 4);
    add(c, "c", DTYPE_U8, 6);
    add(c, "b", DTYPE_U8, 20); /* more than a shard: one of its own */
    add(c, "a", DTYPE_U8, 1);
    c->st_metadata = json_pack("{s:s, s:s}", "format", "np", "note", "kept");
    assert_true(hf_write(c, scratch_path("out2"), &(WriteOptions){.max_shard_size = 10}, &e));
    checkpoint_close(c);
    static const char index[] = "{\n  \"metadata\": {\n    \"total_size\": 31\n  },\n  \"weight_map\": {\n"
                                "    \"a\": \"model-00003-of-00003.safetensors\",\n"
                                "    \"b\": \"model-00002-of-00003.safetensors\",\n"
                                "    \"c\": \"model-00001-of-00003.safetensors\",\n"
                                "    \"d\": \"model-00001-of-00003.safetensors\"\n  }\n}\n";
    assert_file("out2/model.safetensors.index.json", index, sizeof index - 1);
    assert_int_equal(entries_in("out2"), 4);
    c = opened(scratch_path("out2"));
    assert_int_equal(c->n_tensors, 4);
    assert_string_equal(c->tensors[0].name, "d");
    assert_int_equal(json_object_size(c->st_metadata), 2);
    assert_string_equal(json_string_value(json_object_get(c->st_metadata, "format")), "np");
    assert_true(hf_write(c, scratch_path("out3"), &(WriteOptions){.max_shard_size = 10}, &e));
    checkpoint_close(c);
    assert_same_file("out3/model.safetensors.index.json", "out2/model.safetensors.index.json");
    assert_same_file("out3/model-00001-of-00003.safetensors", "out2/model-00001-of-00003.safetensors");
    assert_same_file("out3/model-00002-of-00003.safetensors", "out2/model-00002-of-00003.safetensors");
    assert_same_file("out3/model-00003-of-00003.safetensors", "out2/model-00003-of-00003.safetensors");
}

static void gives_a_wide_first_tensor_a_shard(void **state) {
    (void)state;
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "wide", DTYPE_U8, 20);
    add(c, "small", DTYPE_U8, 4);
    assert_true(hf_write(c, scratch_path("out6"), &(WriteOptions){.max_shard_size = 10}, &e));
    checkpoint_close(c);
    assert_int_equal(entries_in("out6"), 3);
    c = opened(scratch_path("out6"));
    assert_int_equal(c->n_tensors, 2);
    checkpoint_close(c);
}

static void keeps_elements_aligned(void **state) {
    (void)state;
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "odd", DTYPE_U8, 3);
    add(c, "half", DTYPE_F16, 1);
    add(c, "wide", DTYPE_F64, 1);
    add(c, "also half", DTYPE_BF16, 1);
    assert_true(hf_write(c, scratch_path("out4"), &(WriteOptions){0}, &e));
    checkpoint_close(c);
    c = opened(scratch_path("out4"));
    static const char *const order[] = {"wide", "half", "also half", "odd"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(c->tensors[i].name, order[i]);
        assert_memory_equal(tensor_map(&c->tensors[i]), values, tensor_bytes(&c->tensors[i]));
    }
    checkpoint_close(c);
}

static bool hashes(void *unused, const Checkpoint *out, Buffer *text, Error *e) {
    (void)unused, (void)e;
    for (size_t i = 0; i < out->n_tensors; i++)
        buffer_append(text, out->tensors[i].hash, 32);
    return true;
}

static void writes_the_manifest_last(void **state) {
    (void)state;
    Error e = {0};
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "a", DTYPE_U8, 0);
    checkpoint_set_file(c, "derope.json", "of the source", 13);
    assert_true(hf_write(c, scratch_path("out5"), &(WriteOptions){.manifest = hashes}, &e));
    checkpoint_close(c);
    /* XXH3-128 of the empty input, as xxHash publishes it. */
    assert_file("out5/derope.json", "99aa06d3014798d86001c324468d497f\n", 33);
}

static void stop_after_first_bytes(void *stop, uint64_t done, uint64_t total) {
    assert_int_equal(total, 72);
    if (done) *(volatile int *)stop = 1;
}

/* WriteOptions.manifest: enough of a manifest to tell that a folder is derope's. */
static bool empty_manifest(void *context, const Checkpoint *out, Buffer *text, Error *e) {
    (void)context, (void)out, (void)e;
    buffer_printf(text, "{\"tensors\": []}");
    return true;
}

static void leaves_nothing_when_it_cannot_write(void **state) {
    (void)state;
    Error e = {0};
    char out[PATH_MAX];
    volatile int stop = 0;
    scratch_folder("parent");
    snprintf(out, sizeof out, "%s", scratch_path("parent/out"));
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    add(c, "a", DTYPE_U8, 64);
    add(c, "b", DTYPE_U8, 8);
    WriteOptions stopped = {
        .progress = stop_after_first_bytes, .progress_context = (void *)&stop, .stop = &stop};
    assert_false(hf_write(c, out, &stopped, &e));
    assert_int_equal(e.code, ERR_INTERRUPTED);
    assert_int_equal(entries_in("parent"), 0);

    static const char *const names[] = {"../evil", "/tmp/evil",        "", "..", ".hidden",
                                        "a/../b",  "model.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        checkpoint_set_file(c, names[i], "x", 1);
        assert_false(hf_write(c, out, &(WriteOptions){0}, &e));
        assert_non_null(strstr(e.message, i < 6 ? "not a plain file name" : "the weights use this name"));
        assert_int_equal(entries_in("parent"), 0);
        checkpoint_remove_file(c, names[i]);
    }

    struct rlimit old, tiny = {.rlim_cur = 180};
    getrlimit(RLIMIT_FSIZE, &old);
    tiny.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0); /* as a full disk */
    bool written = hf_write(c, out, &(WriteOptions){0}, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_false(written);
    assert_int_equal(e.code, ERR_FAILED);
    assert_non_null(strstr(e.message, "cannot write at offset 180"));
    assert_int_equal(entries_in("parent"), 0);

    WriteOptions first = {.manifest = empty_manifest}, again = {.manifest = empty_manifest, .force = true};
    assert_true(hf_write(c, out, &first, &e));
    assert_false(hf_write(c, out, &first, &e));
    assert_non_null(strstr(e.message, "exists already; --force replaces it"));
    assert_true(hf_write(c, out, &again, &e));
    assert_int_equal(entries_in("parent"), 1);
    assert_int_equal(entries_in("parent/out"), 2);
    add(c, "q", DTYPE_Q8_0, 32);
    assert_false(hf_write(c, out, &again, &e));
    assert_non_null(strstr(e.message, "tensor 'q': a safetensors file cannot hold q8_0"));
    assert_int_equal(entries_in("parent/out"), 2); /* the former output is as it was */
    checkpoint_close(c);
}

/* --force replaces an empty folder and one of derope's, and no other, even if it holds a model. */
static void replaces_no_folder_but_its_own(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_HF);
    Error e = {0};
    WriteOptions o = {.force = true, .manifest = empty_manifest};
    add(c, "t", DTYPE_F32, 4);
    scratch_folder("home");
    scratch_folder("home/letters");
    assert_false(hf_write(c, scratch_path("home"), &o, &e));
    assert_non_null(strstr(e.message, "home: derope did not write this folder"));
    assert_non_null(strstr(e.message, "(letters)"));
    assert_int_equal(e.code, ERR_FAILED);
    assert_int_equal(entries_in("home"), 1);
    assert_true(hf_write(c, scratch_path("home/letters"), &o, &e)); /* empty */
    assert_true(hf_write(c, scratch_path("home/letters"), &o, &e)); /* its own */
    assert_int_equal(unlink(scratch_path("home/letters/derope.json")), 0);
    assert_false(hf_write(c, scratch_path("home/letters"), &o, &e));
    assert_non_null(strstr(e.message, "home/letters: derope did not write this folder"));
    assert_int_equal(entries_in("home/letters"), 1);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_side_files_and_leaves_out_weights),
        cmocka_unit_test(reads_shards_that_the_index_names),
        cmocka_unit_test(follows_links_as_the_hub_cache_has_them),
        cmocka_unit_test(carries_folders_beside_the_weights),
        cmocka_unit_test(refuses_wrong_indexes),
        cmocka_unit_test(refuses_folders_without_usable_weights),
        cmocka_unit_test(survives_every_damage_of_the_index),
        cmocka_unit_test(writes_one_file_as_the_format_says),
        cmocka_unit_test(writes_shards_and_their_index),
        cmocka_unit_test(gives_a_wide_first_tensor_a_shard),
        cmocka_unit_test(keeps_elements_aligned),
        cmocka_unit_test(writes_the_manifest_last),
        cmocka_unit_test(leaves_nothing_when_it_cannot_write),
        cmocka_unit_test(replaces_no_folder_but_its_own),
    };
    return cmocka_run_group_tests_name("hf_folder", tests, NULL, scratch_remove);
}
