/* Tests of formats/hf_zip.h, formats/zip_map.h and formats/hf_zip_write.h: folders in a zip that are read,
 * refused and written. */
#include "formats/file.h"
#include "formats/hf_write.h"
#include "tests/made_zip.h"
#include "tests/process.h"

#define WRITE(...)                                                                                           \
    write_zip("x.zip", (const Item[]){__VA_ARGS__}, sizeof((const Item[]){__VA_ARGS__}) / sizeof(Item))

/* A safetensors file with one tensor, w = [1, 2, 3, 4]. */
static const char weights[] =
    "\x37\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}\1\2\3\4";
#define WEIGHTS(name)                                                                                        \
    { name, weights, sizeof weights - 1, 0 }
#define CONFIG(name)                                                                                         \
    { name, "{\"a\": 1}", 8, 0 }

static void assert_holds_w(Checkpoint *c) {
    Error e = {0};
    uint8_t got[4];
    assert_int_equal(c->format, FORMAT_HF);
    const Tensor *t = checkpoint_find(c, "w");
    assert_non_null(t);
    assert_true(tensor_read_rows(t, 0, 2, got, &e));
    assert_memory_equal(got, "\1\2\3\4", 4);
    assert_non_null(tensor_map(t)); /* in place */
    json_t *config = checkpoint_json(c, "config.json", &e);
    assert_int_equal(json_integer_value(json_object_get(config, "a")), 1);
    json_decref(config);
    checkpoint_close(c);
}

/* ---- read ---- */

static void reads_a_folder_at_the_root_or_one_below(void **state) {
    (void)state;
    assert_holds_w(opened(WRITE(CONFIG("config.json"), WEIGHTS("model.safetensors"))));
    assert_holds_w(opened(WRITE({"m/", "", 0, 0}, CONFIG("m/config.json"), WEIGHTS("m/model.safetensors"))));
    assert_holds_w(opened(WRITE(CONFIG("m/config.json"), {"__MACOSX/m/._config.json", "?", 1, 0},
                                WEIGHTS("m/model.safetensors"))));
    Checkpoint *c = opened(WRITE(CONFIG("config.json"), WEIGHTS("model.safetensors"), {"a.txt", "a", 1, 0},
                                 {".hidden", "h", 1, 0}, {"sub/b.txt", "b", 1, 0}, {"old.bin", "o", 1, 0}));
    assert_int_equal(c->n_files, 3); /* what a folder on disk would give */
    assert_non_null(checkpoint_file(c, "a.txt"));
    assert_non_null(checkpoint_file(c, "sub/b.txt"));
    checkpoint_close(c);
    c = opened(WRITE(CONFIG("m/config.json"), WEIGHTS("m/model.safetensors"), {"m/sub/x.bin", "x", 1, 0},
                     CONFIG("m/older/config.json"), {"m/older/b.txt", "b", 1, 0}, {"m/s/.h", "h", 1, 0}));
    assert_int_equal(c->n_files, 1);
    assert_string_equal(c->not_carried, "sub/x.bin, older/config.json, older/b.txt");
    checkpoint_close(c);
    assert_refused(WRITE(CONFIG("m/config.json"), WEIGHTS("m/model.safetensors"), {"n/a", "", 0, 0}),
                   "no weights here");
}

static void reads_shards_by_their_index(void **state) {
    (void)state;
    static const char index[] = "{\"weight_map\": {\"w\": \"model-1.safetensors\"}}";
    assert_holds_w(opened(WRITE(CONFIG("config.json"), WEIGHTS("model-1.safetensors"),
                                {"model.safetensors.index.json", index, sizeof index - 1, ZIP_CM_DEFLATE})));
    static const char evil[] = "{\"weight_map\": {\"w\": \"../model.safetensors\"}}";
    assert_refused(
        WRITE(CONFIG("config.json"), {"model.safetensors.index.json", evil, sizeof evil - 1, 0}),
        "x.zip/model.safetensors.index.json: the shard of tensor 'w', '../model.safetensors', is not a file "
        "name");
}

/* Side files may be deflated; weights have to be stored, because they are read in place. */
static void companions_may_be_deflated_and_weights_not(void **state) {
    (void)state;
    Item config = CONFIG("config.json"), packed = WEIGHTS("model.safetensors");
    static char spaces[6000];
    memset(spaces, ' ', sizeof spaces);
    memcpy(spaces, config.bytes, config.n);
    assert_holds_w(
        opened(WRITE({"config.json", spaces, sizeof spaces, ZIP_CM_DEFLATE}, WEIGHTS("model.safetensors"))));
    packed.method = ZIP_CM_DEFLATE;
    assert_refused(WRITE(CONFIG("config.json"), packed),
                   "x.zip: model.safetensors: compressed; weights are read in place and have to be stored");
    static uint8_t zeros[1 << 20];
    assert_refused(
        WRITE({"tokenizer.json", zeros, sizeof zeros, ZIP_CM_DEFLATE}, WEIGHTS("model.safetensors")),
        "x.zip: tokenizer.json: would unpack to 1048576 bytes, more than 100 times the size of the file; "
        "refused");
}

