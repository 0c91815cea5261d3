/* Tests of formats/meta.h: values that are set come back through the getter of their kind and through no
 * other. */
#include "formats/meta.h"
#include "tests/scratch.h"

/* Sets `key` to a scalar of type `t` with these bytes. */
static void set(Checkpoint *c, const char *key, MetaType t, const void *bytes) {
    meta_set_raw(c,
                 &(MetaEntry){.key = key, .type = t, .count = 1, .bytes = bytes, .size = meta_type_size(t)});
}

static void sizes_of_types(void **state) {
    (void)state;
    static const uint32_t sizes[META_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    for (int t = 0; t < META_TYPE_COUNT; t++)
        assert_int_equal(meta_type_size((MetaType)t), sizes[t]);
}

/* meta_u64 accepts each integer type with values from 0 on, and nothing else. */
static void integers(void **state) {
    (void)state;
    static const struct {
        MetaType type;
        int64_t value;
        bool accepted;
    } cases[] = {
        {META_U8, 200, true},         {META_I8, 100, true},  {META_I8, -1, false},
        {META_U16, 60000, true},      {META_I16, 300, true}, {META_I16, -300, false},
        {META_U32, 4000000000, true}, {META_I32, 7, true},   {META_I32, INT32_MIN, false},
        {META_U64, 1ll << 60, true},  {META_I64, 0, true},   {META_I64, -1, false},
        {META_BOOL, 1, false},        {META_F32, 1, false},  {META_F64, 1, false},
    };
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t v = 77;
        double d;
        bool b;
        set(c, "k", cases[i].type, &cases[i].value);
        assert_int_equal(meta_u64(c, "k", &v), cases[i].accepted);
        assert_int_equal(v, cases[i].accepted ? (uint64_t)cases[i].value : 77);
        assert_int_equal(meta_f64(c, "k", &d), cases[i].type == META_F32 || cases[i].type == META_F64);
        assert_int_equal(meta_bool(c, "k", &b), cases[i].type == META_BOOL);
        assert_null(meta_string(c, "k", NULL));
    }
    assert_int_equal(c->n_meta, 1);
    set(c, "k", META_U64, &(uint64_t){UINT64_MAX});
    uint64_t v;
    assert_true(meta_u64(c, "k", &v) && v == UINT64_MAX);
    assert_false(meta_u64(c, "absent", &v));
    checkpoint_close(c);
}

static void numbers_and_flags(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    double d;
    bool b;
    uint64_t u;
    meta_set_f32(c, "eps", 1e-5f);
    assert_true(meta_f64(c, "eps", &d) && d == (double)1e-5f);
    set(c, "double", META_F64, &(double){0.1});
    assert_true(meta_f64(c, "double", &d) && d == 0.1);
    meta_set_bool(c, "yes", true);
    meta_set_bool(c, "no", false);
    assert_true(meta_bool(c, "yes", &b) && b);
    assert_true(meta_bool(c, "no", &b) && !b);
    meta_set_u32(c, "n", 4096);
    assert_true(meta_u64(c, "n", &u) && u == 4096);
    assert_int_equal(meta_find(c, "n")->type, META_U32);
    checkpoint_close(c);
}

static void strings_may_hold_anything(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    size_t len;
    meta_set_string(c, "s", "a\0b", 3);
    meta_set_string(c, "empty", "", 0);
    const char *s = meta_string(c, "s", &len);
    assert_int_equal(len, 3);
    assert_memory_equal(s, "a\0b", 4); /* terminated */
    assert_memory_equal(meta_find(c, "s")->bytes, "\3\0\0\0\0\0\0\0a\0b", 11);
    assert_string_equal(meta_string(c, "empty", &len), "");
    assert_int_equal(len, 0);
    uint64_t u;
    assert_false(meta_u64(c, "s", &u));
    checkpoint_close(c);
}

