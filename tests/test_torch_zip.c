/* Tests of formats/torch_zip.h: PyTorch checkpoints, valid and wrong, which the tests build with libzip. */
#include "formats/checkpoint_open.h"
#include "formats/file.h"
#include "tests/made_zip.h"

/* Pieces of pickles. Each is a string literal of its own, so that no escape sequence runs into the next
 * character. */
#define TEXT(length, text) "X" length "\0\0\0" text
#define TENSOR(type, key, elements, offset, shape, strides)                                                  \
    "ctorch._utils\n_rebuild_tensor_v2\n((" TEXT("\7", "storage") "ctorch\n" type "\n" TEXT("\1", key)       \
        TEXT("\3", "cpu") "K" elements "tQK" offset shape strides "\x89}tR"
#define FLOATS(offset, shape, strides) TENSOR("FloatStorage", "0", "\6", offset, shape, strides)
#define PICKLE(n_name, ops)                                                                                  \
    { n_name, "\x80\2" ops, sizeof("\x80\2" ops) - 1, 0 }

static const float six[] = {0, 1, 2, 3, 4, 5};
#define SIX                                                                                                  \
    { "m/data/0", six, sizeof six, 0 }

#define WRITE(...)                                                                                           \
    write_zip("x.bin", (const Item[]){__VA_ARGS__}, sizeof((const Item[]){__VA_ARGS__}) / sizeof(Item))

static void assert_floats(const Checkpoint *c, const char *name, const float *expected, size_t n) {
    const Tensor *t = checkpoint_find(c, name);
    float got[16];
    Error e = {0};
    assert_non_null(t);
    assert_int_equal(tensor_bytes(t), n * sizeof *got);
    if (!tensor_read_rows(t, 0, t->n_rows, got, &e)) fail_msg("%s", e.message);
    assert_memory_equal(got, expected, n * sizeof *got);
    for (uint64_t i = 0; i < t->n_rows; i++) { /* and a row at a time */
        assert_true(tensor_read_rows(t, i, 1, got, &e));
        assert_memory_equal(got, expected + i * t->row_elems, t->row_elems * sizeof *got);
    }
}

static void reads_a_state_dict(void **state) {
    (void)state;
    Checkpoint *c = opened(
        WRITE(PICKLE("m/data.pkl",
                     "ccollections\nOrderedDict\n)R(" TEXT("\1", "w") FLOATS("\0", "K\2K\3\x86", "K\3K\1\x86")
                         TEXT("\1", "t") FLOATS("\0", "K\3K\2\x86", "K\1K\3\x86") TEXT("\3", "../")
                             FLOATS("\1", "K\2\x85", "K\2\x85") TEXT("\1", "v")
                                 FLOATS("\4", "K\2\x85", "K\1\x85") TEXT("\1", "s") FLOATS("\5", ")", ")")
                                     TEXT("\1", "e") FLOATS("\0", "K\0K\7\x86", "K\7K\1\x86")
                                         TEXT("\1", "n") "K\7u}(" TEXT("\1", "_") "}ub."),
              SIX, {"m/byteorder", "little", 6, 0}, {"m/version", "3\n", 2, 0}));
    assert_int_equal(c->format, FORMAT_TORCH);
    assert_int_equal(c->n_tensors, 6);
    assert_string_equal(c->tensors[0].name, "w");
    assert_string_equal(c->tensors[1].name, "t");
    assert_int_equal(c->tensors[1].shape[0], 3);
    assert_int_equal(c->tensors[1].n_rows, 3);
    assert_int_equal(tensor_status(&c->tensors[1]), TENSOR_UNTOUCHED);
    assert_floats(c, "w", six, 6);
    assert_floats(c, "t", (const float[]){0, 3, 1, 4, 2, 5}, 6);
    assert_floats(c, "v", six + 4, 2);
    assert_floats(c, "s", six + 5, 1);
    assert_floats(c, "e", six, 0);
    assert_null(checkpoint_find(c, "n"));
    assert_string_equal(c->left_out, "'n'");
    checkpoint_close(c);
}