/* ---- refused ---- */

/* Replaces each occurrence of `from` in the file by `to`, which has the same length. */
static const char *patched(const char *path, const char *from, const char *to, size_t n) {
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(path, 1 << 20, &b, &e));
    int found = 0;
    for (size_t i = 0; i + n <= b.size; i++)
        if (memcmp(b.data + i, from, n) == 0) {
            memcpy(b.data + i, to, n);
            found++;
        }
    assert_true(found > 0);
    const char *out = scratch_file("x.zip", b.data, b.size);
    buffer_free(&b);
    return out;
}

/* Sets a little-endian field of entry number `which` of the central directory, at `offset` within the
 * entry. */
static const char *with_field(const char *path, int which, size_t offset, uint32_t value) {
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(path, 1 << 20, &b, &e));
    for (size_t i = 0; i + 46 <= b.size; i++)
        if (memcmp(b.data + i, "PK\1\2", 4) == 0 && which-- == 0) memcpy(b.data + i + offset, &value, 4);
    const char *out = scratch_file("x.zip", b.data, b.size);
    buffer_free(&b);
    return out;
}

static void names_that_lead_elsewhere_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"../evils", "/etc/pwd", "aa\\..\\bb", "aa/../..", "c:/evils"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[100];
        snprintf(text, sizeof text, "x.zip: entry '%s': not a name within a folder", names[i]);
        assert_refused(
            patched(WRITE(CONFIG("config.json"), WEIGHTS("model.safetensors"), {"aaaaaaaa", "x", 1, 0}),
                    "aaaaaaaa", names[i], strlen(names[i])),
            text);
    }
}

static void entries_that_overlap_or_lie_are_refused(void **state) {
    (void)state;
#define BOTH                                                                                                 \
    WRITE(CONFIG("config.json"), WEIGHTS("model.safetensors"), {"aa", "1234567", 7, 0},                      \
          {"ab", "12345678", 8, 0})
    assert_refused(patched(BOTH, "ab", "aa", 2), "x.zip: entry 'aa' occurs twice");
    /* Offset 42 of a directory entry is where its local header lies: that of the third entry is pointed to
     * the place of the second. */
    assert_refused(with_field(BOTH, 0, 42, 30 + 11 + 8),
                   "x.zip: entries 'config.json' and 'model.safetensors' overlap");
    enum { COMPRESSED = 20, SIZE = 24 };
    with_field(BOTH, 1, COMPRESSED, 1 << 20);
    assert_refused(with_field(scratch_path("x.zip"), 1, SIZE, 1 << 20),
                   "x.zip: model.safetensors: its 1048576 bytes do not lie within the 480 bytes of the file");
    with_field(BOTH, 2, COMPRESSED, 60);
    assert_refused(with_field(scratch_path("x.zip"), 2, SIZE, 60), "x.zip: entries 'aa' and 'ab' overlap");
    static const char nothing[] = "PK\3\4 and no more";
    assert_refused(scratch_file("x.zip", nothing, sizeof nothing - 1), "x.zip: not a complete zip file: ");
    assert_refused(WRITE({"readme.txt", "x", 1, 0}),
                   "x.zip: a zip file without NAME/data.pkl (PyTorch), and");
    assert_refused(WRITE(CONFIG("config.json")), "x.zip: no weights here (expected model.safetensors, ");
    assert_refused(WRITE(CONFIG("config.json"), {"model.safetensors", "GGUF....", 8, 0}),
                   "x.zip/model.safetensors: not a GGUF, safetensors or PyTorch zip file");
}

static void a_damaged_companion_is_refused(void **state) {
    (void)state;
    assert_refused(
        patched(WRITE(CONFIG("config.json"), WEIGHTS("model.safetensors")), "{\"a\": 1}", "{\"a\": 2}", 8),
        "x.zip: config.json: its checksum is ");
}

static void survives_every_damage(void **state) {
    (void)state;
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(
        WRITE({"m/config.json", "{\"a\": 1}   ", 11, ZIP_CM_DEFLATE}, WEIGHTS("m/model.safetensors")),
        1 << 20, &b, &e));
    assert_every_damage_sound("x.zip", "x.zip", b.data, b.size);
    buffer_free(&b);
}

/* ---- written ---- */

static uint64_t first_byte(const Buffer *b, const char *name, uint64_t *stored) {
    for (size_t i = 0; i + 30 + strlen(name) < b->size; i++) {
        if (memcmp(b->data + i, "PK\3\4", 4) != 0 || memcmp(b->data + i + 30, name, strlen(name)) != 0)
            continue;
        uint16_t method, n, extra;
        memcpy(&method, b->data + i + 8, 2);
        memcpy(&n, b->data + i + 26, 2);
        memcpy(&extra, b->data + i + 28, 2);
        *stored = method == 0;
        return i + 30 + n + extra;
    }
    fail_msg("no local header of %s", name);
    return 0;
}

