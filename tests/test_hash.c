/* Tests of formats/hash.h: the values that xxHash publishes, and streams against whole inputs. */
#include "formats/hash.h"
#include "tests/scratch.h"

/* Fills the buffer that the sanity checks of xxHash use (cli/xsum_sanity_check.c). */
static void fill(uint8_t *bytes, size_t n) {
    uint64_t generator = 2654435761u;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(generator >> 56);
        generator *= 11400714785074694797u;
    }
}

enum { LONGEST = 2367 };

/* Digests with seed 0, in canonical order, the high half first. */
static const struct {
    size_t n;
    const char *hex;
} known[] = {
    {0, "99aa06d3014798d86001c324468d497f"},    {1, "a6cd5e9392000f6ac44bdff4074eecdb"},
    {6, "082afe0b8162d12a3e7039bdda43cfc6"},    {12, "6e3efd8fc7802b18061a192713f69ad9"},
    {16, "c68c368ecf8a9c05562980258a998629"},   {17, "955fa78643ed3669abbc12d11973d7db"},
    {128, "39992220e045260aebb15e34a7fb5ab1"},  {129, "03815fc91f1b30b686c9e3bc8f0a3b5c"},
    {240, "aa4202daa2769dc85c9aae94c8ebe5a0"},  {241, "99a80ecf0ecfc647c5a639ecd2030e5e"},
    {512, "18d2d110dcc9bca1617e49599013cb6b"},  {2048, "f736557fd47073a5dd59e2c3a5f038e0"},
    {2240, "ccb134fbfa7ce49d6e73a90539cf2948"}, {LONGEST, "e89c0f6ff369b427cb37aeb9e5d361ed"},
};

static void known_values(void **state) {
    (void)state;
    uint8_t bytes[LONGEST];
    char hex[33];
    fill(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        hash_bytes(bytes, known[i].n, hex);
        assert_string_equal(hex, known[i].hex);
    }
    hash_bytes("abc", 3, hex);
    assert_string_equal(hex, "06b05ab6733a618578af5f94892f3950");
}

static void pieces_equal_the_whole(void **state) {
    (void)state;
    uint8_t bytes[LONGEST];
    char hex[33];
    fill(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t piece = 1; piece <= 1025; piece = piece * 3 + 1) {
            Hash *h = hash_new();
            hash_update(h, bytes, 0);
            for (size_t at = 0; at < known[i].n; at += piece)
                hash_update(h, bytes + at, known[i].n - at < piece ? known[i].n - at : piece);
            hash_finish(h, hex);
            assert_string_equal(hex, known[i].hex);
        }
}

static void a_file_equals_its_bytes(void **state) {
    (void)state;
    enum { MANY = (2 << 20) + 12345 }; /* several of its reader's pieces */
    uint8_t *bytes = xmalloc(MANY);
    char whole[33], hex[33];
    Error e = {0};
    fill(bytes, MANY);
    hash_bytes(bytes, MANY, whole);
    assert_true(hash_file(scratch_file("many", bytes, MANY), hex, &e));
    assert_string_equal(hex, whole);
    assert_true(hash_file(scratch_file("none", bytes, 0), hex, &e));
    assert_string_equal(hex, known[0].hex);
    free(bytes);
}

static void assert_no_hash(const char *name, const char *says) {
    char hex[33];
    Error e = {0};
    assert_false(hash_file(scratch_path(name), hex, &e));
    if (!strstr(e.message, says)) fail_msg("'%s' does not say '%s'", e.message, says);
    assert_memory_equal(e.message, scratch(), strlen(scratch()));
    assert_int_equal(e.code, ERR_INPUT);
}

static void what_is_no_file_has_none(void **state) {
    (void)state;
    scratch_folder("folder");
    assert_no_hash("folder", "folder: Is a directory");
    assert_no_hash("absent", "absent: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_equal_the_whole),
        cmocka_unit_test(a_file_equals_its_bytes),
        cmocka_unit_test(what_is_no_file_has_none),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, scratch_remove);
}