static void reads_gathered_dimensions(void **state) {
    (void)state;
    float twelve[12], expected[12];
    for (int i = 0; i < 12; i++)
        twelve[i] = (float)i;
    for (int i = 0; i < 12; i++) /* (3, 2, 2) with strides (1, 6, 3) */
        expected[i] = (float)(i / 4 + i / 2 % 2 * 6 + i % 2 * 3);
    Checkpoint *c = opened(WRITE(
        PICKLE("m/data.pkl", "}" TEXT("\1", "a") TENSOR("FloatStorage", "0", "\14", "\0", "K\3K\2K\2\x87",
                                                        "K\1K\6K\3\x87") "s" TEXT("\1", "b")
                                 TENSOR("FloatStorage", "0", "\14", "\1", "K\2K\3\x86", "K\0K\1\x86") "s."),
        {"m/data/0", twelve, sizeof twelve, 0}));
    assert_floats(c, "a", expected, 12);
    assert_floats(c, "b", (const float[]){1, 2, 3, 1, 2, 3}, 6);
    checkpoint_close(c);
}

static void unpacks_deflated_entries(void **state) {
    (void)state;
    Item pickle = PICKLE("m/data.pkl", "}" TEXT("\1", "w") FLOATS("\0", "K\6\x85", "K\1\x85") "s.");
    pickle.method = ZIP_CM_DEFLATE;
    Checkpoint *c = opened(WRITE(pickle, {"m/data/0", six, sizeof six, ZIP_CM_DEFLATE}));
    assert_floats(c, "w", six, 6);
    checkpoint_close(c);
    static uint8_t zeros[1 << 20];
    assert_refused(
        WRITE(PICKLE("m/data.pkl", "}."), {"m/byteorder", zeros, sizeof zeros, ZIP_CM_DEFLATE}),
        "m/byteorder: would unpack to 1048576 bytes, more than 100 times the size of the file; refused");
}