static void written_to_be_read_in_place(void **state) {
    (void)state;
    Buffer b = {0};
    Error e = {0};
    tiny_folder("in");
    assert_runs("convert in out.zip");
    assert_runs("convert in again.zip");
    assert_same_file("out.zip", "again.zip");
    assert_runs("convert in shards.zip --max-shard-size 3000");
    assert_true(file_read(scratch_path("shards.zip"), 1 << 20, &b, &e));
    for (int i = 1; i <= 4; i++) {
        char name[64];
        uint64_t stored, of = 0;
        while (++of < 20) { /* however many there are */
            snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i, (int)of);
            if (memmem(b.data, b.size, name, strlen(name))) break;
        }
        assert_int_equal(first_byte(&b, name, &stored) % 64, 0);
        assert_true(stored);
    }
    buffer_free(&b);

    Checkpoint *c = opened(scratch_path("out.zip")), *folder = opened(scratch_path("in"));
    assert_int_equal(c->n_tensors, folder->n_tensors);
    for (size_t i = 0; i < c->n_tensors; i++) {
        const Tensor *t = checkpoint_find(c, folder->tensors[i].name);
        assert_memory_equal(tensor_map(t), tensor_map(&folder->tensors[i]), tensor_bytes(t));
    }
    assert_memory_equal(checkpoint_file(c, "config.json")->bytes, tiny_config, strlen(tiny_config));
    checkpoint_close(c);
    checkpoint_close(folder);
}

/* The verbs of the program give the same answers for a folder and for the zip of it. */
static void goes_wherever_a_model_goes(void **state) {
    (void)state;
    const char *words;
    scratch_text("ids", "1 2 3 4 5");
    assert_runs("verify out.zip");
    assert_runs("verify shards.zip");
    assert_int_equal(run_derope("diff in out.zip", &words), 0);
    assert_non_null(strstr(words, "equal"));
    assert_runs("logits in --ids ids --out in.f32");
    assert_runs("logits shards.zip --ids ids --out zip.f32");
    assert_same_file("in.f32", "zip.f32");
    assert_runs("inspect out.zip");
    assert_runs("convert out.zip back");
    assert_same_file("in/model.safetensors", "back/model.safetensors");
    assert_same_file("in/config.json", "back/config.json");
    assert_runs("convert shards.zip from-zip.gguf");
    assert_runs("convert from-zip.gguf --drop-rope dropped.zip");
    assert_runs("verify dropped.zip");
    scratch_text("r.yaml", "source: out.zip\nsurgery: [drop_rope]\noutputs: {path: run.zip, dtype: f32}\n");
    assert_runs("plan r.yaml");
    assert_runs("run r.yaml");
    assert_runs("verify run.zip");
    assert_int_equal(run_derope("run r.yaml", &words), 0); /* nothing to do: its manifest says so */
    assert_null(strstr(words, "writing"));
}

static void stop_after_first_bytes(void *stop, uint64_t done, uint64_t total) {
    if (done && done <= total) *(volatile int *)stop = 1;
}

static void appears_whole_or_not_at_all(void **state) {
    (void)state;
    Error e = {0};
    char out[PATH_MAX];
    volatile int stop = 0;
    scratch_folder("parent");
    snprintf(out, sizeof out, "%s", scratch_path("parent/out.zip"));
    Checkpoint *c = opened(scratch_path("in"));
    WriteOptions stopped = {
        .progress = stop_after_first_bytes, .progress_context = (void *)&stop, .stop = &stop};
    assert_false(hf_write(c, out, &stopped, &e));
    assert_int_equal(e.code, ERR_INTERRUPTED);
    assert_string_equal(strrchr(e.message, ':'), ": interrupted; nothing was left behind");
    assert_int_equal(entries_in("parent"), 0);
    assert_true(hf_write(c, out, &(WriteOptions){0}, &e));
    assert_false(hf_write(c, out, &(WriteOptions){0}, &e));
    assert_non_null(strstr(e.message, "exists already; --force replaces it"));
    assert_true(hf_write(c, out, &(WriteOptions){.force = true}, &e));
    assert_int_equal(entries_in("parent"), 1);
    checkpoint_set_file(c, "../evil", "x", 1);
    assert_false(hf_write(c, out, &(WriteOptions){.force = true}, &e));
    assert_non_null(strstr(e.message, "side file '../evil': not a plain file name"));
    checkpoint_close(c);
    assert_fails("convert parent/out.zip parent/out.zip --force", 2, "a source is never written to");
    const char *words;
    if (!may_mount()) return;
    assert_int_not_equal(run_on_disk("size=8k", "convert in disk/o.zip", &words), 0);
    assert_non_null(strstr(words, "No space left on device"));
    assert_non_null(strstr(words, "left:\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_folder_at_the_root_or_one_below),
        cmocka_unit_test(reads_shards_by_their_index),
        cmocka_unit_test(companions_may_be_deflated_and_weights_not),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(entries_that_overlap_or_lie_are_refused),
        cmocka_unit_test(a_damaged_companion_is_refused),
        cmocka_unit_test(survives_every_damage),
        cmocka_unit_test(written_to_be_read_in_place),
        cmocka_unit_test(goes_wherever_a_model_goes),
        cmocka_unit_test(appears_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("hf_zip", tests, NULL, scratch_remove);
}
