/* Tests of formats/safetensors.h: valid files, and each way in which a header can be wrong. */
#include "tests/scratch.h"

/* Writes a safetensors file: the length of the header, the header, and `n` data bytes 0, 1, 2, ... */
static Buffer file_of(const char *header, size_t n) {
    Buffer b = {0};
    uint64_t size = strlen(header);
    buffer_append(&b, &size, sizeof size);
    buffer_append(&b, header, size);
    for (size_t i = 0; i < n; i++)
        buffer_byte(&b, (uint8_t)i);
    return b;
}

static const char *write_file(const char *header, size_t n) {
    Buffer b = file_of(header, n);
    const char *path = scratch_file("x.safetensors", b.data, b.size);
    buffer_free(&b);
    return path;
}

static void reads_tensors_in_the_order_of_their_data(void **state) {
    (void)state;
    Checkpoint *c =
        opened(write_file("{\"__metadata__\":{\"format\":\"pt\",\"note\":\"a \\u00e9 b\"},"
                          "\"second\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                          "\"first\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                          "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[16,24]},"
                          "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[16,16]}}   ",
                          24));
    assert_int_equal(c->format, FORMAT_HF);
    assert_int_equal(c->n_tensors, 4);
    assert_string_equal(c->tensors[0].name, "first");
    assert_string_equal(c->tensors[1].name, "second");
    assert_string_equal(c->tensors[2].name, "empty");
    assert_string_equal(c->tensors[3].name, "scalar");
    const Tensor *t = checkpoint_find(c, "second");
    assert_ptr_equal(t, &c->tensors[1]);
    assert_int_equal(t->rank, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->n_rows, 2);
    assert_int_equal(t->row_elems, 3);
    assert_int_equal(t->dtype, DTYPE_BF16);
    assert_int_equal(t->storage_dtype, DTYPE_BF16);
    assert_int_equal(tensor_status(t), TENSOR_UNTOUCHED);
    const uint8_t expected[] = {4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    assert_memory_equal(tensor_map(t), expected, sizeof expected);
    assert_int_equal(tensor_bytes(checkpoint_find(c, "scalar")), 8);
    assert_int_equal(tensor_bytes(checkpoint_find(c, "empty")), 0);
    assert_null(checkpoint_find(c, "third"));
    assert_int_equal(json_object_size(c->st_metadata), 2);
    assert_string_equal(json_string_value(json_object_get(c->st_metadata, "note")), "a \xc3\xa9 b");
    checkpoint_close(c);
}

static void knows_every_dtype(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bits;
    } types[] = {{"BOOL", 8},    {"U8", 8},          {"I8", 8},   {"F8_E5M2", 8},     {"F8_E4M3", 8},
                 {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"I16", 16}, {"F8_E5M2FNUZ", 8}, {"U16", 16},
                 {"F16", 16},    {"BF16", 16},       {"I32", 32}, {"U32", 32},        {"F32", 32},
                 {"C64", 64},    {"F64", 64},        {"I64", 64}, {"U64", 64},        {"F4", 4},
                 {"F6_E2M3", 6}, {"F6_E3M2", 6}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[200];
        size_t bytes = (size_t)types[i].bits * 24 / 8;
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[8,3],\"data_offsets\":[0,%zu]}}",
                 types[i].name, bytes);
        Checkpoint *c = opened(write_file(header, bytes));
        assert_string_equal(dtype_info(c->tensors[0].dtype)->safetensors, types[i].name);
        assert_int_equal(tensor_bytes(&c->tensors[0]), bytes);
        checkpoint_close(c);
    }
}