static void finds_the_state_dict_within(void **state) {
    (void)state;
#define MODEL "}" TEXT("\1", "w") FLOATS("\0", "K\6\x85", "K\1\x85") "s"
    static const Item good[] = {
        PICKLE("m/data.pkl", "}(" TEXT("\5", "model") MODEL TEXT("\5", "epoch") "K\3u."),
        PICKLE("m/data.pkl", "}(" TEXT("\12", "state_dict")
                                 MODEL TEXT("\1", "o") "}" TEXT("\5", "state") "}K\0" MODEL "ssu."),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Checkpoint *c = opened(WRITE(good[i], SIX));
        assert_int_equal(c->n_tensors, 1);
        assert_floats(c, "w", six, 6);
        assert_string_equal(c->left_out, i == 0 ? "'epoch'" : "'o'");
        checkpoint_close(c);
    }
    Checkpoint *c =
        opened(WRITE(PICKLE("m/data.pkl", MODEL "(K\1NK\2NK\3NK\4NK\5NK\6NK\7NK\10NK\11NK\12Nu."), SIX));
    assert_string_equal(c->left_out, "1, 2, 3, 4, 5, 6, 7, 8, ...");
    checkpoint_close(c);
    static const struct {
        Item pickle;
        const char *says;
    } bad[] = {
        {PICKLE("m/data.pkl", "}."), "neither its dict nor an entry of it is a state dict (keys: none)"},
        {PICKLE("m/data.pkl", "}(" TEXT("\5", "state") "}" TEXT("\1", "g") "]K\1Nu."),
         "state dict (keys: 'state', 'g', 1)"},
        {PICKLE("m/data.pkl", "}(" TEXT("\1", "a") MODEL TEXT("\1", "b") MODEL "u."),
         "both its entry 'a' and its entry 'b' hold tensors; save the intended one alone"},
        {PICKLE("m/data.pkl", MODEL TEXT("\1", "b") MODEL "s."), "both its top level and its entry 'b' hold"},
        {PICKLE("m/data.pkl", FLOATS("\0", ")", ")") "."), "holds a tensor, not a state dict"},
        {PICKLE("m/data.pkl", "]" FLOATS("\0", ")", ")") "a."), "holds a list, not a state dict"},
        {PICKLE("m/data.pkl", "}q\0" TEXT("\1", "d") "h\0s."), "(keys: 'd')"},
        {PICKLE("m/data.pkl", "}K\1" FLOATS("\0", ")", ")") "s."), "a tensor's name is not UTF-8 text"},
        {PICKLE("m/data.pkl", "}" TEXT("\1", "\xff") FLOATS("\0", ")", ")") "s."), "name is not UTF-8 text"},
        {PICKLE("m/data.pkl", "}" TEXT("\1", "\0") FLOATS("\0", ")", ")") "s."), "name is not UTF-8 text"},
        {PICKLE("m/data.pkl", MODEL TEXT("\1", "w") FLOATS("\0", ")", ")") "s."), "tensor 'w' occurs twice"},
        {PICKLE("m/data.pkl", "cos\nsystem\n" TEXT("\2", "ls") "\x85R."),
         "x.bin: data.pkl: offset 2: imports 'os.system', which no state dict needs; refused"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(WRITE(bad[i].pickle, SIX), bad[i].says);
}

static void refuses_other_zips(void **state) {
    (void)state;
    static const Item pickle = PICKLE("m/data.pkl", MODEL ".");
#undef MODEL
    assert_refused(WRITE({"word/document.xml", "<x/>", 4, 0}), "a zip file without NAME/data.pkl");
    assert_refused(WRITE({"data.pkl", "N.", 2, 0}), "a zip file without NAME/data.pkl");
    assert_refused(WRITE(pickle, SIX, PICKLE("n/data.pkl", "N.")),
                   "two checkpoints in one zip, in m/ and n/data.pkl");
    assert_refused(WRITE(pickle, SIX, {"m/constants.pkl", "", 0, 0}), "a TorchScript program");
    assert_refused(WRITE(pickle, SIX, {"m/byteorder", "big", 3, 0}),
                   "m/byteorder: the byte order is not 'little'");
    assert_refused(WRITE(pickle), "has no entry m/data/0");
    assert_refused(WRITE(pickle, {"m/data/0", six, 20, 0}),
                   "tensor 'w': m/data/0 has 20 bytes, its storage takes 24");
    assert_refused(WRITE(pickle, {"m/data/0", six, 0, 0}), "m/data/0 has 0 bytes, its storage takes 24");
    assert_refused(WRITE(pickle, {"m/data/0", six, sizeof six, ZIP_CM_BZIP2}),
                   "m/data/0: compressed by method 12");
    assert_refused(WRITE({"m/data.pkl", "", 0, 0}),
                   "data.pkl: offset 0: a pickle has to begin with its protocol");
    assert_refused(scratch_text("x.bin", "PK\3\4 and no more"), "not a complete zip file: ");
}

/* Shards in PyTorch form, found through an index. */
static void reads_shards(void **state) {
    (void)state;
    scratch_folder("sharded");
    scratch_text("sharded/config.json", "{}");
    write_zip(
        "sharded/a.bin",
        (const Item[]){PICKLE("a/data.pkl", "}" TEXT("\1", "w") FLOATS("\0", "K\6\x85", "K\1\x85") "s."),
                       {"a/data/0", six, sizeof six, 0}},
        2);
    write_zip(
        "sharded/b.bin",
        (const Item[]){PICKLE("b/data.pkl", "}" TEXT("\1", "v") FLOATS("\2", "K\2\x85", "K\1\x85") "s."),
                       {"b/data/0", six, sizeof six, 0}},
        2);
    scratch_text("sharded/pytorch_model.bin.index.json",
                 "{\"weight_map\":{\"w\":\"a.bin\",\"v\":\"b.bin\"}}");
    Checkpoint *c = opened(scratch_path("sharded"));
    assert_int_equal(c->n_tensors, 2);
    assert_floats(c, "w", six, 6);
    assert_floats(c, "v", six + 2, 2);
    checkpoint_close(c);
    scratch_text("sharded/pytorch_model.bin.index.json",
                 "{\"weight_map\":{\"w\":\"a.bin\",\"v\":\"../b.bin\"}}");
    assert_refused(scratch_path("sharded"), "'../b.bin', is not a file name");
}

/* True if the file is accepted and each of its tensors can be read. A tensor that cannot be read has to be
 * refused as wrong input: checksums are compared when bytes are first read. */
static bool can_be_read(const char *path) {
    Error e = {0};
    Checkpoint *c = checkpoint_open(path, &e);
    bool ok = c != NULL;
    for (size_t i = 0; ok && i < c->n_tensors; i++) {
        char hash[33];
        ok = tensor_hash(&c->tensors[i], hash, &e);
    }
    if (!ok) {
        assert_int_equal(e.code, ERR_INPUT);
        assert_memory_equal(e.message, scratch(), strlen(scratch()));
    }
    checkpoint_close(c);
    return ok;
}

static void survives_every_damage(void **state) {
    (void)state;
    for (int deflated = 0; deflated < 2; deflated++) {
        Item items[] = {
            PICKLE("m/data.pkl", "}" TEXT("\1", "w") FLOATS("\0", "K\3K\2\x86", "K\1K\3\x86") "s."), SIX};
        items[0].method = items[1].method = deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE;
        Buffer b = {0};
        Error e = {0};
        assert_true(file_read(write_zip("whole.bin", items, 2), 1 << 20, &b, &e));
        assert_true(can_be_read(scratch_path("whole.bin")));
        for (size_t cut = 0; cut < b.size; cut++)
            assert_false(can_be_read(scratch_file("x.bin", b.data, cut)));
        for (size_t i = 0; i < b.size; i++)
            for (int bit = 0; bit < 9; bit++) {
                uint8_t kept = b.data[i];
                b.data[i] ^= bit < 8 ? (uint8_t)(1 << bit) : 0xff;
                can_be_read(scratch_file("x.bin", b.data, b.size));
                b.data[i] = kept;
            }
        buffer_free(&b);
    }
}

/* A flipped bit in the weights is found by the checksum of the zip entry. */
static void finds_damaged_weights(void **state) {
    (void)state;
    Buffer b = {0};
    Error e = {0};
    assert_true(file_read(
        WRITE(PICKLE("m/data.pkl", "}" TEXT("\1", "w") FLOATS("\0", "K\6\x85", "K\1\x85") "s."), SIX),
        1 << 20, &b, &e));
    uint8_t *at = memmem(b.data, b.size, six, sizeof six);
    assert_non_null(at);
    at[5] ^= 1;
    Checkpoint *c = opened(scratch_file("x.bin", b.data, b.size));
    char hash[33];
    assert_false(tensor_hash(&c->tensors[0], hash, &e));
    assert_int_equal(e.code, ERR_INPUT);
    assert_non_null(strstr(e.message, "x.bin: m/data/0: its checksum is "));
    checkpoint_close(c);
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_state_dict),       cmocka_unit_test(reads_gathered_dimensions),
        cmocka_unit_test(unpacks_deflated_entries), cmocka_unit_test(finds_the_state_dict_within),
        cmocka_unit_test(refuses_other_zips),       cmocka_unit_test(reads_shards),
        cmocka_unit_test(finds_damaged_weights),    cmocka_unit_test(survives_every_damage),
    };
    return cmocka_run_group_tests_name("torch_zip", tests, NULL, scratch_remove);
}
