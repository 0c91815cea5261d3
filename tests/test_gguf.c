/* Tests of formats/gguf.h and formats/gguf_write.h: valid files, each way in which a file can be wrong, and
 * what the writer produces. */
#include "formats/gguf_write.h"
#include "formats/meta.h"
#include "tests/scratch.h"

static void put_u32(Buffer *b, uint32_t v) {
    buffer_append(b, &v, sizeof v);
}

static void put_u64(Buffer *b, uint64_t v) {
    buffer_append(b, &v, sizeof v);
}

static void put_string(Buffer *b, const char *s) {
    put_u64(b, strlen(s));
    buffer_append(b, s, strlen(s));
}

static void put_key(Buffer *b, const char *key, uint32_t type) {
    put_string(b, key);
    put_u32(b, type);
}

static void put_array(Buffer *b, const char *key, uint32_t elem, uint64_t count) {
    put_key(b, key, META_ARRAY);
    put_u32(b, elem);
    put_u64(b, count);
}

static void put_tensor(Buffer *b, const char *name, uint32_t rank, const uint64_t *ne, uint32_t type,
                       uint64_t offset) {
    put_string(b, name);
    put_u32(b, rank);
    for (uint32_t i = 0; i < rank; i++)
        put_u64(b, ne[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

static void put_start(Buffer *b, uint32_t version, uint64_t n_tensors, uint64_t n_meta) {
    buffer_append(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_meta);
}

static void pad(Buffer *b, size_t alignment) {
    while (b->size % alignment)
        buffer_byte(b, 0);
}

static void put_data(Buffer *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        buffer_byte(b, (uint8_t)(i * 7 + 3));
}

/* A GGUF with each type of value, arrays of strings, of booleans and of no elements, alignment 64, and three
 * tensors. */
static Buffer full_file(uint32_t version) {
    Buffer b = {0};
    put_start(&b, version, 3, 18);
    put_key(&b, "general.alignment", META_U32), put_u32(&b, 64);
    put_key(&b, "t.u8", META_U8), buffer_append(&b, "\xfe", 1);
    put_key(&b, "t.i8", META_I8), buffer_append(&b, "\xfe", 1);
    put_key(&b, "t.u16", META_U16), buffer_append(&b, "\xfe\xff", 2);
    put_key(&b, "t.i16", META_I16), buffer_append(&b, "\xfe\xff", 2);
    put_key(&b, "t.i32", META_I32), put_u32(&b, (uint32_t)-5);
    put_key(&b, "t.f32", META_F32), buffer_append(&b, &(float){0.1f}, 4);
    put_key(&b, "t.true", META_BOOL), buffer_byte(&b, 1);
    put_key(&b, "t.string", META_STRING), put_string(&b, "a \xc3\xa9\n\"b\"");
    put_key(&b, "t.u64", META_U64), put_u64(&b, UINT64_MAX);
    put_key(&b, "t.i64", META_I64), put_u64(&b, (uint64_t)-7);
    put_key(&b, "t.f64", META_F64), buffer_append(&b, &(double){0.1}, 8);
    put_key(&b, "t.empty", META_STRING), put_string(&b, "");
    put_array(&b, "a.strings", META_STRING, 3);
    put_string(&b, "one"), put_string(&b, ""), put_string(&b, "three");
    put_array(&b, "a.bools", META_BOOL, 3), buffer_append(&b, "\1\0\1", 3);
    put_array(&b, "a.none", META_STRING, 0);
    put_array(&b, "a.i16", META_I16, 2), buffer_append(&b, "\xff\xff\2\0", 4);
    put_array(&b, "a.f64", META_F64, 1), buffer_append(&b, &(double){2.5}, 8);
    put_tensor(&b, "matrix", 2, (uint64_t[]){3, 2}, 1, 0);      /* f16: 12 bytes */
    put_tensor(&b, "blocks", 3, (uint64_t[]){32, 2, 2}, 2, 64); /* q4_0: 72 bytes */
    put_tensor(&b, "vector", 1, (uint64_t[]){5}, 0, 192);       /* f32: 20 bytes */
    pad(&b, 64);
    size_t data = b.size;
    put_data(&b, 12), pad(&b, 64);
    assert_int_equal(b.size, data + 64);
    put_data(&b, 72), pad(&b, 64);
    put_data(&b, 20), pad(&b, 64);
    return b;
}

static void reads_every_kind_of_value(void **state) {
    (void)state;
    Buffer b = full_file(3);
    Checkpoint *c = opened(scratch_file("x.gguf", b.data, b.size));
    assert_int_equal(c->format, FORMAT_GGUF);
    assert_int_equal(c->n_meta, 18);
    assert_int_equal(c->alignment, 64);
    assert_string_equal(c->meta[1].key, "t.u8");
    uint64_t u;
    double x;
    bool flag;
    size_t len;
    assert_true(meta_u64(c, "t.u8", &u) && u == 254);
    assert_true(meta_u64(c, "t.u16", &u) && u == 65534);
    assert_true(meta_u64(c, "t.u64", &u) && u == UINT64_MAX);
    assert_false(meta_u64(c, "t.i8", &u)); /* negative */
    assert_false(meta_u64(c, "t.i64", &u));
    assert_false(meta_u64(c, "t.f32", &u));
    assert_false(meta_u64(c, "t.true", &u));
    assert_false(meta_u64(c, "absent", &u));
    assert_true(meta_f64(c, "t.f32", &x) && x == 0.1f);
    assert_true(meta_f64(c, "t.f64", &x) && x == 0.1);
    assert_false(meta_f64(c, "t.u8", &x));
    assert_true(meta_bool(c, "t.true", &flag) && flag);
    assert_false(meta_bool(c, "t.u8", &flag));
    assert_string_equal(meta_string(c, "t.string", &len), "a \xc3\xa9\n\"b\"");
    assert_int_equal(len, 8);
    assert_string_equal(meta_string(c, "t.empty", &len), "");
    assert_null(meta_string(c, "t.u8", &len));

    const MetaEntry *m = meta_find(c, "a.strings");
    const char *s;
    uint64_t at = 0;
    assert_int_equal(m->count, 3);
    assert_true(meta_array_string(m, &at, &s, &len) && len == 3 && memcmp(s, "one", 3) == 0);
    assert_true(meta_array_string(m, &at, &s, &len) && len == 0);
    assert_true(meta_array_string(m, &at, &s, &len) && len == 5 && memcmp(s, "three", 5) == 0);
    assert_false(meta_array_string(m, &at, &s, &len));
    assert_false(meta_array_f64(m, 0, &x));
    assert_true(meta_array_f64(meta_find(c, "a.bools"), 2, &x) && x == 1);
    assert_true(meta_array_f64(meta_find(c, "a.i16"), 0, &x) && x == -1);
    assert_false(meta_array_f64(meta_find(c, "a.i16"), 2, &x));
    assert_int_equal(meta_find(c, "a.none")->count, 0);

    const Tensor *t = checkpoint_find(c, "blocks");
    assert_int_equal(t->dtype, DTYPE_Q4_0);
    assert_int_equal(t->shape[0], 2); /* slowest first */
    assert_int_equal(t->shape[2], 32);
    assert_int_equal(t->n_rows, 4);
    assert_int_equal(tensor_bytes(t), 72);
    assert_int_equal(((const uint8_t *)tensor_map(t))[1], 10);
    checkpoint_close(c);
    buffer_free(&b);
}

static void writes_back_the_same_bytes(void **state) {
    (void)state;
    Error e = {0};
    WriteOptions o = {0};
    Buffer v3 = full_file(3), v2 = full_file(2);
    for (int version = 2; version <= 3; version++) {
        const Buffer *b = version == 2 ? &v2 : &v3;
        Checkpoint *c = opened(scratch_file("in.gguf", b->data, b->size));
        assert_int_equal(c->gguf_version, version);
        unlink(scratch_path("out.gguf"));
        assert_true(gguf_write(c, scratch_path("out.gguf"), &o, &e));
        char hash[33];
        assert_true(tensor_hash(&c->tensors[1], hash, &e));
        assert_string_equal(c->tensors[1].hash, hash);
        checkpoint_close(c);
        assert_file("out.gguf", v3.data, v3.size);
    }
    buffer_free(&v2);
    buffer_free(&v3);
}

static void setters_replace_in_place_or_append(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    meta_set_u32(c, "a", 1);
    meta_set_f32(c, "b", 0.5f);
    meta_set_string(c, "c", "text", 4);
    meta_set_bool(c, "a", true);
    meta_set_array(c, "d", META_I32, NULL, 0);
    meta_set_string_array(c, "e", (const char *const[]){"x", "yz"}, (const size_t[]){1, 2}, 2);
    meta_set_string_array(c, "f", NULL, NULL, 0);
    meta_remove(c, "b");
    meta_remove(c, "absent");
    assert_int_equal(c->n_meta, 5);
    assert_string_equal(c->meta[0].key, "a");
    assert_int_equal(c->meta[0].type, META_BOOL);
    assert_string_equal(c->meta[1].key, "c");
    assert_memory_equal(meta_find(c, "e")->bytes, "\1\0\0\0\0\0\0\0x\2\0\0\0\0\0\0\0yz", 19);
    Error e = {0};
    unlink(scratch_path("out.gguf"));
    c->alignment = 128; /* no key says so yet */
    assert_true(gguf_write(c, scratch_path("out.gguf"), &(WriteOptions){0}, &e));
    checkpoint_close(c);
    c = opened(scratch_path("out.gguf"));
    assert_int_equal(c->alignment, 128);
    assert_int_equal(c->n_meta, 6);
    assert_int_equal(meta_find(c, "d")->elem_type, META_I32);
    assert_int_equal(meta_find(c, "d")->count, 0);
    checkpoint_close(c);
}

/* A manifest that lists the hashes of all tensors. `*calls` counts how often it is asked for. */
static bool hashes(void *calls, const Checkpoint *out, Buffer *text, Error *e) {
    (void)e;
    ++*(int *)calls;
    for (size_t i = 0; i < out->n_tensors; i++)
        buffer_append(text, out->tensors[i].hash, 32);
    return true;
}

static void manifest_holds_the_hashes(void **state) {
    (void)state;
    Error e = {0};
    int calls = 0;
    WriteOptions o = {.manifest = hashes, .manifest_context = &calls};
    Buffer b = full_file(3);
    Checkpoint *c = opened(scratch_file("in.gguf", b.data, b.size));
    unlink(scratch_path("out.gguf"));
    assert_true(gguf_write(c, scratch_path("out.gguf"), &o, &e));
    checkpoint_close(c);
    assert_int_equal(calls, 2);
    c = opened(scratch_path("out.gguf"));
    assert_string_equal(c->meta[18].key, "derope.manifest");
    size_t len;
    const char *text = meta_string(c, "derope.manifest", &len);
    assert_int_equal(len, 96);
    for (size_t i = 0; i < 3; i++) {
        char hash[33];
        assert_true(tensor_hash(&c->tensors[i], hash, &e));
        assert_memory_equal(text + 32 * i, hash, 32);
    }
    checkpoint_close(c);
    buffer_free(&b);
}

static bool longer_each_time(void *calls, const Checkpoint *out, Buffer *text, Error *e) {
    (void)out, (void)e;
    for (int i = 1000 * ++*(int *)calls; i; i--)
        buffer_byte(text, 'x');
    return true;
}

static void stop_after_first_bytes(void *stop, uint64_t done, uint64_t total) {
    assert_int_equal(total, 12 + 72 + 20);
    if (done) *(volatile int *)stop = 1;
}

static void leaves_nothing_when_it_cannot_write(void **state) {
    (void)state;
    Error e = {0};
    int calls = 0;
    volatile int stop = 0;
    scratch_folder("empty");
    Buffer b = full_file(3);
    Checkpoint *c = opened(scratch_file("in.gguf", b.data, b.size));
    char out[PATH_MAX];
    snprintf(out, sizeof out, "%s", scratch_path("empty/out.gguf"));
    assert_false(
        gguf_write(c, out, &(WriteOptions){.manifest = longer_each_time, .manifest_context = &calls}, &e));
    assert_int_equal(e.code, ERR_FAILED);
    assert_non_null(strstr(e.message, "the manifest changed its length"));
    assert_int_equal(entries_in("empty"), 0);

    checkpoint_close(c);
    c = opened(scratch_path("in.gguf"));
    WriteOptions stopped = {
        .progress = stop_after_first_bytes, .progress_context = (void *)&stop, .stop = &stop};
    assert_false(gguf_write(c, out, &stopped, &e));
    assert_int_equal(e.code, ERR_INTERRUPTED);
    assert_int_equal(entries_in("empty"), 0);

    static const struct {
        const char *name;
        DType dtype;
        uint32_t rank;
        const char *says;
    } cases[] = {
        {"u", DTYPE_U8, 1, "tensor 'u': a GGUF cannot hold elements of type u8"},
        {"r", DTYPE_F32, 5, "tensor 'r': rank 5, at most 4 in a GGUF"},
        {"a name that takes sixty-four bytes, one more than what GGML read", DTYPE_F32, 1,
         "its name is longer than 63 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Checkpoint *n = checkpoint_new(FORMAT_GGUF);
        Tensor t = tensor_over(&n->arena, cases[i].name, cases[i].dtype, cases[i].rank,
                               (uint64_t[]){1, 1, 1, 1, 1}, "\0\0\0");
        checkpoint_add_tensor(n, &t);
        assert_false(gguf_write(n, out, &(WriteOptions){0}, &e));
        if (!strstr(e.message, cases[i].says)) fail_msg("%s", e.message);
        assert_int_equal(entries_in("empty"), 0);
        checkpoint_close(n);
    }

    assert_true(gguf_write(c, out, &(WriteOptions){0}, &e));
    assert_false(gguf_write(c, out, &(WriteOptions){0}, &e));
    assert_non_null(strstr(e.message, "exists already"));
    assert_file("empty/out.gguf", b.data, b.size);
    assert_true(gguf_write(c, out, &(WriteOptions){.force = true}, &e));
    assert_int_equal(entries_in("empty"), 1);
    checkpoint_close(c);
    buffer_free(&b);
}

static void carries_every_block_type(void **state) {
    (void)state;
    Error e = {0};
    static const struct {
        uint32_t ggml;
        uint64_t elems, bytes;
    } types[] = {
        {0, 1, 4},      {1, 1, 2},      {2, 32, 18},   {3, 32, 20},    {6, 32, 22},    {7, 32, 24},
        {8, 32, 34},    {9, 32, 36},    {10, 256, 84}, {11, 256, 110}, {12, 256, 144}, {13, 256, 176},
        {14, 256, 210}, {15, 256, 292}, {16, 256, 66}, {17, 256, 74},  {18, 256, 98},  {19, 256, 50},
        {20, 32, 18},   {21, 256, 110}, {22, 256, 82}, {23, 256, 136}, {24, 1, 1},     {25, 1, 2},
        {26, 1, 4},     {27, 1, 8},     {28, 1, 8},    {29, 256, 56},  {30, 1, 2},     {34, 256, 54},
        {35, 256, 66},  {39, 32, 17},   {40, 64, 36},  {41, 128, 18},  {42, 64, 18},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        Buffer b = {0};
        put_start(&b, 3, 1, 0);
        put_tensor(&b, "t", 2, (uint64_t[]){3 * types[i].elems, 2}, types[i].ggml, 0);
        pad(&b, 32);
        put_data(&b, 6 * types[i].bytes);
        pad(&b, 32);
        Checkpoint *c = opened(scratch_file("in.gguf", b.data, b.size));
        assert_int_equal(tensor_bytes(&c->tensors[0]), 6 * types[i].bytes);
        assert_true(gguf_write(c, scratch_path("out.gguf"), &(WriteOptions){.force = true}, &e));
        checkpoint_close(c);
        assert_file("out.gguf", b.data, b.size);
        buffer_free(&b);
    }
}

/* ---- wrong files ---- */

static void assert_bytes_refused(Buffer *b, const char *says) {
    assert_refused(scratch_file("x.gguf", b->data, b->size), says);
    buffer_free(b);
}

static void refuses_other_versions(void **state) {
    (void)state;
    static const struct {
        uint32_t version;
        const char *says;
    } cases[] = {
        {1, "offset 4: GGUF version 1; versions 2 and 3 are supported"},
        {4, "GGUF version 4"},
        {0, "GGUF version 0"},
        {3u << 24, "a big-endian GGUF, which is not supported"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer b = {0};
        put_start(&b, cases[i].version, 0, 0);
        assert_bytes_refused(&b, cases[i].says);
    }
}

static void refuses_claims_larger_than_the_file(void **state) {
    (void)state;
    const uint64_t claims[] = {100, 1ull << 32, 1ull << 61, UINT64_MAX};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        Buffer b = {0};
        put_start(&b, 3, 0, claims[i]);
        assert_bytes_refused(&b, "offset 24: ");
        put_start(&b, 3, claims[i], 0);
        assert_bytes_refused(&b, "tensors do not fit in the file");
        put_start(&b, 3, 0, 1);
        put_u64(&b, claims[i]);
        put_data(&b, 30);
        assert_bytes_refused(&b, "offset 24: a key claims");
        put_start(&b, 3, 0, 1);
        put_key(&b, "k", META_STRING), put_u64(&b, claims[i]);
        assert_bytes_refused(&b, "offset 37: k claims");
        put_start(&b, 3, 0, 1);
        put_array(&b, "k", META_U32, claims[i]);
        assert_bytes_refused(&b, "key 'k': an array of");
        put_start(&b, 3, 0, 1);
        put_array(&b, "k", META_STRING, claims[i]);
        assert_bytes_refused(&b, "elements is longer than the file");
        put_start(&b, 3, 0, 1);
        put_array(&b, "k", META_STRING, 1), put_u64(&b, claims[i]);
        assert_bytes_refused(&b, "offset 49: k claims");
    }
}

static void refuses_wrong_metadata(void **state) {
    (void)state;
    Buffer b = {0};
    put_start(&b, 3, 0, 1), put_key(&b, "key", 13), put_data(&b, 9);
    assert_bytes_refused(&b, "key 'key': unknown value type 13");
    put_start(&b, 3, 0, 1), put_array(&b, "key", META_ARRAY, 1), put_data(&b, 20);
    assert_bytes_refused(&b, "key 'key': an array of arrays");
    put_start(&b, 3, 0, 1), put_array(&b, "key", 77, 1), put_data(&b, 20);
    assert_bytes_refused(&b, "key 'key': array elements of unknown type 77");
    put_start(&b, 3, 0, 1), put_key(&b, "key", META_BOOL), buffer_byte(&b, 2);
    assert_bytes_refused(&b, "key 'key': 2 is neither false (0) nor true (1)");
    put_start(&b, 3, 0, 1), put_array(&b, "key", META_BOOL, 2), buffer_append(&b, "\1\xff", 2);
    assert_bytes_refused(&b, "key 'key': 255 is neither false");
    put_start(&b, 3, 0, 1), put_key(&b, "", META_U32), put_u32(&b, 1);
    assert_bytes_refused(&b, "offset 24: a key is empty");
    put_start(&b, 3, 0, 1), put_key(&b, "a\xc3", META_U32), put_u32(&b, 1);
    assert_bytes_refused(&b, "offset 24: a key is not UTF-8");
    put_start(&b, 3, 0, 1), put_u64(&b, 3), buffer_append(&b, "a\0b", 3), put_u32(&b, META_U32),
        put_u32(&b, 1);
    assert_bytes_refused(&b, "offset 24: a key contains a zero byte");
    put_start(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++)
        put_key(&b, "key", META_U32), put_u32(&b, 1);
    assert_bytes_refused(&b, "key 'key' appears twice");
    put_start(&b, 3, 0, 1), put_key(&b, "split.count", META_U16), buffer_append(&b, "\3", 2);
    assert_bytes_refused(&b, "one of 3 parts of a split GGUF");
    const uint32_t alignments[] = {0, 3, 48, 1u << 21, 1u << 31};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        put_start(&b, 3, 0, 1), put_key(&b, "general.alignment", META_U32), put_u32(&b, alignments[i]);
        assert_bytes_refused(&b, "general.alignment is not a power of two");
    }
    put_start(&b, 3, 0, 1), put_key(&b, "general.alignment", META_STRING), put_string(&b, "32");
    assert_bytes_refused(&b, "general.alignment is not a power of two");
}

typedef struct Row {
    const char *name;
    uint32_t rank;
    uint64_t ne[5];
    uint32_t type;
    uint64_t offset;
} Row;

static void refuses_wrong_tensors(void **state) {
    (void)state;
    static const struct {
        Row rows[2];
        size_t data;
        const char *says;
    } cases[] = {
        {{{"a", 5, {1, 1, 1, 1, 1}, 0, 0}}, 32, "tensor 'a': rank 5, at most 4"},
        {{{"a", 1, {8}, 4, 0}}, 32, "tensor 'a': unknown element type 4"}, /* withdrawn Q4_2 */
        {{{"a", 1, {8}, 1000, 0}}, 32, "tensor 'a': unknown element type 1000"},
        {{{"a", 1, {33}, 2, 0}}, 32, "tensor 'a': rows of 33 elements are not whole blocks of q4_0"},
        {{{"a", 2, {1ull << 32, 1ull << 31}, 0, 0}}, 32, "does not fit in 63 bits"},
        {{{"a", 2, {1ull << 63, 2}, 0, 0}}, 32, "does not fit in 63 bits"},
        {{{"a", 2, {1ull << 32, 1ull << 30}, 0, 0}}, 32, "its size does not fit in 64 bits"},
        {{{"a", 1, {8}, 0, 16}}, 64, "tensor 'a': offset 16 is not a multiple of the alignment 32"},
        {{{"a", 1, {8}, 0, 1ull << 40}}, 64, "passes the end of data (64)"},
        {{{"a", 1, {8}, 0, UINT64_MAX - 31}}, 64, "passes the end of data (64)"},
        {{{"a", 1, {17}, 0, 0}}, 64, "tensor 'a': offset 0 + 68 bytes passes the end of data (64)"},
        {{{"a", 1, {16}, 0, 0}, {"b", 1, {8}, 0, 32}}, 64, "tensor 'b' overlaps 'a', which ends at"},
        {{{"a", 1, {8}, 0, 0}, {"b", 1, {8}, 0, 64}}, 96, "tensor 'b' leaves a hole of 32 bytes after 'a'"},
        {{{"a", 1, {8}, 0, 32}}, 64, "tensor 'a' leaves a hole of 32 bytes after 'the header'"},
        {{{"a", 1, {8}, 0, 0}, {"a", 1, {8}, 0, 32}}, 64, "tensor 'a' appears twice"},
        {{{"a", 1, {8}, 0, 0}}, 64, "32 bytes after 'a' belong to no tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer b = {0};
        int n = cases[i].rows[1].name ? 2 : 1;
        put_start(&b, 3, (uint64_t)n, 0);
        for (int j = 0; j < n; j++) {
            const Row *r = &cases[i].rows[j];
            put_tensor(&b, r->name, r->rank, r->ne, r->type, r->offset);
        }
        pad(&b, 32);
        put_data(&b, cases[i].data);
        assert_bytes_refused(&b, cases[i].says);
    }
}

static void accepts_what_is_unusual_but_right(void **state) {
    (void)state;
    Buffer b = {0};
    put_start(&b, 3, 0, 0); /* nothing at all */
    checkpoint_close(opened(scratch_file("x.gguf", b.data, b.size)));
    buffer_free(&b);
    put_start(&b, 3, 4, 0); /* offsets in another order, an empty tensor, no padding at the end */
    put_tensor(&b, "second", 1, (uint64_t[]){3}, 0, 32);
    put_tensor(&b, "first", 1, (uint64_t[]){5}, 0, 0);
    put_tensor(&b, "empty", 2, (uint64_t[]){1ull << 40, 0}, 0, 32);
    put_tensor(&b, "scalar", 0, NULL, 0, 64);
    pad(&b, 32);
    put_data(&b, 68);
    Checkpoint *c = opened(scratch_file("x.gguf", b.data, b.size));
    assert_string_equal(c->tensors[0].name, "second");
    assert_int_equal(tensor_bytes(checkpoint_find(c, "empty")), 0);
    float none;
    Error e = {0};
    assert_true(tensor_read_f32(checkpoint_find(c, "empty"), &none, &e));
    assert_int_equal(tensor_bytes(checkpoint_find(c, "scalar")), 4);
    checkpoint_close(c);
    buffer_free(&b);
}

static void survives_every_damage(void **state) {
    (void)state;
    Buffer b = {0};
    put_start(&b, 3, 2, 4);
    put_key(&b, "n", META_U32), put_u32(&b, 3);
    put_array(&b, "s", META_STRING, 2), put_string(&b, "ab"), put_string(&b, "c");
    put_array(&b, "b", META_BOOL, 2), buffer_append(&b, "\1\0", 2);
    put_key(&b, "general.alignment", META_U32), put_u32(&b, 8);
    put_tensor(&b, "q", 2, (uint64_t[]){32, 1}, 8, 0);
    put_tensor(&b, "v", 1, (uint64_t[]){2}, 0, 40);
    pad(&b, 8);
    put_data(&b, 34), pad(&b, 8);
    put_data(&b, 8);
    checkpoint_close(opened(scratch_file("damaged", b.data, b.size)));
    assert_every_damage_sound("damaged", "damaged", b.data, b.size);
    buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(writes_back_the_same_bytes),
        cmocka_unit_test(setters_replace_in_place_or_append),
        cmocka_unit_test(manifest_holds_the_hashes),
        cmocka_unit_test(leaves_nothing_when_it_cannot_write),
        cmocka_unit_test(carries_every_block_type),
        cmocka_unit_test(refuses_other_versions),
        cmocka_unit_test(refuses_claims_larger_than_the_file),
        cmocka_unit_test(refuses_wrong_metadata),
        cmocka_unit_test(refuses_wrong_tensors),
        cmocka_unit_test(accepts_what_is_unusual_but_right),
        cmocka_unit_test(survives_every_damage),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, scratch_remove);
}