static void refuses_every_way_a_header_can_be_wrong(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } cases[] = {
#define ONE(fields) "{\"a\":{" fields "}}"
        {"[]", 0, "not a GGUF, safetensors or PyTorch zip file (begins with 02 00 00 00 00 00 00 00)"},
        {"{\"a\":", 0, ":1:5: not valid JSON"},
        {"{\"\xff\":1}", 0, "not valid JSON"},
        {"{} x", 0, "not valid JSON"},
        {"{\"a\":1}", 0, "tensor 'a': its entry is not an object"},
        {ONE("\"shape\":[],\"data_offsets\":[0,4]"), 4, "tensor 'a': unknown dtype '(none)'"},
        {ONE("\"dtype\":\"F12\",\"shape\":[],\"data_offsets\":[0,4]"), 4, "unknown dtype 'F12'"},
        {ONE("\"dtype\":\"f32\",\"shape\":[],\"data_offsets\":[0,4]"), 4, "unknown dtype 'f32'"},
        {ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "its shape is not a list"},
        {ONE("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "dimension 0 of its shape"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1,1.5],\"data_offsets\":[0,4]"), 4, "dimension 1 of its shape"},
        {ONE("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]"), 4,
         "dimension 0 of its shape"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4,
         "rank 9, at most 8"},
        {ONE("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]"), 4,
         "does not fit in 64 bits"},
        {ONE("\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]"), 4,
         "do not take the 4 bytes"}, /* 4 * it wraps to 4 */
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4,
         "2 elements of F32 do not take the 4 bytes of its data_offsets"},
        {ONE("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]"), 1, "3 elements of F4 do not take"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1]"), 4, "its data_offsets are not [begin, end]"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, "its data_offsets are not"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4, "its data_offsets are not"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]"), 4, "its data_offsets are not"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]"), 4, "its data_offsets are not"},
        {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 4,
         "its data ends at 8, the file's data at 4"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 7,
         "3 bytes of data belong to no tensor"},
        {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8,
         "begins at 4, but the data before it ends at 0 (a hole)"},
        {"{}", 1, "1 bytes of data belong to no tensor"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, "tensor 'b': its data begins at 1, but the data before it ends at 2 (an overlap)"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
         2, "tensor 'b': its data begins at 0, but the data before it ends at 2 (an overlap)"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "duplicate object key"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"n\":1}}", 0, "__metadata__: 'n' is not a string"},
#undef ONE
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(write_file(cases[i].header, cases[i].data), cases[i].says);
}

static void refuses_lengths_that_are_not_there(void **state) {
    (void)state;
    Buffer b = file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
    const uint64_t claims[] = {b.size - 7, 100 * 1000 * 1000 + 1, 100ull << 30, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        memcpy(b.data, &claims[i], sizeof claims[i]);
        assert_refused(scratch_file("x.safetensors", b.data, b.size), "offset 0: the header is said to have");
    }
    memcpy(b.data, &claims[1], sizeof claims[1]); /* the bytes are there, but no header is that long */
    const char *path = scratch_file("sparse.safetensors", b.data, b.size);
    assert_int_equal(truncate(path, 200 * 1000 * 1000), 0);
    assert_refused(
        path, "the header is said to have 100000001 bytes, but the file has 199999992 (limit 100000000)");
    uint64_t none = 0;
    memcpy(b.data, &none, sizeof none);
    assert_refused(scratch_file("x.safetensors", b.data, b.size), "offset 8: the header does not begin with");
    buffer_free(&b);
}

static void refuses_nesting_without_end(void **state) {
    (void)state;
    Buffer header = {0};
    buffer_append(&header, "{\"a\":", 5);
    for (int i = 0; i < 100000; i++)
        buffer_byte(&header, '[');
    assert_refused(write_file(buffer_string(&header), 0), "maximum parsing depth reached");
    buffer_free(&header);
}

static void tells_what_a_file_is_instead(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"", 0, "not a GGUF, safetensors or PyTorch zip file (it is empty)"},
        {"abc", 3, "(begins with 61 62 63)"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "a Git LFS pointer"},
        {"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20", 10, "a bare pickle"},
        {"tjgg\3\0\0\0", 8, "older than GGUF"},
        {"{\"a\": 1}", 8, "a JSON file; give the path of the folder that holds it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(scratch_file("x.safetensors", cases[i].bytes, cases[i].n), cases[i].says);
    assert_refused(scratch_path("nothing-here"), "No such file or directory");
}

static void survives_every_damage(void **state) {
    (void)state;
    Buffer b = file_of("{\"__metadata__\":{\"k\":\"v\"},"
                       "\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                       "\"b\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[8,10]}} ",
                       10);
    checkpoint_close(opened(scratch_file("damaged", b.data, b.size)));
    assert_every_damage_sound("damaged", "damaged", b.data, b.size);
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_the_order_of_their_data),
        cmocka_unit_test(knows_every_dtype),
        cmocka_unit_test(refuses_every_way_a_header_can_be_wrong),
        cmocka_unit_test(refuses_lengths_that_are_not_there),
        cmocka_unit_test(refuses_nesting_without_end),
        cmocka_unit_test(tells_what_a_file_is_instead),
        cmocka_unit_test(survives_every_damage),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, scratch_remove);
}