static void arrays_of_numbers(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    double d;
    meta_set_array(c, "i", META_I32, (int32_t[]){-5, 0, 7}, 3);
    meta_set_array(c, "f", META_F32, (float[]){0.5f}, 1);
    meta_set_array(c, "b", META_BOOL, (uint8_t[]){1, 0}, 2);
    meta_set_array(c, "h", META_I16, (int16_t[]){-2}, 1);
    meta_set_array(c, "u", META_U64, (uint64_t[]){UINT64_MAX}, 1);
    meta_set_array(c, "none", META_U32, NULL, 0);
    const MetaEntry *m = meta_find(c, "i");
    assert_true(m->type == META_ARRAY && m->elem_type == META_I32 && m->count == 3 && m->size == 12);
    assert_true(meta_array_f64(m, 0, &d) && d == -5);
    assert_true(meta_array_f64(m, 2, &d) && d == 7);
    assert_false(meta_array_f64(m, 3, &d));
    assert_true(meta_array_f64(meta_find(c, "f"), 0, &d) && d == 0.5);
    assert_true(meta_array_f64(meta_find(c, "b"), 0, &d) && d == 1);
    assert_true(meta_array_f64(meta_find(c, "h"), 0, &d) && d == -2);
    assert_true(meta_array_f64(meta_find(c, "u"), 0, &d) && d == 0x1p64);
    assert_false(meta_array_f64(meta_find(c, "none"), 0, &d));
    uint64_t u, cursor = 0;
    const char *s;
    size_t len;
    assert_false(meta_u64(c, "i", &u));
    assert_false(meta_array_string(m, &cursor, &s, &len));
    meta_set_u32(c, "scalar", 1);
    assert_false(meta_array_f64(meta_find(c, "scalar"), 0, &d));
    checkpoint_close(c);
}

static void arrays_of_strings(void **state) {
    (void)state;
    static const char *const words[] = {"one", "", "th\0ree"};
    static const size_t lengths[] = {3, 0, 6};
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    meta_set_string_array(c, "w", words, lengths, 3);
    const MetaEntry *m = meta_find(c, "w");
    assert_true(m->count == 3 && m->elem_type == META_STRING && m->size == 3 * 8 + 9);
    uint64_t cursor = 0;
    const char *s;
    size_t len;
    double d;
    for (int i = 0; i < 3; i++) {
        assert_true(meta_array_string(m, &cursor, &s, &len));
        assert_int_equal(len, lengths[i]);
        assert_memory_equal(s, words[i], len);
    }
    assert_false(meta_array_string(m, &cursor, &s, &len));
    assert_false(meta_array_f64(m, 0, &d));
    assert_null(meta_string(c, "w", NULL));
    checkpoint_close(c);
}

/* Keys keep their order; a key that is set again keeps its place, whatever its new type; callers may reuse
 * the memory of what they passed. */
static void keys_keep_their_places(void **state) {
    (void)state;
    Checkpoint *c = checkpoint_new(FORMAT_GGUF);
    char key[32];
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key.%u", i);
        meta_set_u32(c, key, i);
    }
    memset(key, 'x', sizeof key);
    meta_set_string(c, "key.50", "fifty", 5);
    meta_set_bool(c, "key.99", true);
    meta_remove(c, "key.0");
    meta_remove(c, "key.0");
    meta_remove(c, "key.51");
    assert_int_equal(c->n_meta, 98);
    static const uint32_t gone[] = {0, 51};
    for (uint32_t i = 0, at = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key.%u", i);
        if (i == gone[0] || i == gone[1]) {
            assert_null(meta_find(c, key));
            continue;
        }
        assert_string_equal(c->meta[at].key, key);
        assert_ptr_equal(meta_find(c, key), &c->meta[at++]);
    }
    assert_string_equal(meta_string(c, "key.50", NULL), "fifty");
    uint64_t u;
    assert_true(meta_u64(c, "key.98", &u) && u == 98);
    /* meta_set_raw accepts an entry that lies in the table itself. */
    MetaEntry same = *meta_find(c, "key.50");
    meta_set_raw(c, &same);
    assert_string_equal(meta_string(c, "key.50", NULL), "fifty");
    assert_int_equal(c->n_meta, 98);
    checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_types),         cmocka_unit_test(integers),
        cmocka_unit_test(numbers_and_flags),      cmocka_unit_test(strings_may_hold_anything),
        cmocka_unit_test(arrays_of_numbers),      cmocka_unit_test(arrays_of_strings),
        cmocka_unit_test(keys_keep_their_places),
    };
    return cmocka_run_group_tests_name("meta", tests, NULL, NULL);
}
